//! Events larger than the 16 MB of a BSON document, which the server cannot send: identification of the event, and how to skip it.

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use crate::error::{Failure, Kind};
use crate::time;
use crate::token::ResumeToken;

use super::position::{StartPoint, StreamPosition};
use super::target::Target;

/// Maximum number of characters of a document key in a message.
const MAX_KEY: usize = 200;

/// Maximum length of a token to paste: Linux accepts no argument of 128 KiB or more (`MAX_ARG_STRLEN`).
const MAX_TOKEN: usize = 100 * 1024;

/// An event that is too large, without its content.
struct LargeEvent {
    token: ResumeToken,
    operation_type: String,
    namespace: String,
}

/// Returns the failure of a stream whose next event after `position` is too large. `message` is the server's.
///
/// `can_split` is whether the server has the stage that splits events, which then did not help with this one.
pub(super) async fn failure(
    target: &Target,
    position: &StreamPosition,
    can_split: bool,
    message: &str,
) -> Failure {
    let event = find(target, position).await;
    let which = match &event {
        Some(event) => event.to_string(),
        None => message.to_owned(),
    };
    let fix = if can_split {
        "a single field is too large to be split: drop the field with --pipeline"
    } else {
        "upgrade to MongoDB 6.0.9 or later, which can split the event, leave out --full-document and --full-document-before-change, or drop the large field with --pipeline"
    };
    let skip = event.map_or_else(|| "--start-after TOKEN".to_owned(), |event| event.skip());
    Failure::new(
        Kind::Refused,
        format!("an event is larger than the 16 MB that the server can send: {which}"),
    )
    .hint(format!(
        "{fix}; or skip the event, which loses it, with {skip}"
    ))
}

/// Requests the event after `position` again, without its content. The server's message holds only the first digits of the token.
async fn find(target: &Target, position: &StreamPosition) -> Option<LargeEvent> {
    let Target {
        connection, spec, ..
    } = target;
    let mut bare = spec.clone();
    bare.pipeline
        .push(doc! { "$project": { "_id": 1, "operationType": 1, "ns": 1 } });
    let start = match position.start() {
        StartPoint::After(token) => doc! { "startAfter": Document::try_from(token.as_raw()).ok()? },
        StartPoint::At(time) => doc! { "startAtOperationTime": time },
    };
    let command = bare.aggregate(start, spec.batch_size);
    let reply = connection.run(spec.scope.database(), command).await.ok()?;
    let events = reply
        .get_document("cursor")
        .ok()?
        .get_array("firstBatch")
        .ok()?;
    events
        .iter()
        .find_map(|event| LargeEvent::after(position, event.as_document()?))
}

impl LargeEvent {
    /// Returns the event if it comes after `position`.
    fn after(position: &StreamPosition, event: &Document) -> Option<Self> {
        let raw = RawDocumentBuf::try_from(event).ok()?;
        let raw: &RawDocument = &raw;
        let text = |name| event.get_str(name).unwrap_or_default().to_owned();
        let namespace = match event.get("ns") {
            Some(Bson::Document(ns)) => [ns.get_str("db"), ns.get_str("coll")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("."),
            _ => String::new(),
        };
        position.is_before(raw).then_some(())?;
        Some(Self {
            token: ResumeToken::of_event(raw)?,
            operation_type: text("operationType"),
            namespace,
        })
    }

    /// Returns the options that resume the stream after the event.
    fn skip(&self) -> String {
        let token = self.token.as_raw();
        let text = if token.iter().count() == 1 {
            self.token.data().to_owned()
        } else {
            let json = self.token.to_extended_json().unwrap_or_default();
            format!("'{json}'")
        };
        if text.len() <= MAX_TOKEN {
            return format!("--start-after {text}");
        }
        let time = self.token.time();
        format!(
            "--start '{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}' and another --resume-file (the event's token is too long for a command line)",
            time.time,
            time.increment.saturating_add(1)
        )
    }
}

impl std::fmt::Display for LargeEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self
            .token
            .decode()
            .ok()
            .and_then(|decoded| decoded.document_key_text().ok().flatten())
            .unwrap_or_default();
        let shown: String = key.chars().take(MAX_KEY).collect();
        let rest = if shown.len() < key.len() { "..." } else { "" };
        write!(
            f,
            "{} of {} {shown}{rest} at {}",
            self.operation_type,
            self.namespace,
            time::rfc3339(self.token.time())
        )
    }
}
