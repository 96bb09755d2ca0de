//! Where a stream starts that has no token yet: asks the server for the token of a point in time, so that every stream is opened
//! in one way, after a token that could be saved before the first event.

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};

use crate::stream_spec::StreamSpec;
use crate::token::ResumeToken;

use super::classify::{self, Verdict};
use super::connect::Connection;

/// Before every event there can be.
const FIRST_TIME: Timestamp = start_of_second(1);

/// After every event there can be.
const LAST_TIME: Timestamp = Timestamp {
    time: u32::MAX,
    increment: u32::MAX,
};

const fn start_of_second(second: u32) -> Timestamp {
    Timestamp {
        time: second,
        increment: 1,
    }
}

/// Opens and closes a cursor at `start` (`None`: at the present) for the token that the server gives the place before any event.
///
/// # Errors
/// The driver's.
pub(super) async fn token(
    connection: &Connection,
    spec: &StreamSpec,
    start: Option<Timestamp>,
) -> mongodb::error::Result<ResumeToken> {
    let start = start.map_or_else(Document::new, |time| doc! { "startAtOperationTime": time });
    let reply = run_and_close(connection, spec, start, 0).await?;
    reply
        .get_document("cursor")
        .ok()
        .and_then(|cursor| cursor.get_document("postBatchResumeToken").ok())
        .and_then(|token| RawDocumentBuf::try_from(token).ok())
        .and_then(|token: RawDocumentBuf| {
            let token: &RawDocument = &token;
            ResumeToken::from_raw(token).ok()
        })
        .ok_or_else(|| {
            mongodb::error::Error::custom(
                "the server sent no postBatchResumeToken, which takes MongoDB 4.0.7 or later"
                    .to_owned(),
            )
        })
}

/// The oldest time from which a stream of `spec` can still be opened, exact to the second; within the present second exactly, since
/// the next one is ahead of the server, which would silently skip events. Found by trying, which takes no privilege beyond the
/// stream's own.
///
/// # Errors
/// The driver's, when an attempt fails for another reason than lost history.
pub(super) async fn earliest(
    connection: &Connection,
    spec: &StreamSpec,
) -> mongodb::error::Result<Timestamp> {
    if has_history(connection, spec, FIRST_TIME).await? {
        return Ok(FIRST_TIME);
    }
    let now = connection
        .hello()
        .await?
        .operation_time
        .unwrap_or(LAST_TIME);
    let seconds = (FIRST_TIME.time, now.time.saturating_add(1));
    let second = first_there(connection, spec, seconds, start_of_second).await?;
    if second <= now.time {
        return Ok(start_of_second(second));
    }
    let within = |increment| Timestamp {
        time: now.time,
        increment,
    };
    let increments = (FIRST_TIME.increment, now.increment);
    let increment = first_there(connection, spec, increments, within).await?;
    Ok(within(increment))
}

/// The first number, behind one whose time is gone and at or before one whose time is there, with a time that is there.
async fn first_there(
    connection: &Connection,
    spec: &StreamSpec,
    (mut gone, mut there): (u32, u32),
    time: impl Fn(u32) -> Timestamp,
) -> mongodb::error::Result<u32> {
    while gone + 1 < there {
        let middle = gone + (there - gone) / 2;
        if has_history(connection, spec, time(middle)).await? {
            there = middle;
        } else {
            gone = middle;
        }
    }
    Ok(there)
}

/// Whether a stream can be opened at `start`.
///
/// # Errors
/// The driver's, when the attempt fails for another reason than lost history.
pub(super) async fn has_history(
    connection: &Connection,
    spec: &StreamSpec,
    start: Timestamp,
) -> mongodb::error::Result<bool> {
    // Without the filter and the images: the first event found ends the scan, and nothing of it can be in the way.
    let bare = StreamSpec {
        pipeline: vec![doc! { "$project": { "_id": 1 } }],
        full_document: None,
        full_document_before_change: None,
        ..spec.clone()
    };
    let start = doc! { "startAtOperationTime": start };
    // With batchSize 0 the server would not look into the oplog yet.
    match run_and_close(connection, &bare, start, 1).await {
        Ok(_) => Ok(true),
        Err(error) if classify::code(&error) == Some(MAX_TIME_EXPIRED) => Ok(true),
        Err(error) if classify::classify(&error, spec) == Verdict::HistoryLost => Ok(false),
        Err(error) => Err(error),
    }
}

/// A long scan of a quiet scope is stopped after this: lost history shows before the scan begins.
const LONGEST_PROBE_MS: i64 = 1000;
const MAX_TIME_EXPIRED: i32 = 50;

async fn run_and_close(
    connection: &Connection,
    spec: &StreamSpec,
    start: Document,
    batch_size: u32,
) -> mongodb::error::Result<Document> {
    let mut command = spec.aggregate(start, batch_size);
    if batch_size > 0 {
        command.insert("maxTimeMS", LONGEST_PROBE_MS);
    }
    let db = spec.scope.database();
    let reply = connection.run(db, command).await?;
    if let Ok(cursor) = reply.get_document("cursor")
        && let (Ok(id), Ok(namespace)) = (cursor.get_i64("id"), cursor.get_str("ns"))
        && id != 0
    {
        let collection = namespace
            .split_once('.')
            .map_or(namespace, |(_, collection)| collection);
        // A cursor that stays open goes with its session.
        let _ = connection
            .run(db, doc! { "killCursors": collection, "cursors": [id] })
            .await;
    }
    Ok(reply)
}
