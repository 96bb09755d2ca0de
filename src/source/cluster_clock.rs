//! Cluster times that the stream itself does not report: the latest one, and the oldest one that the oplog still holds.
//! Needs no privilege beyond the stream's own, and does not touch the stream.

use bson::Timestamp;

use crate::config::StreamSpec;
use crate::telemetry::ClusterTimes;

use super::connection::Connection;
use super::start;
use super::target::Deployment;

/// The source of a deployment's cluster times.
#[derive(Debug, Clone)]
pub(crate) struct ClusterClock {
    pub(super) connection: Connection,
    pub(super) spec: StreamSpec,
}

impl ClusterTimes for ClusterClock {
    async fn latest(&self) -> Option<Timestamp> {
        let deployment = Deployment::of(&self.connection).await;
        deployment.ok()?.cluster_time
    }

    async fn oldest(&self) -> Option<Timestamp> {
        let oldest = start::oldest(&self.connection, &self.spec).await;
        oldest.ok().flatten()
    }
}
