//! The server that the programs read from: the replica set of the tests, with room for a backlog; and its CPU time.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::{Bson, doc};
use testkit::mongod_binary::MongodBinary;
use testkit::procfs;
use testkit::replica_set::{Options, ReplicaSet};

use crate::peers::Peers;

/// The database of all collections.
pub(crate) const DB: &str = "drain";

/// Size of the oplog: several times the largest backlog, so that none of it is overwritten.
const OPLOG_MB: f64 = 8192.0;

/// Size of the cache: more than the largest backlog, so that no read waits for the disk.
const CACHE: &str = "cache_size=3GB";

/// A running server.
pub(crate) struct Server {
    pub(crate) set: ReplicaSet,
    pid: u32,
}

impl Server {
    /// Starts the replica set.
    pub(crate) fn start() -> Result<Self> {
        let set = ReplicaSet::start(Options::default());
        set.admin(doc! { "replSetResizeOplog": 1, "size": OPLOG_MB });
        set.admin(doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": CACHE });
        let status = set.admin(doc! { "serverStatus": 1 });
        let pid = match status.get("pid") {
            Some(Bson::Int64(pid)) => *pid,
            Some(Bson::Int32(pid)) => i64::from(*pid),
            _ => anyhow::bail!("the server does not report its process id"),
        };
        let pid = pid.try_into().context("a process id")?;
        Ok(Self { set, pid })
    }

    /// Returns the CPU time that the server has used so far.
    pub(crate) fn cpu(&self) -> Duration {
        procfs::cpu_time(self.pid)
    }

    /// Returns the machine and the versions, for the text above the tables.
    pub(crate) fn description(&self, peers: &Peers) -> Result<String> {
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
