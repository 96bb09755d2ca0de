//! The commands that read a part of a collection. Each is complete by its reply, without a cursor that could be lost: after a failover
//! another server goes on where the last document was.

use std::pin::pin;
use std::time::Duration;

use bson::raw::{CStr, RawArrayBuf, cstr};
use bson::{Binary, Document, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures::StreamExt as _;
use mongodb::error::Error;

use crate::snapshot::{Collection, LineForm, Lines, OPERATION_TYPE, key};
use crate::source::classify;
use crate::source::connection::Connection;
use crate::source::owner::Closing;
use crate::source::watchdog::{RequestTracker, Unanswered};
use crate::token::ResumeToken;

use super::reply::Reply;
use super::results::{KEY_FIELD, ResultLines};

/// Reads parts of collections.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    stages: Stages,
    /// The query for the documents that `--id` selects: without it, the stages would be given every document.
    query: Option<RawDocumentBuf>,
    /// Whether the server knows the option `collectionUUID`, as MongoDB 6.0 does.
    knows_uuid: bool,
    /// The boundary of the next part.
    ahead: Option<Boundary>,
}

/// The stages of the filter, in so far as they apply to documents.
#[derive(Debug)]
enum Stages {
    /// There are none: documents are read as they are.
    None,
    /// Stages that select documents, which are then read as they are.
    Match(Vec<Document>),
    /// Stages that also change them.
    Any(Vec<Document>),
}

/// The end of a part, searched while the part before was read.
#[derive(Debug)]
struct Boundary {
    collection: Collection,
    /// The key of the last document before the part.
    after: RawDocumentBuf,
    /// The number of documents up to the end.
    limit: u32,
    /// The key of the last document of the part.
    last: RawDocumentBuf,
}

/// The part of a collection to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) collection: &'a Collection,
    /// The key of the last document before it; `None` at the beginning.
    pub(super) after: Option<&'a RawDocument>,
    pub(super) types: Types,
    /// The maximum number of documents.
    pub(super) limit: u32,
    /// The newest token that was sent to the queue.
    pub(super) token: &'a ResumeToken,
    /// A time that the documents must not be older than.
    pub(super) time: Timestamp,
    /// The longest wait for a reply.
    pub(super) timeout: Duration,
}

/// The types of the keys to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    /// The type of the key before suffices, if there is one: the server is faster than with all types, for which it evaluates an expression
    /// for each document (0.2 s of 0.4 s for 60,000 documents, measured on MongoDB 6.0.27).
    OneSuffices,
    /// All that there are.
    All,
}

/// Where the documents that were read end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// There may be more.
    Open,
    /// There are no more with a key of this type.
    Type,
    /// There are no more.
    Collection,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) lines: Lines,
    /// The number of documents that were read, whether they passed the filter or not.
    pub(super) documents: u64,
    /// The key of the last document that was read, whether it passed the filter or not; `None` if there was none.
    pub(super) last: Option<RawDocumentBuf>,
    pub(super) ending: Ending,
    /// The time of the deployment.
    pub(super) time: Timestamp,
}

/// Why nothing was read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The collection has another name now, or none in its database.
    Moved(Option<String>),
    /// The driver's error. With the key of the document, if it was only one.
    Failed(Error, Option<RawDocumentBuf>),
    /// The stages changed the `_id` of a line, or a document has none.
    ChangedId,
    /// No reply will come.
    Unanswered(Unanswered),
}

impl From<Unanswered> for ReadError {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Reader {
    /// Creates a reader of the documents that `query` finds, which applies these stages of the filter.
    pub(super) fn new(
        connection: Connection,
        query: Option<Document>,
        stages: Vec<Document>,
    ) -> Self {
        let is_match = |stage: &Document| stage.contains_key("$match");
        Self {
            connection,
            stages: match stages.iter().all(is_match) {
                true if stages.is_empty() => Stages::None,
                true => Stages::Match(stages),
                false => Stages::Any(stages),
            },
            // Without it, the stages select the same documents.
            query: query.and_then(|query| RawDocumentBuf::try_from(&query).ok()),
            knows_uuid: true,
            ahead: None,
        }
    }

    /// Returns whether documents pass through stages, which may fail on one.
    pub(super) fn has_stages(&self) -> bool {
        !matches!(self.stages, Stages::None)
    }

    /// Reads documents in the order of `_id`.
    ///
    /// # Errors
    /// The reason why there is no complete reply.
    pub(super) async fn read(&mut self, part: Part<'_>) -> Result<Read, ReadError> {
        match &self.stages {
            Stages::None => self.find(part).await,
            Stages::Match(_) | Stages::Any(_) => self.aggregate(part).await,
        }
    }

    async fn find(&self, part: Part<'_>) -> Result<Read, ReadError> {
        let mut find = self.ordered_find(part);
        let is_of_one_type = part.is_of_one_type();
        // Not `singleBatch`, so that the reply shows whether the server cut it at 16 MB: then a cursor is left.
        find.append(cstr!("limit"), i64::from(part.limit));
        find.append(cstr!("batchSize"), i64::from(part.limit));
        let reply = self.run(part, find).await?;
        let (is_cut, time) = (reply.is_cut(), reply.time);
        let documents = reply.into_documents()?;
        Ok(Read {
            documents: documents.len() as u64,
            ending: match (
                is_cut || documents.len() == part.limit as usize,
                is_of_one_type,
            ) {
                (true, _) => Ending::Open,
                (false, true) => Ending::Type,
                (false, false) => Ending::Collection,
            },
            last: documents.last_key(),
            lines: Lines::Documents(LineForm::new(part.token, part.collection), documents),
            time,
        })
    }

    /// Reads the documents up to a boundary, which is searched first: the reply does not show which documents did not pass the stages.
    async fn aggregate(&mut self, part: Part<'_>) -> Result<Read, ReadError> {
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(part));
        let (boundary, limit) = match ahead {
            Some(ahead) => (Some(ahead.last), ahead.limit),
            None => (self.boundary(part).await?, part.limit),
        };
        let failed = |error| match error {
            ReadError::Failed(error, _) if part.limit == 1 => {
                ReadError::Failed(error, boundary.clone())
            }
            error => error,
        };
        let mut aggregate = self.command(cstr!("aggregate"), part);
        let pipeline = self.pipeline(part, boundary.as_deref());
        aggregate.append(cstr!("pipeline"), pipeline);
        // More than can come, so that a cursor is left only if the server cut the reply at 16 MB.
        let batch_size = i64::from(limit) + 1;
        aggregate.append(cstr!("cursor"), rawdoc! { "batchSize": batch_size });
        let reading = self.run(part, aggregate);
        let (reply, ahead) = futures::join!(reading, self.boundary_after(part, boundary.clone()));
        let reply = reply.map_err(failed)?;
        self.ahead = ahead;
        let (is_cut, time) = (reply.is_cut(), reply.time);
        let (lines, last) = match &self.stages {
            Stages::Any(_) => {
                let builder = ResultLines::new(part.token, part.collection);
                let mut last = None;
                let lines = reply.documents()?.into_iter().map(|result| {
                    let (line, key) = builder.line(result)?;
                    last = Some(key);
                    Some(line)
                });
                let lines = lines.collect::<Option<_>>().ok_or(ReadError::ChangedId)?;
                (Lines::Results(lines), last)
            }
            Stages::None | Stages::Match(_) => {
                let documents = reply.into_documents()?;
                let last = documents.last_key();
                let form = LineForm::new(part.token, part.collection);
                (Lines::Documents(form, documents), last)
            }
        };
        Ok(Read {
            documents: match (&boundary, is_cut) {
                (Some(_), false) => limit.into(),
                // Those that did not pass are unknown.
                _ => lines.len() as u64,
            },
            lines,
            ending: match is_cut || boundary.is_some() {
                true => Ending::Open,
                false => Ending::Collection,
            },
            last: match is_cut {
                true => last,
                false => boundary.or(last),
            },
            time,
        })
    }

    /// Searches the boundary of the part that follows `part` up to `last`; `None` if it is to be searched when that part is read.
    async fn boundary_after(
        &self,
        part: Part<'_>,
        last: Option<RawDocumentBuf>,
    ) -> Option<Boundary> {
        let after = last?;
        let next = Part {
            after: Some(&after),
            types: Types::OneSuffices,
            ..part
        };
        // The end of the collection may have moved until then.
        let last = self.boundary(next).await.ok()??;
        Some(Boundary {
            collection: part.collection.clone(),
            after,
            limit: part.limit,
            last,
        })
    }

    /// Returns the key of the last document of `part`; `None` if the collection ends within it.
    async fn boundary(&self, part: Part<'_>) -> Result<Option<RawDocumentBuf>, ReadError> {
        let mut find = self.ordered_find(part);
        find.append(cstr!("projection"), rawdoc! { "_id": 1 });
        find.append(cstr!("skip"), i64::from(part.limit) - 1);
        find.append(cstr!("limit"), 1);
        find.append(cstr!("singleBatch"), true);
        let reply = self.run(part, find).await?;
        match reply
            .documents()?
            .last()
            .and_then(|document| key::of(document))
        {
            None if part.is_of_one_type() => {
                let types = Types::All;
                Box::pin(self.boundary(Part { types, ..part })).await
            }
            boundary => Ok(boundary),
        }
    }

    fn pipeline(&self, part: Part<'_>, boundary: Option<&RawDocument>) -> RawArrayBuf {
        let mut pipeline = RawArrayBuf::new();
        let filter = self.with_query(range(part.after, boundary));
        pipeline.push(rawdoc! { "$match": filter });
        pipeline.push(rawdoc! { "$sort": { "_id": 1 } });
        pipeline.push(wrapped(part.token, part.collection));
        // They were BSON when the stream was opened with them.
        let stages = self.stages.as_slice().iter();
        let stages = stages.filter_map(|stage| RawDocumentBuf::try_from(stage).ok());
        stages.for_each(|stage| pipeline.push(stage));
        if let Stages::Match(_) = self.stages {
            // A document may have 16 MB, and then fits into the reply only as it is.
            pipeline.push(rawdoc! { "$replaceWith": "$fullDocument" });
        }
        pipeline
    }

    /// Returns the command that finds the documents of `part`, without their number.
    fn ordered_find(&self, part: Part<'_>) -> RawDocumentBuf {
        let mut find = self.command(cstr!("find"), part);
        let after = part.after.and_then(|after| match part.is_of_one_type() {
            true => key::renamed(after, cstr!("$gt")).map(|gt| rawdoc! { "_id": gt }),
            false => after_key(after).map(|after| rawdoc! { "$expr": after }),
        });
        find.append(cstr!("filter"), self.with_query(after.unwrap_or_default()));
        find.append(cstr!("sort"), rawdoc! { "_id": 1 });
        find
    }

    /// Returns a filter with which only documents are found that the query finds too.
    fn with_query(&self, filter: RawDocumentBuf) -> RawDocumentBuf {
        match &self.query {
            Some(query) => rawdoc! { "$and": [filter, query.clone()] },
            None => filter,
        }
    }

    /// Returns the beginning of a command on the collection.
    fn command(&self, name: &CStr, part: Part<'_>) -> RawDocumentBuf {
        let mut command = RawDocumentBuf::new();
        command.append(name, &*part.collection.coll);
        command.append(cstr!("hint"), rawdoc! { "_id": 1 });
        let read_concern = rawdoc! { "level": "majority", "afterClusterTime": part.time };
        command.append(cstr!("readConcern"), read_concern);
        if let Some(uuid) = part.collection.uuid.filter(|_| self.knows_uuid) {
            command.append(cstr!("collectionUUID"), Binary::from(uuid));
        }
        let timeout = i64::try_from(part.timeout.as_millis()).unwrap_or(i64::MAX);
        command.append(cstr!("maxTimeMS"), timeout);
        command
    }

    /// Runs a command, and returns its only reply.
    async fn run(&self, part: Part<'_>, mut command: RawDocumentBuf) -> Result<Reply, ReadError> {
        let connection = &self.connection;
        let requests = RequestTracker::default();
        let mut closing = Closing::new(connection, &requests);
        command.append(cstr!("comment"), closing.comment());
        let db = connection.client.database(&part.collection.db);
        let run = async {
            let run = db.run_raw_cursor_command(command);
            let run = match connection.criteria() {
                Some(criteria) => run.selection_criteria(criteria),
                None => run,
            };
            // The first reply is there. Dropped with more to come, the cursor is closed.
            let batch = run.batch().await?.next().await;
            batch.unwrap_or_else(|| Err(Error::custom("the server sent no reply".to_owned())))
        };
        let reply = requests
            .await_reply(
                &connection.pool_events,
                pin!(requests.track(run)),
                connection.selection_timeout + part.timeout,
                async |_| false,
            )
            .await?;
        closing.answered(&reply);
        match reply {
            Ok(batch) => Ok(Reply::new(batch, part.time)),
            Err(error) if classify::code(&error) == Some(classify::COLLECTION_UUID_MISMATCH) => {
                let reply = error.server_response();
                let name = reply.and_then(|reply| reply.get_str("actualCollection").ok());
                Err(ReadError::Moved(name.map(ToOwned::to_owned)))
            }
            Err(error) => Err(ReadError::Failed(error, None)),
        }
    }

    /// Stops using options that the server does not know, if `error` may be about one. Returns whether it did.
    pub(super) fn simplify(&mut self, error: &Error) -> bool {
        /// `FailedToParse`, for an unknown option before MongoDB 5.0.
        const FAILED_TO_PARSE: i32 = 9;
        let is_unknown = matches!(
            classify::code(error),
            Some(classify::UNKNOWN_OPTION | FAILED_TO_PARSE)
        );
        is_unknown && std::mem::take(&mut self.knows_uuid)
    }
}

impl Boundary {
    /// Returns whether it is the end of `part`, or an earlier one.
    fn is_of(&self, part: Part<'_>) -> bool {
        self.collection == *part.collection
            && Some(&*self.after) == part.after
            && self.limit <= part.limit
    }
}

impl Stages {
    fn as_slice(&self) -> &[Document] {
        match self {
            Self::None => &[],
            Self::Match(stages) | Self::Any(stages) => stages,
        }
    }
}

impl Part<'_> {
    /// Returns whether only documents with a key of the type of the key before are read.
    fn is_of_one_type(&self) -> bool {
        self.types == Types::OneSuffices && self.after.is_some_and(key::has_query_order)
    }
}

/// Returns the filter of the documents after the one with the key `after`, up to the one with the key `last`.
fn range(after: Option<&RawDocument>, last: Option<&RawDocument>) -> RawDocumentBuf {
    if let (Some(after), Some(last)) = (after, last)
        && key::has_query_order(after)
        && key::are_of_one_type(after, last)
        && let Some(after) = key::renamed(after, cstr!("$gt"))
        && let Some(last) = key::renamed(last, cstr!("$lte"))
    {
        return rawdoc! { "$and": [{ "_id": after }, { "_id": last }] };
    }
    let mut bounds = RawArrayBuf::new();
    if let Some(after) = after.and_then(after_key) {
        bounds.push(after);
    }
    if let Some(last) = last.and_then(|last| key::renamed(last, cstr!("$literal"))) {
        bounds.push(rawdoc! { "$lte": ["$_id", last] });
    }
    rawdoc! { "$expr": { "$and": bounds } }
}

/// Returns the expression that is true for documents after the one with this key, whatever the types: unlike the query operator `$gt`, the
/// expression compares values of all types, and the server uses the index on `_id` for it (measured on MongoDB 6.0.27).
fn after_key(key: &RawDocument) -> Option<RawDocumentBuf> {
    let literal = key::renamed(key, cstr!("$literal"))?;
    Some(rawdoc! { "$gt": ["$_id", literal] })
}

/// Returns the stage that gives documents the form of an event, so that the filter works as it does for events. `_id` also holds the
/// document's own `_id`, which the other stages may drop.
fn wrapped(token: &ResumeToken, collection: &Collection) -> RawDocumentBuf {
    let mut id = RawDocumentBuf::new();
    for (name, value) in token.as_raw().iter().flatten() {
        id.append(name, rawdoc! { "$literal": value });
    }
    id.append(KEY_FIELD, "$_id");
    rawdoc! { "$replaceWith": {
        "_id": id,
        "operationType": OPERATION_TYPE,
        "clusterTime": { "$literal": token.time() },
        "fullDocument": "$$ROOT",
        "ns": { "$literal": { "db": &*collection.db, "coll": &*collection.coll } },
        "documentKey": { "_id": "$_id" },
    } }
}
