//! Operations on the server that a wait is for. A server that scans a long oplog for a rare event sends nothing, like one whose connection is
//! half-open; its list of operations shows the difference. Of an operation that has ended, the reply was lost or is still being sent.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::options::ServerAddress;

use super::connection::Connection;
use super::watchdog::RequestTracker;

/// Time for the server to list operations.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns whether `server` has worked for `time` or longer on a request of this client for events. Asks on another connection; own
/// operations need no privilege.
///
/// Several cursors of a catch-up cannot be told apart, because driver 3.9.1 puts the comment of a change stream into the stage, where the
/// server refuses it.
pub(super) async fn is_running(
    connection: &Connection,
    server: &ServerAddress,
    time: Duration,
) -> bool {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let list = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "localOps": true } },
            { "$match": {
                "active": true,
                "clientMetadata.platform": { "$regex": &connection.client_id },
                "secs_running": { "$gte": seconds },
                "$or": [{ "op": "getmore" }, { "command.aggregate": { "$exists": true } }],
            } },
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

fn has_operation(reply: &Document) -> bool {
    let operations = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    operations.is_ok_and(|operations| !operations.is_empty())
}
