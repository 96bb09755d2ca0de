//! What a stream does not say of its deployment while it runs: the present, and how far back the history goes. Asks on a stream's own
//! privileges, and never touches the stream.

use bson::Timestamp;

use crate::stream_spec::StreamSpec;

use super::connect::Connection;
use super::opening;

/// Asks a deployment that was reached.
#[derive(Debug, Clone)]
pub struct Gauge {
    pub(super) connection: Connection,
    pub(super) spec: StreamSpec,
}

impl Gauge {
    /// The latest cluster time that the server knows; `None` when it does not answer.
    pub async fn present(&self) -> Option<Timestamp> {
        self.connection.hello().await.ok()?.operation_time
    }

    /// The oldest time that a stream can start at; `None` when nothing was overwritten yet, or when the server does not answer.
    pub async fn oldest(&self) -> Option<Timestamp> {
        let oldest = opening::oldest(&self.connection, &self.spec).await;
        oldest.ok().flatten()
    }
}
