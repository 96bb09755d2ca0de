//! The server that the programs read from: the replica set of the tests, with room for a backlog; and its CPU time.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::{Bson, doc};

use crate::peers::Peers;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ReplicaSet};

/// The database of all collections.
pub(crate) const DB: &str = "drain";

/// Size of the oplog: several times the largest backlog, so that none of it is overwritten.
const OPLOG_MB: f64 = 8192.0;

/// Size of the cache: more than the largest backlog, so that no read waits for the disk.
const CACHE: &str = "cache_size=3GB";

/// Ticks per second of the times in `/proc`, which do not depend on the kernel's own clock
/// (<https://man7.org/linux/man-pages/man7/time.7.html>).
const CLOCK_TICKS: u64 = 100;

/// A running server.
pub(crate) struct Server {
    pub(crate) set: ReplicaSet,
    pid: i64,
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
        Ok(Self { set, pid })
    }

    /// Returns the CPU time that the server has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name, in parentheses, may contain spaces; utime and stime are the 12th and 13th fields after it.
        let (_, fields) = stat.rsplit_once(") ").context("a name in parentheses")?;
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 1000 / CLOCK_TICKS))
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
