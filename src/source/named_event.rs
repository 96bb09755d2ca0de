//! An event without its content: what a message needs to name it, and the options that skip it.

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use crate::time;
use crate::token::ResumeToken;

/// Maximum number of characters of a document key in a message.
const MAX_KEY: usize = 200;

/// Maximum length of a token to paste: Linux accepts no argument of 128 KiB or more (`MAX_ARG_STRLEN`).
const MAX_TOKEN: usize = 100 * 1024;

/// An event without its content.
#[derive(Debug)]
pub(super) struct NamedEvent {
    /// The event's resume token.
    pub(super) token: ResumeToken,
    operation_type: String,
    namespace: String,
}

impl NamedEvent {
    /// Returns the stage that drops all fields but those of a [`NamedEvent`].
    pub(super) fn projection() -> Document {
        doc! { "$project": { "_id": 1, "operationType": 1, "ns": 1 } }
    }

    /// Returns the events in the reply to an `aggregate` with [`Self::projection`].
    pub(super) fn from_reply(reply: &Document) -> Option<Vec<Self>> {
        let events = reply.get_document("cursor").ok()?.get_array("firstBatch");
        let events = events.ok()?.iter().filter_map(Bson::as_document);
        Some(events.filter_map(Self::from_event).collect())
    }

    fn from_event(event: &Document) -> Option<Self> {
        let raw = RawDocumentBuf::try_from(event).ok()?;
        let raw: &RawDocument = &raw;
        let namespace = match event.get("ns") {
            Some(Bson::Document(ns)) => [ns.get_str("db"), ns.get_str("coll")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("."),
            _ => String::new(),
        };
        Some(Self {
            token: ResumeToken::of_event(raw)?,
            operation_type: event
                .get_str("operationType")
                .unwrap_or_default()
                .to_owned(),
            namespace,
        })
    }
}

/// Returns the option that resumes the stream after `token`; `None` if it is too long for a command line.
pub(super) fn start_after(token: &ResumeToken) -> Option<String> {
    let text = if token.as_raw().iter().count() == 1 {
        token.data().to_owned()
    } else {
        let json = token.to_extended_json().unwrap_or_default();
        format!("'{json}'")
    };
    (text.len() <= MAX_TOKEN).then(|| format!("--start-after {text}"))
}

impl std::fmt::Display for NamedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self
            .token
            .decode()
            .ok()
            .and_then(|decoded| decoded.document_key_text().ok().flatten())
            .unwrap_or_default();
        write!(f, "{} of {} ", self.operation_type, self.namespace)?;
        if !key.is_empty() {
            let shown: String = key.chars().take(MAX_KEY).collect();
            let rest = if shown.len() < key.len() { "..." } else { "" };
            write!(f, "{shown}{rest} ")?;
        }
        write!(f, "at {}", time::rfc3339(self.token.time()))
    }
}
