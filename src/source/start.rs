//! Where a stream starts that has no token yet: asks the server for the token of a point in time, so that every stream is opened
//! in one way, after a token that could be saved before the first event.

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};

use crate::config::StreamSpec;
use crate::token::ResumeToken;

use super::classify::{self, Verdict};
use super::connection::Connection;
use super::target::Deployment;

/// Before every event there can be.
const FIRST_TIME: Timestamp = at(1, 1);

const fn at(time: u32, increment: u32) -> Timestamp {
    Timestamp { time, increment }
}

/// Opens and closes a cursor at `start` (`None`: at the present) for the token that the server gives the position before any event.
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

/// The oldest time from which a stream of `spec` can still be opened. Found by trying, which takes no privilege beyond the stream's
/// own.
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
    let now = Deployment::of(connection).await?.operation_time;
    let after_now = now.map_or(u32::MAX, |now| now.time.saturating_add(1));
    let second = first(FIRST_TIME.time, after_now, |second| {
        has_history(connection, spec, at(second, 1))
    })
    .await?;
    // It begins within the second before. Few increments make a second: doubled from the first, the search stays short.
    let before = second - 1;
    let (mut gone, mut there) = (1, 2);
    while !has_history(connection, spec, at(before, there)).await? {
        if there > u32::MAX / 2 {
            return Ok(at(second, 1));
        }
        gone = there;
        there *= 2;
    }
    let increment = first(gone, there, |increment| {
        has_history(connection, spec, at(before, increment))
    })
    .await?;
    Ok(at(before, increment))
}

/// As [`earliest`]; `None` while nothing of the history was overwritten.
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

/// The first number for which `holds`, given one where it does not and a later one where it does.
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
        Err(error) if classify::code(&error) == Some(classify::MAX_TIME_EXPIRED) => Ok(true),
        Err(error) if classify::classify(&error) == Verdict::HistoryLost => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens and closes a stream after `token`, without looking into the oplog.
///
/// # Errors
/// The driver's, when the server does not take the token.
pub(super) async fn accepts(
    connection: &Connection,
    spec: &StreamSpec,
    token: &ResumeToken,
) -> mongodb::error::Result<()> {
    let token = Document::try_from(token.as_raw())?;
    let start = doc! { "startAfter": token };
    run_and_close(connection, spec, start, 0).await.map(drop)
}

/// A long scan of a quiet scope is stopped after this: lost history shows before the scan begins.
const MAX_SCAN_MS: i64 = 1000;

async fn run_and_close(
    connection: &Connection,
    spec: &StreamSpec,
    start: Document,
    batch_size: u32,
) -> mongodb::error::Result<Document> {
    let mut command = spec.aggregate(start, batch_size);
    if batch_size > 0 {
        command.insert("maxTimeMS", MAX_SCAN_MS);
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
