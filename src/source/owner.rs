//! Closing of a stream's cursor on the server that owns it. Driver 3.9.1 sends `killCursors` to the primary: a cursor on another member
//! stays open for the ten minutes until it times out, and a backlog leaves one for each slice.

use bson::{Bson, Document, doc};

use super::connection::Connection;
use super::watchdog::RequestTracker;

/// Closes the cursor of a stream when it is dropped. It is found by a comment in its pipeline, because the driver does not show its id.
#[derive(Debug)]
pub(super) struct Closing {
    comment: String,
    connection: Connection,
    /// The requests of the stream, the last of which went to the owner of the cursor.
    requests: RequestTracker,
}

/// Returns the comment by which a cursor is found; `None` if the driver's `killCursors` reaches its owner.
pub(super) fn comment(connection: &Connection) -> Option<String> {
    let is_elsewhere = !connection.is_one_server || connection.member_criteria().is_some();
    is_elsewhere.then(|| format!("cswatch {:016x}", fastrand::u64(..)))
}

/// Returns a stage with the comment. The server removes it from the pipeline before it runs.
pub(super) fn stage(comment: &str) -> Document {
    doc! { "$match": { "$comment": comment } }
}

impl Closing {
    /// Creates one for the cursor of an open stream whose pipeline has the stage with `comment`.
    pub(super) fn new(comment: String, connection: &Connection, requests: &RequestTracker) -> Self {
        Self {
            comment,
            connection: connection.clone(),
            requests: requests.clone(),
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(owner) = self.requests.last_server() else {
            return;
        };
        let connection = self.connection.to(&owner);
        let comment = std::mem::take(&mut self.comment);
        // Outside of a runtime, the client is closed as well.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // If this fails, the cursor times out.
                let _ = close(&connection, &comment).await;
            });
        }
    }
}

/// Closes the cursors whose pipeline has the comment, also while they work on a request: the server keeps the cursor if the request ends
/// before it notices that the driver has closed the connection.
async fn close(connection: &Connection, comment: &str) -> mongodb::error::Result<()> {
    // Own cursors need no privilege.
    let list = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "localOps": true, "idleCursors": true } },
            { "$match": { "cursor.originatingCommand.pipeline.$match.$comment": comment } },
        ],
        "cursor": {},
    };
    let reply = connection.run("admin", list).await?;
    let cursors = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    for found in cursors.into_iter().flatten().filter_map(Bson::as_document) {
        if let (Ok(namespace), Ok(cursor)) = (found.get_str("ns"), found.get_document("cursor"))
            && let Some((db, collection)) = namespace.split_once('.')
            && let Ok(id) = cursor.get_i64("cursorId")
        {
            let kill = doc! { "killCursors": collection, "cursors": [id] };
            connection.run(db, kill).await?;
        }
    }
    Ok(())
}
