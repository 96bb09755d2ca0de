//! Cluster times that a stream itself does not report: the present, and how far back the history goes.
//! Needs no privilege beyond the stream's own, and never touches the stream.

use bson::Timestamp;

use crate::config::StreamSpec;
use crate::telemetry::ClusterTimes;

use super::connection::Connection;
use super::start;
use super::target::Deployment;

/// The clock of a deployment that was reached.
#[derive(Debug, Clone)]
pub(crate) struct ClusterClock {
    pub(super) connection: Connection,
    pub(super) spec: StreamSpec,
}

impl ClusterTimes for ClusterClock {
    async fn latest(&self) -> Option<Timestamp> {
        let deployment = Deployment::of(&self.connection).await;
        deployment.ok()?.operation_time
    }

    async fn oldest(&self) -> Option<Timestamp> {
        let oldest = start::oldest(&self.connection, &self.spec).await;
        oldest.ok().flatten()
    }
}
