//! The server that is read from: the replica set of the tests, with room for a backlog, and what it costs.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::{Bson, doc};
use testkit::mongod_binary::MongodBinary;
use testkit::procfs;
use testkit::replica_set::{Options, ReplicaSet};

use crate::peers::Peers;

/// The database that everything is written to.
pub(crate) const DB: &str = "drain";

/// Holds the largest backlog several times over: what is measured is the reading of it.
const OPLOG_MB: f64 = 8192.0;

/// Holds the largest backlog: what is measured is not the disk.
const CACHE: &str = "cache_size=3GB";

/// A running server.
pub(crate) struct Server {
    pub(crate) set: ReplicaSet,
    pid: u32,
}

impl Server {
    /// Starts one.
    pub(crate) fn start() -> Result<Self> {
        let set = ReplicaSet::start(Options::default());
        set.admin(doc! { "replSetResizeOplog": 1, "size": OPLOG_MB });
        set.admin(doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": CACHE });
        let status = set.admin(doc! { "serverStatus": 1 });
        let pid = match status.get("pid") {
            Some(Bson::Int64(pid)) => *pid,
            Some(Bson::Int32(pid)) => i64::from(*pid),
            _ => anyhow::bail!("the server reports no process id"),
        };
        let pid = pid.try_into().context("a process id")?;
        Ok(Self { set, pid })
    }

    /// Returns the CPU time that it used so far.
    pub(crate) fn cpu(&self) -> Duration {
        procfs::cpu_time(self.pid)
    }

    /// The machine and the versions, for the head of the tables.
    pub(crate) fn described(&self, peers: &Peers) -> Result<String> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(": "));
        let cores = std::thread::available_parallelism()?;
        let version = MongodBinary::found().version;
        Ok(format!(
            "{cores} cores ({}), MongoDB {}.{}.{}, {}, cswatch {}",
            model.map_or("unknown", |(_, model)| model),
            version.0,
            version.1,
            version.2,
            peers.versions()?,
            env!("CARGO_PKG_VERSION"),
        ))
    }
}
