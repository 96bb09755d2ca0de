//! Scope, filter and options of one change stream, and the aggregate command that opens it.

use bson::{Bson, Document, RawDocumentBuf, doc};
use sha2::{Digest as _, Sha256};

use super::namespaces::{Namespaces, UNWATCHED, listed};
use super::pipeline::{EVENT_KEY, SPLIT_STAGE};
use crate::extjson;
use crate::snapshot;

/// Part of a deployment that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every database except admin, local and config.
    Deployment,
    /// One database.
    Database(String),
    /// Several collections of one database, through a stream of the database.
    Collections(String, Vec<String>),
    /// One collection.
    Collection(String, String),
}

impl Scope {
    /// Returns the names of the database and of the collection: `-` without one, several collections joined by `+`.
    pub(crate) fn names(&self) -> (String, String) {
        match self {
            Self::Deployment => ("-".to_owned(), "-".to_owned()),
            Self::Database(db) => (db.clone(), "-".to_owned()),
            Self::Collections(db, colls) => (db.clone(), colls.join("+")),
            Self::Collection(db, coll) => (db.clone(), coll.clone()),
        }
    }

    /// Returns the database that the aggregate command runs on.
    pub(crate) fn database(&self) -> &str {
        match self {
            Self::Deployment => "admin",
            Self::Database(db) | Self::Collections(db, _) | Self::Collection(db, _) => db,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deployment => f.write_str("the whole deployment"),
            Self::Database(db) => write!(f, "database {db}"),
            Self::Collections(db, colls) => {
                let colls = listed(colls.iter().map(String::as_str));
                write!(f, "collections {colls} of database {db}")
            }
            Self::Collection(db, coll) => write!(f, "{db}.{coll}"),
        }
    }
}

/// Scope, filter and options of a change stream: everything that decides which events it has, and their content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamSpec {
    /// Part of the deployment that is watched.
    pub scope: Scope,
    /// Namespaces to keep from the stream, which is not part of its scope: the same checkpoint serves other patterns.
    pub namespaces: Namespaces,
    /// Stages after `$changeStream`.
    pub pipeline: Vec<Document>,
    /// The flag that each stage of the pipeline came from, for messages.
    pub origins: Vec<String>,
    /// `fullDocument`; `None` is the server's default.
    pub full_document: Option<&'static str>,
    /// `fullDocumentBeforeChange`; `None` is off.
    pub full_document_before_change: Option<&'static str>,
    /// `showExpandedEvents`.
    pub expanded_events: bool,
    /// Maximum number of events in a reply.
    pub batch_size: u32,
    /// Longest time the server waits for an event before it sends an empty reply.
    pub max_await: std::time::Duration,
}

impl StreamSpec {
    /// Returns a stream of everything in `scope`.
    #[cfg(test)]
    pub(crate) fn unfiltered(scope: Scope) -> Self {
        Self {
            scope,
            namespaces: Namespaces::default(),
            pipeline: Vec::new(),
            origins: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            batch_size: 1000,
            max_await: std::time::Duration::from_secs(1),
        }
    }

    /// Returns the options of the `$changeStream` stage, without the start of the stream.
    pub(crate) fn options(&self) -> Document {
        let mut options = Document::new();
        if let Some(mode) = self.full_document {
            options.insert("fullDocument", mode);
        }
        if let Some(mode) = self.full_document_before_change {
            options.insert("fullDocumentBeforeChange", mode);
        }
        if self.scope == Scope::Deployment {
            options.insert("allChangesForCluster", true);
        }
        if self.expanded_events {
            options.insert("showExpandedEvents", true);
        }
        options
    }

    /// Adds the stage that splits large events, which must be the last one, if `has_split` is true.
    pub(crate) fn with_split_stage(mut self, has_split: bool) -> Self {
        if has_split {
            self.pipeline.push(doc! { SPLIT_STAGE: {} });
        }
        self
    }

    /// Returns the aggregate command that opens the stream, with `start` (`startAfter`, for example) added to its options.
    pub(crate) fn aggregate(&self, start: Document, batch_size: u32) -> Document {
        let mut options = self.options();
        options.extend(start);
        let mut pipeline = vec![doc! { "$changeStream": options }];
        pipeline.extend(self.pipeline.iter().cloned());
        let target = match &self.scope {
            Scope::Collection(_, coll) => Bson::String(coll.clone()),
            _ => Bson::Int32(1),
        };
        doc! {
            "aggregate": target,
            "pipeline": pipeline,
            "cursor": { "batchSize": i32::try_from(batch_size).unwrap_or(i32::MAX) },
        }
    }

    /// Returns the stages of the filter that apply to documents too: those of `--id`, `--match` and `--pipeline`.
    pub(crate) fn document_stages(&self) -> Vec<Document> {
        let is_about_events =
            |origin: &str| ["--coll", "--op", self.namespaces.flags()].contains(&origin);
        let stages = self.origins.iter().zip(&self.pipeline);
        stages
            .filter(|(origin, _)| !is_about_events(origin))
            .map(|(_, stage)| stage.clone())
            .collect()
    }

    /// Returns the query that finds the documents which the stage of `--id` keeps, by their index; `None` without it.
    pub(crate) fn document_query(&self) -> Option<Document> {
        let position = self.origins.iter().position(|origin| origin == "--id")?;
        let stage = self.pipeline.get(position)?.get_document("$match").ok()?;
        Some(doc! { "_id": stage.get(EVENT_KEY)? })
    }

    /// Returns the database and the command that reads the documents of a snapshot from a collection, in its simplest form: the first part of
    /// it, without the resume token. A scope with several collections has placeholders for their names.
    pub(crate) fn snapshot_command(&self) -> (&str, Document) {
        let (db, coll) = match &self.scope {
            Scope::Collection(db, coll) => (db.as_str(), coll.as_str()),
            Scope::Database(db) | Scope::Collections(db, _) => (db.as_str(), "COLLECTION"),
            Scope::Deployment => ("DATABASE", "COLLECTION"),
        };
        let batch_size = i32::try_from(self.batch_size).unwrap_or(i32::MAX);
        let stages = self.document_stages();
        if stages.is_empty() {
            let find = doc! {
                "find": coll,
                "sort": { "_id": 1 },
                "hint": { "_id": 1 },
                "limit": batch_size,
                "readConcern": { "level": "majority" },
            };
            return (db, find);
        }
        let mut pipeline: Vec<Document> = (self.document_query().into_iter())
            .map(|query| doc! { "$match": query })
            .collect();
        pipeline.extend([
            doc! { "$sort": { "_id": 1 } },
            doc! { "$replaceWith": {
                "_id": { "key": "$_id" },
                "operationType": snapshot::OPERATION_TYPE,
                "fullDocument": "$$ROOT",
                "ns": { "db": { "$literal": db }, "coll": { "$literal": coll } },
                "documentKey": { "_id": "$_id" },
            } },
        ]);
        pipeline.extend(stages);
        let aggregate = doc! {
            "aggregate": coll,
            "pipeline": pipeline,
            "cursor": { "batchSize": batch_size },
            "hint": { "_id": 1 },
            "readConcern": { "level": "majority" },
        };
        (db, aggregate)
    }

    /// Returns whether a collection is watched.
    pub(crate) fn includes(&self, db: &str, coll: &str) -> bool {
        let is_in_scope = match &self.scope {
            Scope::Deployment => !UNWATCHED.contains(&db),
            Scope::Database(watched) => db == watched,
            Scope::Collections(watched, colls) => {
                db == watched && colls.iter().any(|watched| coll == watched)
            }
            Scope::Collection(watched, watched_coll) => db == watched && coll == watched_coll,
        };
        is_in_scope && !coll.starts_with("system.") && self.namespaces.contains(db, coll)
    }

    /// Returns what is watched, for messages.
    pub(crate) fn subject(&self) -> String {
        match self.namespaces.is_every() {
            true => self.scope.to_string(),
            false => self.namespaces.describe(&self.scope.to_string()),
        }
    }

    /// Returns a string that identifies the scope: no two scopes share it.
    pub(crate) fn scope_id(&self) -> String {
        let (db, colls) = match &self.scope {
            Scope::Deployment => (None, None),
            Scope::Database(db) => (Some(db), None),
            Scope::Collections(db, colls) => (Some(db), Some(colls.clone())),
            Scope::Collection(db, coll) => (Some(db), Some(vec![coll.clone()])),
        };
        serde_json::json!({ "db": db, "coll": colls }).to_string()
    }

    /// Returns the SHA-256 (hex) of filter and options. Two streams of one scope with the same fingerprint have the same events.
    pub(crate) fn fingerprint(&self) -> String {
        let content = doc! { "options": self.options(), "pipeline": self.pipeline.clone() };
        // Documents from flags were checked to be BSON, so this cannot fail.
        let text = RawDocumentBuf::try_from(&content)
            .ok()
            .and_then(|raw| extjson::to_text(&raw, extjson::Mode::Canonical).ok())
            .unwrap_or_default();
        const_hex::encode(Sha256::digest(&text))
    }
}
