//! What is watched: scope, filter and options of one change stream, and the aggregate command they make. Pure.

use bson::{Bson, Document, RawDocumentBuf, doc};
use sha2::{Digest as _, Sha256};

use crate::extjson;

/// The part of a deployment that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every database but admin, local and config.
    Deployment,
    /// One database.
    Database(String),
    /// Some collections of one database, through a stream of the database.
    Collections(String, Vec<String>),
    /// One collection.
    Collection(String, String),
}

impl Scope {
    /// The database and collections, `-` for what is not given; several collections are joined by `+`.
    pub(crate) fn names(&self) -> (String, String) {
        match self {
            Self::Deployment => ("-".to_owned(), "-".to_owned()),
            Self::Database(db) => (db.clone(), "-".to_owned()),
            Self::Collections(db, colls) => (db.clone(), colls.join("+")),
            Self::Collection(db, coll) => (db.clone(), coll.clone()),
        }
    }

    /// The database the aggregate command runs on.
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
                write!(f, "collections {} of database {db}", colls.join(", "))
            }
            Self::Collection(db, coll) => write!(f, "{db}.{coll}"),
        }
    }
}

/// Scope, filter and options: all that decides which events a change stream has, and their content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamSpec {
    /// What is watched.
    pub scope: Scope,
    /// The stages after `$changeStream`.
    pub pipeline: Vec<Document>,
    /// `fullDocument`; `None` leaves it to the server.
    pub full_document: Option<&'static str>,
    /// `fullDocumentBeforeChange`; `None` is off.
    pub full_document_before_change: Option<&'static str>,
    /// `showExpandedEvents`.
    pub expanded_events: bool,
    /// Events in one reply at most.
    pub batch_size: u32,
    /// Longest wait of the server for an event.
    pub max_await: std::time::Duration,
}

impl StreamSpec {
    /// The options of the `$changeStream` stage, beside where to start.
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

    /// The aggregate command that opens the stream, with `start` (such as `startAfter`) among its options.
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

    /// The scope as one string that differs between any two scopes.
    pub(crate) fn scope_id(&self) -> String {
        let (db, colls) = match &self.scope {
            Scope::Deployment => (None, None),
            Scope::Database(db) => (Some(db), None),
            Scope::Collections(db, colls) => (Some(db), Some(colls.clone())),
            Scope::Collection(db, coll) => (Some(db), Some(vec![coll.clone()])),
        };
        serde_json::json!({ "db": db, "coll": colls }).to_string()
    }

    /// SHA-256 (hex) of filter and options: two streams of one scope with the same fingerprint have the same events.
    pub(crate) fn fingerprint(&self) -> String {
        let content = doc! { "options": self.options(), "pipeline": self.pipeline.clone() };
        // A document from flags is checked to be BSON; its text cannot fail.
        let text = RawDocumentBuf::try_from(&content)
            .ok()
            .and_then(|raw| extjson::to_text(&raw, extjson::Mode::Canonical).ok())
            .unwrap_or_default();
        const_hex::encode(Sha256::digest(&text))
    }
}
