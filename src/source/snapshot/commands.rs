//! The commands that read a part of a collection.

use std::time::Duration;

use bson::raw::{CStr, RawArrayBuf, cstr};
use bson::{Binary, Document, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use mongodb::error::Error;

use crate::snapshot::{Collection, OPERATION_TYPE, key};
use crate::source::classify;
use crate::token::ResumeToken;

use super::results::KEY_FIELD;

/// Makes the commands of a scan.
#[derive(Debug)]
pub(super) struct Commands {
    stages: Stages,
    /// The query for the documents that `--id` selects: without it, the stages would be given every document.
    query: Option<RawDocumentBuf>,
    /// Whether the server knows the option `collectionUUID`, as MongoDB 6.0 does.
    knows_uuid: bool,
}

/// The stages of the filter, in so far as they apply to documents.
#[derive(Debug)]
pub(super) enum Stages {
    /// There are none: documents are read as they are.
    None,
    /// Stages that select documents, which are then read as they are.
    Match(Vec<Document>),
    /// Stages that also change them.
    Any(Vec<Document>),
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

impl Commands {
    /// Creates the commands for the documents that `query` finds, with these stages of the filter.
    pub(super) fn new(query: Option<Document>, stages: Vec<Document>) -> Self {
        let is_match = |stage: &Document| stage.contains_key("$match");
        Self {
            stages: match stages.iter().all(is_match) {
                true if stages.is_empty() => Stages::None,
                true => Stages::Match(stages),
                false => Stages::Any(stages),
            },
            // Without it, the stages select the same documents.
            query: query.and_then(|query| RawDocumentBuf::try_from(&query).ok()),
            knows_uuid: true,
        }
    }

    /// Returns the stages.
    pub(super) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Returns the command that finds the documents of `part`.
    pub(super) fn find(&self, part: Part<'_>) -> RawDocumentBuf {
        let mut find = self.ordered_find(part);
        // Not `singleBatch`, so that the reply shows whether the server cut it at 16 MB: then a cursor is left.
        find.append(cstr!("limit"), i64::from(part.limit));
        find.append(cstr!("batchSize"), i64::from(part.limit));
        find
    }

    /// Returns the command that finds the key of the last document of `part`.
    pub(super) fn find_last_key(&self, part: Part<'_>) -> RawDocumentBuf {
        let mut find = self.ordered_find(part);
        find.append(cstr!("projection"), rawdoc! { "_id": 1 });
        find.append(cstr!("skip"), i64::from(part.limit) - 1);
        find.append(cstr!("limit"), 1);
        find.append(cstr!("singleBatch"), true);
        find
    }

    /// Returns the command that gives the stages the documents of `part` up to the one with the key `last`, of which there are `count` at most.
    pub(super) fn aggregate(
        &self,
        part: Part<'_>,
        last: Option<&RawDocument>,
        count: u32,
    ) -> RawDocumentBuf {
        let mut aggregate = self.command(cstr!("aggregate"), part);
        aggregate.append(cstr!("pipeline"), self.pipeline(part, last));
        // More than can come, so that a cursor is left only if the server cut the reply at 16 MB.
        let batch_size = i64::from(count) + 1;
        aggregate.append(cstr!("cursor"), rawdoc! { "batchSize": batch_size });
        aggregate
    }

    fn pipeline(&self, part: Part<'_>, last: Option<&RawDocument>) -> RawArrayBuf {
        let mut pipeline = RawArrayBuf::new();
        let filter = self.with_query(range(part.after, last));
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
    pub(super) fn is_of_one_type(&self) -> bool {
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
