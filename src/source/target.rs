//! The target of a watch: the deployment that was reached, and the stream to open on it.

use bson::{Document, Timestamp, doc};

use mongodb::options::ServerAddress;

use crate::config::{ConnectionConfig, StreamSpec};
use crate::deployment::{Comparison, DeploymentId, SigningKey};
use crate::time;

use super::classify::{self, Verdict};
use super::connection::{Connection, SERVER_SELECTION_TIMEOUT};
use super::members;
use super::server_reports;
use super::unreachable::{Unreached, Wanted};

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
    /// What distinguishes it from other deployments. `set` is `None` for a mongos and for a standalone server.
    pub(crate) identity: DeploymentId,
    /// The latest cluster time that the server knows, its own or another member's; `None` for a standalone server. A member that lags
    /// behind learns it from the heartbeats of the others.
    pub(crate) cluster_time: Option<Timestamp>,
    /// The time of the latest operation that the server itself has applied; `None` for a standalone server.
    pub(crate) operation_time: Option<Timestamp>,
    /// Whether the server is a primary that accepts writes.
    pub(super) is_primary: bool,
    /// The time up to which a majority of the members has everything that this one has, and up to which it lets change streams read.
    pub(super) majority_time: Option<Timestamp>,
    /// The members that hold data, as the replica set names them, hidden ones excepted.
    pub(super) members: Vec<ServerAddress>,
}

impl Deployment {
    /// Asks the server about its deployment, except for the unique id.
    ///
    /// # Errors
    /// The driver's, above all that no server can be selected.
    pub(super) async fn of(connection: &Connection) -> mongodb::error::Result<Self> {
        let reply = connection.run("admin", doc! { "hello": 1 }).await?;
        let cluster_time = reply.get_document("$clusterTime").ok();
        let key_id = cluster_time
            .and_then(|time| time.get_document("signature").ok())
            .and_then(|signature| signature.get_i64("keyId").ok());
        let operation_time = reply.get_timestamp("operationTime").ok();
        Ok(Self {
            identity: DeploymentId {
                set: reply.get_str("setName").ok().map(ToOwned::to_owned),
                sharded: reply.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
                id: None,
                key: key_id.and_then(SigningKey::from_id),
            },
            cluster_time: cluster_time
                .and_then(|time| time.get_timestamp("clusterTime").ok())
                .or(operation_time),
            operation_time,
            is_primary: reply.get_bool("isWritablePrimary").unwrap_or_default(),
            majority_time: majority_time(&reply),
            members: members(&reply),
        })
    }

    /// Returns the present: every event that was acknowledged before this reply happened at or before it. The cluster time of a primary may
    /// be ahead of it, by a write that failed.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        match self.is_primary {
            true => self.operation_time,
            false => self.cluster_time,
        }
    }

    /// Adds the unique id, if the user may read it.
    ///
    /// # Errors
    /// The driver's, unless the server refuses to report the id.
    async fn add_id(&mut self, connection: &Connection) -> mongodb::error::Result<()> {
        let reply = if self.identity.sharded {
            let find = doc! { "find": "version", "limit": 1, "singleBatch": true };
            connection.run("config", find).await
        } else if self.identity.set.is_some() {
            let get_config = doc! { "replSetGetConfig": 1 };
            connection.run("admin", get_config).await
        } else {
            return Ok(());
        };
        match reply {
            Ok(reply) => self.identity.id = unique_id(&reply),
            Err(error) if classify::classify(&error) == Verdict::Retry => return Err(error),
            // With authentication this needs the privileges of the role clusterMonitor.
            Err(_) => {}
        }
        Ok(())
    }
}

fn members(hello: &Document) -> Vec<ServerAddress> {
    // A passive member has the priority 0.
    let lists = ["hosts", "passives"].map(|list| hello.get_array(list).ok());
    let names = lists.into_iter().flatten().flatten();
    names
        .filter_map(|name| ServerAddress::parse(name.as_str()?).ok())
        .collect()
}

fn majority_time(hello: &Document) -> Option<Timestamp> {
    let last_write = hello.get_document("lastWrite").ok()?;
    let majority = last_write.get_document("majorityOpTime").ok()?;
    majority.get_timestamp("ts").ok()
}

/// Returns `replicaSetId` in a reply to `replSetGetConfig`, or `clusterId` in the document of `config.version`.
fn unique_id(reply: &Document) -> Option<String> {
    let id = if let Ok(config) = reply.get_document("config") {
        config
            .get_document("settings")
            .ok()?
            .get_object_id("replicaSetId")
    } else {
        let found = reply.get_document("cursor").ok()?.get_array("firstBatch");
        found
            .ok()?
            .first()?
            .as_document()?
            .get_object_id("clusterId")
    };
    Some(id.ok()?.to_hex())
}

impl Target {
    /// Connects to the deployment, without a retry. Ends as soon as it is certain that no server can be reached.
    ///
    /// # Errors
    /// The driver's, and what the servers reported.
    pub(super) async fn connect(
        config: &ConnectionConfig,
        spec: &StreamSpec,
    ) -> Result<Self, Unreached> {
        let wanted = Wanted::by(config);
        let mut uri = config.uri.clone();
        if let Some(limit) = config.retry_for.filter(|limit| !limit.is_zero()) {
            // The driver names the cause only after this time.
            let timeout = uri.server_selection_timeout;
            let timeout = timeout.unwrap_or(SERVER_SELECTION_TIMEOUT).min(limit);
            uri.server_selection_timeout = Some(timeout);
        }
        let connection = match Connection::new(uri).await {
            Ok(connection) => connection,
            Err(error) => return Err(Unreached::new(wanted, Some(error), Vec::new())),
        };
        let asked = async {
            let mut deployment = Deployment::of(&connection).await?;
            deployment.add_id(&connection).await?;
            Ok(deployment)
        };
        let reached = tokio::select! {
            biased;
            asked = asked => asked.map_err(Some),
            () = connection.reports.hopeless(wanted.preference.as_ref()) => Err(None),
        };
        let servers = connection.reports.servers();
        match reached {
            // A direct connection selects it, but it has no data yet.
            Ok(_) if server_reports::has_uninitiated(&servers) => {
                Err(Unreached::new(wanted, None, servers))
            }
            Ok(deployment) => Ok(Self {
                connection,
                deployment,
                spec: spec.clone(),
            }),
            Err(error) => Err(Unreached::new(wanted, error, servers)),
        }
    }

    /// Compares the deployment that is reached now with the one that was reached first: a server that comes back on the same address may have
    /// lost its volume.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn compare(&self) -> mongodb::error::Result<Comparison> {
        let mut current = Deployment::of(&self.connection).await?;
        current.add_id(&self.connection).await?;
        let Some(now) = current.cluster_time else {
            return Ok(Comparison::Unknown);
        };
        Ok(self.deployment.identity.compare(&current.identity, now))
    }

    /// Asks the other members for the cluster time, if `time` is ahead of the one that is known: a member that lags behind and is cut off from
    /// the others does not know it.
    pub(super) async fn update_cluster_time(&mut self, time: Timestamp) {
        let known = &mut self.deployment.cluster_time;
        if known.is_some_and(|known| time::is_ahead(time, known)) {
            *known = (*known).max(members::cluster_time(&self.connection).await);
        }
    }
}
