//! An event above the 16 MB of a BSON document, which the server cannot send: which one it is, and how to step over it.

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use crate::error::{Failure, Kind};
use crate::time;
use crate::token::ResumeToken;

use super::position::{StartPoint, StreamPosition};
use super::target::Target;

/// Characters of a document key in a message.
const MAX_KEY: usize = 200;

/// Characters of a token that can be pasted: Linux takes no argument of 128 KiB (`MAX_ARG_STRLEN`).
const MAX_TOKEN: usize = 100 * 1024;

/// An event without what makes it large.
struct LargeEvent {
    token: ResumeToken,
    operation_type: String,
    namespace: String,
}

/// Why the stream cannot go on behind `position`, where the next event is too large; `message` is the server's.
///
/// `can_split` says whether the server has the stage that splits events, which then was of no help.
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
    let cure = if can_split {
        "it cannot be split, for one of its fields is too large by itself: --pipeline that field away"
    } else {
        "MongoDB 6.0.9 and later can split it; here leave out --full-document and --full-document-before-change, or --pipeline the large field away"
    };
    let step = event.map_or_else(|| "--start-after TOKEN".to_owned(), |event| event.step());
    Failure::new(
        Kind::Refused,
        format!("an event is above the 16 MB that the server can send: {which}"),
    )
    .hint(format!("{cure}, or step over it knowingly with {step}"))
}

/// Asks for the event behind `position` again, without its content. The server's message has only the first digits of a token.
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
        .find_map(|event| LargeEvent::behind(position, event.as_document()?))
}

impl LargeEvent {
    fn behind(position: &StreamPosition, event: &Document) -> Option<Self> {
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

    /// The flag that goes on behind the event.
    fn step(&self) -> String {
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
            "--start '{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}' and a new --resume-file (its token is too long for a command line)",
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
