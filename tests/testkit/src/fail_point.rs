//! Fail points: errors that the server produces on demand, until the value is dropped. They apply to every client of a server, so a test
//! that sets one needs its own replica set.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use crate::deadline::DEADLINE;
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;

/// The fail point with which a server waits before it sends the reply to a command.
pub const LATE_REPLY: &str = "waitAfterCommandFinishesExecution";

/// How long it may take to turn one off: the test may have killed the server.
const OFF_LIMIT: Duration = Duration::from_secs(5);

/// An active fail point on the primary of a set. Turned off on drop.
pub struct FailPoint<'a> {
    set: &'a ReplicaSet,
    name: String,
    /// The hit count when it was set: the server does not reset the count.
    hits_before: i64,
}

impl ReplicaSet {
    /// Sets a fail point: `{configureFailPoint: name, mode: "alwaysOn" or {times: n}, data: {..}}`.
    ///
    /// For an error of `getMore` with the labels of a real one, use `failGetMoreAfterCursorCheckout` with `errorCode`: `failCommand` does
    /// not add `ResumableChangeStreamError` (measured on MongoDB 6.0.27).
    #[track_caller]
    pub fn fail_point(&self, command: Document) -> FailPoint<'_> {
        let name = command
            .get_str("configureFailPoint")
            .expect("the name of a fail point")
            .to_owned();
        let reply = self.admin(command);
        let hits_before = reply
            .get("count")
            .and_then(|count| count.as_i64().or(count.as_i32().map(i64::from)));
        FailPoint {
            set: self,
            name,
            hits_before: hits_before.expect("the server counts hits"),
        }
    }
}

impl FailPoint<'_> {
    /// Waits until it was hit this number of times since it was set.
    #[track_caller]
    pub fn wait_for_hits(&self, hits: i64) {
        let limit = i64::try_from(DEADLINE.as_millis()).expect("a deadline of seconds");
        self.set.admin(doc! {
            "waitForFailPoint": &self.name,
            "timesEntered": self.hits_before + hits,
            "maxTimeMS": limit,
        });
    }
}

impl Drop for FailPoint<'_> {
    fn drop(&mut self) {
        let off = doc! { "configureFailPoint": &self.name, "mode": "off" };
        let admin = self.set.client().database("admin");
        // A server that no longer runs has no fail point either.
        let _ = block_on(async {
            tokio::time::timeout(OFF_LIMIT, admin.run_command(off).into_future()).await
        });
    }
}
