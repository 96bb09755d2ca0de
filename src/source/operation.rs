//! The operation on the server that a cursor waits for. A server that scans a long oplog for a rare event sends nothing, like one whose
//! connection is half-open; its list of operations shows the difference. An operation that has ended while no reply came was lost.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::options::ServerAddress;

use super::connection::Connection;
use super::watchdog::RequestTracker;

/// Time for the server to list operations.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// The operations of one cursor, which share a comment that no other cursor has.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    comment: String,
}

impl Operation {
    /// Creates the operations of a new cursor.
    pub(super) fn new() -> Self {
        Self {
            comment: format!("cswatch {:016x}", fastrand::u64(..)),
        }
    }

    /// Returns the comment for the cursor's commands.
    pub(super) fn comment(&self) -> Bson {
        Bson::String(self.comment.clone())
    }

    /// Returns whether `server` works on one of the operations. Asks on another connection. Own operations need no privilege.
    pub(super) async fn is_running(&self, connection: &Connection, server: &ServerAddress) -> bool {
        let list = doc! {
            "aggregate": 1,
            "pipeline": [
                { "$currentOp": { "localOps": true } },
                { "$match": { "active": true, "command.comment": &self.comment } },
            ],
            "cursor": {},
        };
        let connection = connection.to(server);
        // Not a request of the cursor.
        let requests = RequestTracker::default();
        let list = requests.track(connection.run("admin", list));
        match tokio::time::timeout(LIST_TIMEOUT, list).await {
            Ok(Ok(reply)) => has_operation(&reply),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

fn has_operation(reply: &Document) -> bool {
    let operations = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    operations.is_ok_and(|operations| !operations.is_empty())
}
