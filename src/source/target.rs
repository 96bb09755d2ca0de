//! A deployment that was reached, and the stream that is opened on it.

use bson::{Timestamp, doc};

use crate::config::{ConnectionConfig, StreamSpec};

use super::connection::Connection;

/// A deployment that was reached, and the stream that is opened on it.
#[derive(Debug)]
pub(super) struct Target {
    /// How to reach it.
    pub(super) connection: Connection,
    /// What it reported about itself.
    pub(super) deployment: Deployment,
    /// The stream.
    pub(super) spec: StreamSpec,
}

/// What a server reports about its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// Name of the replica set; `None` for a mongos and for a standalone server.
    pub(crate) set: Option<String>,
    /// Whether the server is a mongos.
    pub(crate) sharded: bool,
    /// The latest operation time that the server knows; `None` for a standalone server.
    pub(crate) operation_time: Option<Timestamp>,
}

impl Deployment {
    /// Asks the server about its deployment.
    ///
    /// # Errors
    /// The driver's, above all that no server can be selected.
    pub(super) async fn of(connection: &Connection) -> mongodb::error::Result<Self> {
        let reply = connection.run("admin", doc! { "hello": 1 }).await?;
        Ok(Self {
            set: reply.get_str("setName").ok().map(ToOwned::to_owned),
            sharded: reply.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
            operation_time: reply.get_timestamp("operationTime").ok(),
        })
    }
}

impl Target {
    /// Connects once.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn connect(
        config: &ConnectionConfig,
        spec: &StreamSpec,
    ) -> mongodb::error::Result<Self> {
        let connection = Connection::new(config.uri.clone()).await?;
        let deployment = Deployment::of(&connection).await?;
        Ok(Self {
            connection,
            deployment,
            spec: spec.clone(),
        })
    }
}
