//! The target of a watch: the deployment that was reached, and the stream to open on it.

use bson::{Timestamp, doc};

use crate::config::{ConnectionConfig, StreamSpec};

use super::connection::Connection;

/// A deployment that was reached, and the stream to open on it.
#[derive(Debug)]
pub(super) struct Target {
    /// The connection to the deployment.
    pub(super) connection: Connection,
    /// The deployment as it was when the connection was made.
    pub(super) deployment: Deployment,
    /// The definition of the stream.
    pub(super) spec: StreamSpec,
}

/// A deployment as one of its servers reports it in the reply to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// Name of the replica set; `None` for a mongos and for a standalone server.
    pub(crate) set: Option<String>,
    /// Whether the server is a mongos.
    pub(crate) sharded: bool,
    /// The server's latest operation time; `None` for a standalone server.
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
    /// Connects to the deployment, without a retry.
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
