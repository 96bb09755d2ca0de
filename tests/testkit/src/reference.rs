//! A change stream that is read and formatted by the driver and the bson crate alone. It shares no code with `cswatch`, so a comparison
//! of the two can fail.

use std::future::IntoFuture;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, ResumeToken};

use crate::deadline::DEADLINE;
use crate::runtime::block_on;

/// A change stream of the driver, which returns events as the server sent them.
pub struct Reference {
    stream: ChangeStream<RawDocumentBuf>,
    /// The resume token before its first event.
    token: ResumeToken,
    /// The `_data` of `token`.
    start: String,
}

impl Reference {
    /// Opens the stream that `watch()` of a client, a database or a collection returns. Its events are the writes from then on.
    #[track_caller]
    pub fn open<W>(watch: W) -> Reference
    where
        W: IntoFuture<Output = mongodb::error::Result<ChangeStream<ChangeStreamEvent<Document>>>>,
    {
        let stream = block_on(watch).expect("a change stream of the driver");
        let token = stream.resume_token().expect("the token of an empty reply");
        let document = bson::serialize_to_bson(&token).expect("a token is BSON");
        let data = document.as_document().and_then(|token| token.get("_data"));
        let start = data.and_then(Bson::as_str).expect("a token has _data");
        Reference {
            start: start.to_owned(),
            token,
            stream: stream.with_type(),
        }
    }

    /// Returns the `--start-after` option with which `cswatch` prints the same events, even if it starts later.
    pub fn start(&self) -> [&str; 2] {
        ["--start-after", &self.start]
    }

    /// Returns the resume token from which another stream of the driver has the same events.
    pub fn token(&self) -> ResumeToken {
        self.token.clone()
    }

    /// Waits for the next event.
    #[track_caller]
    pub fn next_event(&mut self) -> RawDocumentBuf {
        let stream = &mut self.stream;
        let next = async {
            loop {
                if let Some(event) = stream.next_if_any().await.expect("the driver's next event") {
                    return event;
                }
            }
        };
        let next = block_on(async { tokio::time::timeout(DEADLINE, next).await });
        next.expect("an event of the driver before the deadline")
    }

    /// Waits for a number of events.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<RawDocumentBuf> {
        (0..count).map(|_| self.next_event()).collect()
    }
}

/// Returns an event as one line of canonical Extended JSON, formatted by the bson crate. Do not use it for what that crate gets wrong:
/// subnormal and huge doubles, signed NaN, duplicate keys and invalid UTF-8.
pub fn line(event: &RawDocument) -> String {
    canonical(RawBsonRef::Document(event))
}

fn canonical(value: RawBsonRef) -> String {
    let value = Bson::try_from(value).expect("a valid value");
    value.into_canonical_extjson().to_string()
}

/// Returns `template` with each `<field>` replaced by that field of `event` as canonical Extended JSON. For values that a test cannot
/// know in advance, such as times and identifiers.
#[track_caller]
pub fn filled(template: &str, event: &RawDocument) -> String {
    let mut text = String::new();
    for part in template.split('<') {
        match part.split_once('>') {
            Some((field, rest)) => {
                let value = event.get(field).expect("valid BSON");
                match value {
                    Some(value) => text.push_str(&canonical(value)),
                    None => panic!("the driver's event has no {field}: {event:?}"),
                }
                text.push_str(rest);
            }
            None => text.push_str(part),
        }
    }
    text
}
