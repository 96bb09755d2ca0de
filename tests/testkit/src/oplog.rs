//! The size of the oplog of a replica set, and how a test has it overwritten.

use mongodb::bson::{Document, Timestamp, doc};
use mongodb::error::ErrorKind;

use crate::deadline::{DEADLINE, poll};
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;

/// The size of a set's oplog.
#[derive(Clone, Copy)]
pub enum Oplog {
    /// 1 GB: more than any test writes. It occupies disk space only as it is written.
    Ample,
    /// The smallest possible size: [`ReplicaSet::roll_oplog`] takes about a second and 20 MB of writes (measured on MongoDB 6.0.27).
    Tiny,
}

impl Oplog {
    /// Returns the arguments for mongod. The server truncates the oplog only at a checkpoint of its storage (`syncdelay`, in seconds) and
    /// keeps the history that snapshot reads may need (5 minutes by default): without these two settings even a small oplog loses no
    /// entry until 2.3 GB are written.
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
    /// Returns the operation time of the primary: all writes so far are at or before it.
    #[track_caller]
    pub fn operation_time(&self) -> Timestamp {
        let reply = self.admin(doc! { "ping": 1 });
        reply
            .get_timestamp("operationTime")
            .expect("every reply of a replica set has an operationTime")
    }

    /// Returns the time of the oldest entry in the oplog.
    #[track_caller]
    pub fn oplog_start(&self) -> Timestamp {
        let oplog = self
            .client()
            .database("local")
            .collection::<Document>("oplog.rs");
        let oldest = poll(DEADLINE, || {
            let oldest = block_on(oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }));
            match oldest {
                // The entry was overwritten while it was read.
                Err(error) if matches!(&*error.kind, ErrorKind::Command(error) if error.code == 136) => {
                    None
                }
                oldest => oldest.expect("the oplog can be read"),
            }
        });
        let oldest = oldest.expect("an oplog is never empty");
        oldest
            .get_timestamp("ts")
            .expect("an oplog entry has a time")
    }

    /// Writes to a separate database until no stream can resume at or before `time`. For [`Oplog::Tiny`].
    #[track_caller]
    pub fn roll_oplog(&self, time: Timestamp) {
        /// The size of one write: a few dozen fill the oplog.
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
