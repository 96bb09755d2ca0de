//! The scan of a snapshot: reads the documents of the collections in scope while the stream is read, each collection in the order of `_id`,
//! and sends them to the queue in chunks. A chunk is never older than the events before it, and never comes after newer ones.

mod chunk_size;
mod collections;
mod commands;
mod estimate;
mod extent;
mod failures;
mod reader;
mod reply;
mod results;
mod turns;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, Timestamp};

use crate::config::StreamSpec;
use crate::error::Failure;
use crate::queue::{Message, Sender};
use crate::snapshot::{Collection, Lines, ScanPosition, SnapshotChunk, SnapshotProgress};
use crate::telemetry::Telemetry;
use crate::token::{Kind, ResumeToken};

use super::connection::Connection;
use super::recovery::Recovery;
use super::target::{Deployment, Target};

use self::chunk_size::ChunkSize;
use self::commands::{Part, Types};
use self::reader::{Ending, ReadError, Reader};
use self::turns::Wanted;

pub(super) use self::extent::Extent;
pub(super) use self::extent::{Unmeasured, measure};
pub(super) use self::turns::{Turn, Turns};

/// The first limit on the time of a command. The stream waits meanwhile. It doubles with each command that takes longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A scan of the collections of a stream.
pub(super) struct Scan<'a> {
    connection: Connection,
    spec: StreamSpec,
    turns: &'a Turns,
    queue: &'a Sender,
    reader: Reader,
    size: ChunkSize,
    wanted: Wanted,
    /// Of its own: the stream may work while the scan does not.
    recovery: Recovery,
    telemetry: Telemetry,
    /// Number of failed commands in a row.
    failures: u32,
    reply_timeout: Duration,
}

/// What is left to read of a collection.
#[derive(Debug, Clone, PartialEq)]
struct Rest {
    collection: Collection,
    /// The key of the last document that was read.
    after: Option<RawDocumentBuf>,
}

/// Returns the largest number of documents in a chunk: `--batch-size`, or a multiple with a filter. There, the requests take a fifth of the
/// time of a chunk of 1000 documents, because the server also searches its end (measured on MongoDB 6.0.27). Without, larger chunks only
/// take more memory.
fn max_chunk_size(spec: &StreamSpec) -> u32 {
    match spec.document_stages().is_empty() {
        true => spec.batch_size,
        false => spec.batch_size.saturating_mul(8),
    }
}

impl<'a> Scan<'a> {
    /// Creates the scan of the collections in the scope of `target`, which takes turns with its stream.
    pub(super) fn new(
        target: &Target,
        recovery: Recovery,
        telemetry: Telemetry,
        turns: &'a Turns,
        queue: &'a Sender,
    ) -> Self {
        let spec = target.spec.clone();
        let query = spec.document_query();
        let never = Timestamp {
            time: 0,
            increment: 0,
        };
        Self {
            connection: target.connection.clone(),
            turns,
            queue,
            reader: Reader::new(target.connection.clone(), query, spec.document_stages()),
            size: ChunkSize::new(spec.batch_size, max_chunk_size(&spec)),
            wanted: Wanted {
                now: target.deployment.operation_time.unwrap_or(never),
                passed: never,
            },
            recovery,
            telemetry,
            failures: 0,
            reply_timeout: REPLY_TIMEOUT,
            spec,
        }
    }

    /// Sends all documents after `progress` to the queue, or those that are read before the receiver is gone.
    ///
    /// # Errors
    /// The reason why the scan cannot continue.
    pub(super) async fn run(mut self, progress: SnapshotProgress) -> Result<(), Failure> {
        let rests = rests(self.list().await?, progress);
        self.report_beginning(&rests);
        for rest in rests {
            self.telemetry.snapshot_collection();
            if self.read(rest).await?.is_break() {
                return Ok(());
            }
        }
        let turn = self.turns.take_when(self.wanted).await;
        let end = SnapshotChunk {
            lines: Lines::default(),
            token: self.turns.token(),
            progress: SnapshotProgress::Finished,
            time: self.wanted.now,
        };
        // A receiver that is gone ends the stream too.
        let _ = self.queue.send(Message::Snapshot(Box::new(end))).await;
        drop(turn);
        Ok(())
    }

    /// Reports how much there is to read. The number of documents is found while they are read.
    fn report_beginning(&self, rests: &[Rest]) {
        self.telemetry.snapshot_begins(rests.len() as u64);
        let collections: Vec<_> = rests.iter().map(|rest| rest.collection.clone()).collect();
        let (connection, telemetry) = (self.connection.clone(), self.telemetry.clone());
        tokio::spawn(async move {
            if let Some(documents) = estimate::documents(&connection, &collections).await {
                telemetry.snapshot_estimate(documents);
            }
        });
    }

    /// Returns the collections in scope, in the order of the scan.
    async fn list(&mut self) -> Result<Vec<Collection>, Failure> {
        loop {
            // Only while the stream is open: a collection that is created later needs no scan.
            drop(self.turns.take_when(self.wanted).await);
            let time = last_event_time(&self.turns.token()).max(self.wanted.now);
            let listed = async {
                let collections =
                    collections::list(&self.connection, &self.spec, Some(time)).await?;
                let deployment = Deployment::of(&self.connection).await?;
                Ok((collections, deployment))
            };
            match listed.await {
                Ok((collections, deployment)) => {
                    self.replied();
                    self.knows_names_of(&deployment);
                    return Ok(collections);
                }
                Err(error) => {
                    self.after_error(None, ReadError::Failed(error, None))
                        .await?
                }
            }
        }
    }

    /// Reads the rest of a collection. Breaks when the receiver is gone.
    async fn read(&mut self, rest: Rest) -> Result<ControlFlow<()>, Failure> {
        let Rest {
            mut collection,
            mut after,
        } = rest;
        let mut types = Types::OneSuffices;
        loop {
            let turns = self.turns;
            let turn = turns.take_when(self.wanted).await;
            let token = turns.token();
            let started_at = Instant::now();
            let part = Part {
                collection: &collection,
                after: after.as_deref(),
                types,
                limit: self.size.get(),
                token: &token,
                time: last_event_time(&token).max(self.wanted.now),
                timeout: self.reply_timeout,
            };
            match self.reader.read(part).await {
                Ok(read) => {
                    self.replied();
                    self.reached(Some(read.time));
                    let bytes = read.lines.bytes();
                    self.size.adapt(bytes, started_at.elapsed());
                    self.telemetry
                        .snapshot_scanned(read.documents, bytes as u64);
                    if let Some(last) = read.last {
                        after = Some(last.clone());
                        let progress = SnapshotProgress::At(ScanPosition {
                            collection: collection.clone(),
                            after: last,
                            earlier: None,
                        });
                        let chunk = SnapshotChunk {
                            lines: read.lines,
                            token,
                            progress,
                            time: read.time,
                        };
                        let chunk = Message::Snapshot(Box::new(chunk));
                        if self.queue.send(chunk).await.is_err() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    drop(turn);
                    types = match read.ending {
                        Ending::Open => Types::OneSuffices,
                        Ending::Type => Types::All,
                        Ending::Collection => return Ok(ControlFlow::Continue(())),
                    };
                }
                Err(ReadError::Moved(name)) => {
                    drop(turn);
                    let is_left = |name: &String| self.spec.includes(&collection.db, name);
                    let Some(name) = name.filter(is_left) else {
                        tracing::info!(
                            "{collection} was dropped or renamed, which ends its part of the snapshot"
                        );
                        return Ok(ControlFlow::Continue(()));
                    };
                    // The error has the time of the documents, which is earlier than that of the names.
                    match Deployment::of(&self.connection).await {
                        Ok(deployment) => {
                            tracing::debug!("{collection} was renamed to {name}");
                            self.replied();
                            self.knows_names_of(&deployment);
                            collection.coll = name;
                        }
                        Err(error) => {
                            let error = ReadError::Failed(error, None);
                            self.after_error(Some(&collection), error).await?;
                        }
                    }
                }
                Err(error) => {
                    drop(turn);
                    self.after_error(Some(&collection), error).await?;
                }
            }
        }
    }

    /// Records that names of collections are known that `deployment` had before. A document must not come under a new name before the rename
    /// does, and another member must not be asked for a collection that it does not have yet.
    fn knows_names_of(&mut self, deployment: &Deployment) {
        self.reached(deployment.cluster_time);
        // It advances before a write is visible, the operation time after it is applied.
        self.wanted.passed = deployment.cluster_time.unwrap_or(self.wanted.passed);
    }

    /// Records a time of the deployment.
    fn reached(&mut self, time: Option<Timestamp>) {
        self.wanted.now = time.map_or(self.wanted.now, |time| time.max(self.wanted.now));
    }

    /// Records a reply.
    fn replied(&mut self) {
        self.failures = 0;
        self.recovery.reply_received();
    }
}

/// Returns a time that no event up to `token` is later than. A high-water mark comes before the events of its time, which the deployment may
/// not have reached yet: it refuses a read concern with such a time.
fn last_event_time(token: &ResumeToken) -> Timestamp {
    let Timestamp { time, increment } = token.time();
    Timestamp {
        time,
        increment: match token.kind() {
            Kind::HighWaterMark => increment.saturating_sub(1),
            _ => increment,
        },
    }
}

/// Returns what is left to read of `collections`, which are in the order of the scan.
fn rests(collections: Vec<Collection>, progress: SnapshotProgress) -> Vec<Rest> {
    let all = |collection| Rest {
        collection,
        after: None,
    };
    let position = match progress {
        SnapshotProgress::Begun => return collections.into_iter().map(all).collect(),
        SnapshotProgress::Finished => return Vec::new(),
        SnapshotProgress::At(position) => position,
    };
    let reached = position.collection;
    let is_same = |collection: &Collection| match (collection.uuid, reached.uuid) {
        (Some(uuid), Some(reached)) => uuid == reached,
        _ => (&collection.db, &collection.coll) == (&reached.db, &reached.coll),
    };
    let is_ordered = reached.uuid.is_some() || collections.iter().all(|one| one.uuid.is_none());
    let begins_at = match (collections.iter().position(is_same), position.earlier) {
        // Otherwise it is another one, which has taken the name.
        (Some(index), earlier)
            if earlier
                .as_ref()
                .is_none_or(|earlier| earlier.collection < collections[index]) =>
        {
            index
        }
        // It was dropped: the next one is where it would be.
        _ if is_ordered => collections.partition_point(|collection| *collection < reached),
        (_, Some(earlier)) => return rests(collections, SnapshotProgress::At(*earlier)),
        (_, None) => 0,
    };
    let rest = |collection: Collection| match is_same(&collection) {
        true => Rest {
            collection,
            after: Some(position.after.clone()),
        },
        false => all(collection),
    };
    collections.into_iter().skip(begins_at).map(rest).collect()
}

#[cfg(test)]
mod tests {
    use bson::{Uuid, rawdoc};

    use super::*;

    fn collection(uuid: Option<u8>, coll: &str) -> Collection {
        Collection {
            uuid: uuid.map(|byte| Uuid::from_bytes([byte; 16])),
            db: "shop".to_owned(),
            coll: coll.to_owned(),
        }
    }

    #[test]
    fn continues_after_the_last_document_in_the_order_of_the_scan() {
        let rest_since = |listed: &[(Option<u8>, &str)],
                          reached,
                          earlier: Option<(Option<u8>, &str)>|
         -> Vec<(String, bool)> {
            let listed = listed.iter().map(|(uuid, coll)| collection(*uuid, coll));
            let progress = SnapshotProgress::At(ScanPosition {
                collection: reached,
                after: rawdoc! { "_id": 7 },
                earlier: earlier.map(|(uuid, coll)| {
                    Box::new(ScanPosition {
                        collection: collection(uuid, coll),
                        after: rawdoc! { "_id": 9 },
                        earlier: None,
                    })
                }),
            });
            let rests = rests(listed.collect(), progress).into_iter();
            rests
                .map(|rest| (rest.collection.coll, rest.after.is_some()))
                .collect()
        };
        let rest = |listed: &[_], reached| rest_since(listed, reached, None);
        let listed = [(Some(1), "c"), (Some(2), "b"), (Some(4), "a")];
        let (b, a) = (("b".to_owned(), true), ("a".to_owned(), false));
        assert_eq!(
            rest(&listed, collection(Some(2), "b")),
            [b.clone(), a.clone()]
        );
        // A rename keeps the UUID; a new collection has another one.
        assert_eq!(
            rest(&listed, collection(Some(2), "c")),
            [b.clone(), a.clone()]
        );
        assert_eq!(
            rest(&listed, collection(Some(3), "b")),
            std::slice::from_ref(&a)
        );
        assert_eq!(rest(&listed, collection(None, "b")), [b, a]);
        assert_eq!(rest(&listed, collection(None, "x")).len(), 3);
        // The collection of the line was renamed, or another one has taken its name.
        let since = |uuid, coll, reached| {
            let rests = rest_since(&listed, collection(None, reached), Some((Some(uuid), coll)));
            rests.first().cloned().expect("a collection")
        };
        assert_eq!(since(1, "c", "b"), ("b".to_owned(), true));
        assert_eq!(since(1, "c", "x"), ("c".to_owned(), true));
        assert_eq!(since(3, "y", "c"), ("a".to_owned(), false));
        let listed = [(None, "a"), (None, "c")];
        let c = ("c".to_owned(), false);
        assert_eq!(rest(&listed, collection(None, "b")), [c]);
    }
}
