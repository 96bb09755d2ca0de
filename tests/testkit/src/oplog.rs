//! How far back a replica set remembers, and how a test makes it forget.

use mongodb::bson::{Document, Timestamp, doc};

use crate::deadline::{DEADLINE, poll};
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;

/// The size of a set's oplog.
#[derive(Clone, Copy)]
pub enum Oplog {
    /// 1 GB: more than any test writes. Disk is only used as it is written.
    Ample,
    /// The smallest there is: [`ReplicaSet::roll_oplog`] takes about a second and 20 MB of writes
    /// (measured on MongoDB 6.0.27).
    Tiny,
}

impl Oplog {
    /// For mongod. It cuts the oplog only at a checkpoint (`syncdelay`, in seconds) and keeps what
    /// snapshot reads may still ask for (by default 5 minutes): without these two settings even a
    /// small oplog forgets nothing before 2.3 GB were written.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Oplog::Ample => &["--oplogSize=1024"],
            Oplog::Tiny => &[
                "--oplogSize=1",
                "--syncdelay=1",
                "--setParameter=minSnapshotHistoryWindowInSeconds=0",
            ],
        }
    }
}

impl ReplicaSet {
    /// The set's logical time now: everything written so far is at or before it.
    #[track_caller]
    pub fn operation_time(&self) -> Timestamp {
        let reply = self.admin(doc! { "ping": 1 });
        reply
            .get_timestamp("operationTime")
            .expect("a replica set says its time in every reply")
    }

    /// The time of the oldest entry the oplog still has.
    #[track_caller]
    pub fn oplog_start(&self) -> Timestamp {
        let oplog = self
            .client()
            .database("local")
            .collection::<Document>("oplog.rs");
        let oldest = block_on(oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }));
        let oldest = oldest
            .expect("the oplog can be read")
            .expect("an oplog is never empty");
        oldest
            .get_timestamp("ts")
            .expect("an oplog entry has a time")
    }

    /// Writes to a database of its own until nothing at or before `time` can be resumed from. For
    /// [`Oplog::Tiny`].
    #[track_caller]
    pub fn roll_oplog(&self, time: Timestamp) {
        /// One write's size: a few dozen fill the oplog.
        const FILLER: usize = 512 * 1024;
        let filler = self
            .client()
            .database("roll_oplog")
            .collection::<Document>("filler");
        let document = doc! { "filler": "x".repeat(FILLER) };
        let rolled = poll(DEADLINE, || {
            block_on(filler.insert_one(&document)).expect("a write to roll the oplog");
            (self.oplog_start() > time).then_some(())
        });
        assert!(
            rolled.is_some(),
            "the oplog still reaches back to {time} after {DEADLINE:?}"
        );
    }
}
