//! Closing of a cursor on the server that owns it. Driver 3.9.1 sends `killCursors` to the primary, and none when its opening is given up
//! before the reply comes. A cursor that is left stays open for the ten minutes until it times out; a backlog would leave one for each slice.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};

use super::connection::Connection;
use super::watchdog::RequestTracker;

/// The waits before each look for the cursor of an opening that was given up: the server may be busy with it, and opens the cursor if it
/// does not notice in time that the driver has closed the connection.
const WAITS_FOR_OPENING: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// Closes a cursor when it is dropped. The cursor is found by a comment, because the driver does not show its id.
#[derive(Debug)]
pub(in crate::source) struct Closing {
    comment: String,
    connection: Connection,
    /// The requests for the cursor, the last of which went to its owner.
    requests: RequestTracker,
    state: State,
}

/// What is known of the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server may be opening it.
    Opening,
    /// It is open, on a server that the driver's `killCursors` may not reach.
    Open,
    /// There is nothing to close.
    Closed,
}

impl Closing {
    /// Creates one for the cursor that a command with [`Closing::comment`] opens. Must exist before the first of `requests` is sent.
    pub(in crate::source) fn new(connection: &Connection, requests: &RequestTracker) -> Self {
        Self {
            comment: format!("cswatch {:016x}", fastrand::u64(..)),
            connection: connection.clone(),
            requests: requests.clone(),
            state: State::Opening,
        }
    }

    /// Returns the comment by which the cursor is found.
    pub(in crate::source) fn comment(&self) -> &str {
        &self.comment
    }

    /// Returns a stage with the comment. The server removes it from the pipeline before it runs.
    pub(in crate::source) fn stage(&self) -> Document {
        doc! { "$match": { "$comment": &self.comment } }
    }

    /// Creates one for the cursor of a stream; `None` if the stream reads from a server that the driver's `killCursors` reaches: its pipeline
    /// stays what `--explain` shows.
    pub(in crate::source) fn of_stream(
        connection: &Connection,
        requests: &RequestTracker,
    ) -> Option<Self> {
        let is_elsewhere = !connection.is_one_server || connection.member_criteria().is_some();
        is_elsewhere.then(|| Self::new(connection, requests))
    }

    /// Records that the driver has the cursor.
    pub(in crate::source) fn opened(&mut self) {
        self.state = State::Open;
    }

    /// Records the reply to a command whose cursor the caller closes.
    pub(in crate::source) fn answered<T>(&mut self, reply: &mongodb::error::Result<T>) {
        match reply {
            Ok(_) => self.state = State::Closed,
            Err(error) => self.failed(error),
        }
    }

    /// Records that the opening failed: a server that answers with an error opens no cursor.
    pub(in crate::source) fn failed(&mut self, error: &Error) {
        if matches!(*error.kind, ErrorKind::Command(_)) {
            self.state = State::Closed;
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let waits = match self.state {
            State::Opening => &WAITS_FOR_OPENING[..],
            State::Open => &WAITS_FOR_OPENING[..1],
            State::Closed => return,
        };
        let Some(owner) = self.requests.last_server() else {
            return;
        };
        let connection = self.connection.to(&owner);
        let comment = std::mem::take(&mut self.comment);
        // Outside of a runtime, the client is closed as well.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for wait in waits {
                    tokio::time::sleep(*wait).await;
                    // If this fails, the cursor times out.
                    if close(&connection, &comment).await.unwrap_or(false) {
                        return;
                    }
                }
            });
        }
    }
}

/// Closes the cursors whose command has the comment, also while they work on a request: the server keeps the cursor if the request ends
/// before it notices that the driver has closed the connection. Returns whether there was one.
async fn close(connection: &Connection, comment: &str) -> mongodb::error::Result<bool> {
    // Own cursors need no privilege.
    let list = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "localOps": true, "idleCursors": true } },
            { "$match": { "$or": [
                { "cursor.originatingCommand.pipeline.$match.$comment": comment },
                { "cursor.originatingCommand.comment": comment },
            ] } },
        ],
        "cursor": {},
    };
    let reply = connection.run("admin", list).await?;
    let cursors = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let mut is_closed = false;
    for found in cursors.into_iter().flatten().filter_map(Bson::as_document) {
        if let (Ok(namespace), Ok(cursor)) = (found.get_str("ns"), found.get_document("cursor"))
            && let Some((db, collection)) = namespace.split_once('.')
            && let Ok(id) = cursor.get_i64("cursorId")
        {
            let kill = doc! { "killCursors": collection, "cursors": [id] };
            connection.run(db, kill).await?;
            is_closed = true;
        }
    }
    Ok(is_closed)
}
