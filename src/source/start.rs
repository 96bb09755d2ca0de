//! Start points of a stream: the resume token of a point in time, the oldest time the oplog reaches back to, and whether the server
//! accepts a token. With a token for every start, a stream is always opened the same way, and its checkpoint exists before the first event.

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};

use crate::config::StreamSpec;
use crate::time;
use crate::token::ResumeToken;

use super::classify::{self, Verdict};
use super::connection::Connection;
use super::owner::Closing;
use super::position::StartPoint;
use super::target::Deployment;
use super::watchdog::RequestTracker;

/// A time before every possible event.
const FIRST_TIME: Timestamp = at(1, 1);

const fn at(time: u32, increment: u32) -> Timestamp {
    Timestamp { time, increment }
}

/// Returns the resume token of the point before any event at or after `start`; `None` is now. Opens a cursor there and closes it.
///
/// # Errors
/// The driver's, and one when the server sends no token.
pub(super) async fn token(
    connection: &Connection,
    spec: &StreamSpec,
    start: Option<Timestamp>,
) -> mongodb::error::Result<ResumeToken> {
    let start = match start {
        Some(time) => StartPoint::At(time).option()?,
        None => Document::new(),
    };
    let reply = open_and_close(connection, spec, start, 0).await?;
    let token = reply
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
                "the server sent no postBatchResumeToken, which needs MongoDB 4.0.7 or later"
                    .to_owned(),
            )
        })?;
    let now = reply.get_document("$clusterTime").ok();
    let now = now.and_then(|now| now.get_timestamp("clusterTime").ok());
    match now {
        // Events up to that time would be skipped.
        Some(now) if time::is_ahead(token.time(), now) => {
            Err(mongodb::error::Error::custom(format!(
                "the server sent a resume token whose time {}",
                time::ahead_of_server(token.time(), now)
            )))
        }
        _ => Ok(token),
    }
}

/// Returns the oldest time at which a stream of `spec` can still be opened. Finds it by binary search with attempts to open one, because
/// that needs no privilege beyond the stream's own.
///
/// # Errors
/// The driver's, when an attempt fails for a reason other than lost history.
pub(super) async fn earliest(
    connection: &Connection,
    spec: &StreamSpec,
) -> mongodb::error::Result<Timestamp> {
    if has_history(connection, spec, FIRST_TIME).await? {
        return Ok(FIRST_TIME);
    }
    let now = Deployment::of(connection).await?.cluster_time;
    let after_now = now.map_or(u32::MAX, |now| now.time.saturating_add(1));
    let second = first(FIRST_TIME.time, after_now, |second| {
        has_history(connection, spec, at(second, 1))
    })
    .await?;
    // The history begins within the second before. A second has few increments, so doubling from the first one keeps the search short.
    let before = second - 1;
    let (mut lost, mut present) = (1, 2);
    while !has_history(connection, spec, at(before, present)).await? {
        if present > u32::MAX / 2 {
            return Ok(at(second, 1));
        }
        lost = present;
        present *= 2;
    }
    let increment = first(lost, present, |increment| {
        has_history(connection, spec, at(before, increment))
    })
    .await?;
    Ok(at(before, increment))
}

/// Returns [`earliest`], or `None` while the oplog has overwritten nothing.
///
/// # Errors
/// As [`earliest`].
pub(super) async fn oldest(
    connection: &Connection,
    spec: &StreamSpec,
) -> mongodb::error::Result<Option<Timestamp>> {
    let earliest = earliest(connection, spec).await?;
    Ok((earliest != FIRST_TIME).then_some(earliest))
}

/// Returns the first number for which `holds` is true, by binary search between `no`, where it is false, and `yes`, where it is true.
async fn first<F>(
    mut no: u32,
    mut yes: u32,
    holds: impl Fn(u32) -> F,
) -> mongodb::error::Result<u32>
where
    F: Future<Output = mongodb::error::Result<bool>>,
{
    while no + 1 < yes {
        let middle = no + (yes - no) / 2;
        if holds(middle).await? {
            yes = middle;
        } else {
            no = middle;
        }
    }
    Ok(yes)
}

/// Returns whether the oplog still reaches back to `start`, so that a stream can be opened there.
///
/// # Errors
/// The driver's, when the attempt fails for a reason other than lost history.
pub(super) async fn has_history(
    connection: &Connection,
    spec: &StreamSpec,
    start: Timestamp,
) -> mongodb::error::Result<bool> {
    // Without the filter, the first event ends the scan; without images and with the `_id` only, the event cannot fail the reply.
    let bare = StreamSpec {
        pipeline: vec![doc! { "$project": { "_id": 1 } }],
        full_document: None,
        full_document_before_change: None,
        ..spec.clone()
    };
    // With batchSize 0 the server would not read the oplog yet.
    match scan_and_close(connection, &bare, StartPoint::At(start)).await {
        Ok(_) => Ok(true),
        Err(error) if classify::code(&error) == Some(classify::MAX_TIME_EXPIRED) => Ok(true),
        Err(error) if classify::classify(&error) == Verdict::HistoryLost => Ok(false),
        Err(error) => Err(error),
    }
}

/// Checks that the server accepts `token` for a stream of `spec`: opens one after it, without reading the oplog, and closes it.
///
/// # Errors
/// The driver's, when the server does not accept the token.
pub(super) async fn check_token(
    connection: &Connection,
    spec: &StreamSpec,
    token: &ResumeToken,
) -> mongodb::error::Result<()> {
    let start = StartPoint::After(token).option()?;
    open_and_close(connection, spec, start, 0).await.map(drop)
}

/// Time after which the server stops scanning the oplog for an event of a quiet scope. Lost history shows before the scan begins.
const MAX_SCAN_MS: i64 = 1000;

/// Opens a stream at `start`, reads up to its first event, for at most [`MAX_SCAN_MS`], and closes it.
async fn scan_and_close(
    connection: &Connection,
    spec: &StreamSpec,
    start: StartPoint<'_>,
) -> mongodb::error::Result<Document> {
    let mut command = spec.aggregate(start.option()?, 1);
    command.insert("maxTimeMS", MAX_SCAN_MS);
    run_and_close(connection, spec, command).await
}

/// Opens a stream at `start`, an option of `$changeStream`, closes it, and returns the reply to the opening: up to `batch_size` events.
///
/// # Errors
/// The driver's.
pub(super) async fn open_and_close(
    connection: &Connection,
    spec: &StreamSpec,
    start: Document,
    batch_size: u32,
) -> mongodb::error::Result<Document> {
    run_and_close(connection, spec, spec.aggregate(start, batch_size)).await
}

async fn run_and_close(
    connection: &Connection,
    spec: &StreamSpec,
    mut command: Document,
) -> mongodb::error::Result<Document> {
    let db = spec.scope.database();
    let requests = RequestTracker::default();
    let mut closing = Closing::new(connection, &requests);
    command.insert("comment", closing.comment());
    let reply = requests.track(connection.run(db, command)).await;
    closing.answered(&reply);
    let reply = reply?;
    if let Ok(cursor) = reply.get_document("cursor")
        && let (Ok(id), Ok(namespace)) = (cursor.get_i64("id"), cursor.get_str("ns"))
        && id != 0
    {
        let collection = namespace
            .split_once('.')
            .map_or(namespace, |(_, collection)| collection);
        let close = doc! { "killCursors": collection, "cursors": [id] };
        // Only the server that opened the cursor has it; the read preference may select another one for the next command.
        let owner = match requests.last_server() {
            Some(server) => connection.to(&server),
            None => connection.clone(),
        };
        // If this fails, the server closes the cursor together with its session.
        let _ = owner.run(db, close).await;
    }
    Ok(reply)
}
