//! Messages: the line of an event as the payload, its subject, and the headers that make the delivery exactly once.

use std::hash::Hasher as _;

use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue, Subject};
use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use crate::config::NatsConfig;
use crate::error::{Failure, Kind};
use crate::extjson::{self, Fidelity, Mode};
use crate::snapshot::SnapshotProgress;
use crate::telemetry::CountedType;
use crate::token::ResumeToken;

use super::super::{MAX_KEPT_BYTES, undecodable, warn_of_invalid_text};
use super::subject::Parts;

/// Separates the resume token from the hash of a place in a snapshot in a message ID.
const PLACE_SEPARATOR: char = ':';

/// Separates a message ID from the sequence of a message that the server may remember.
const SEQUENCE_SEPARATOR: char = '#';

/// The header that holds how far a snapshot has come with this message, while one is being read.
pub(super) const SNAPSHOT: &str = "Cswatch-Snapshot";

/// A message that is kept until the server has acknowledged it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) subject: Subject,
    /// The resume token of the event, as the server compares it with those of other messages.
    pub(super) id: String,
    pub(super) payload: Bytes,
    /// The token of the event.
    pub(super) token: ResumeToken,
    pub(super) counted: CountedType,
    /// How far the snapshot has come with this message, while one is being read.
    pub(super) progress: Option<Box<SnapshotProgress>>,
}

impl Message {
    /// Returns the bytes that it takes to keep the message.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.subject.len() + 4 * self.id.len()
    }

    /// Returns the headers of the message as the one with number `sequence` in `stream`. With `is_repeated`, the message is stored even if the
    /// server remembers one with the same token.
    pub(super) fn headers(&self, stream: &str, sequence: u64, is_repeated: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match is_repeated {
            true => headers.insert(
                NATS_MESSAGE_ID,
                format!("{}{SEQUENCE_SEPARATOR}{sequence}", self.id),
            ),
            false => headers.insert(NATS_MESSAGE_ID, self.id.as_str()),
        }
        headers.insert(NATS_EXPECTED_STREAM, stream);
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(sequence - 1));
        if let Some(progress) = &self.progress {
            headers.insert(SNAPSHOT, progress.to_text());
        }
        headers
    }

    /// Returns whether `id`, read from the stream, is that of this message.
    pub(super) fn has_id(&self, id: &str) -> bool {
        without_sequence(id) == self.id
    }
}

/// Returns the message ID in the headers of a message; `None` if it has none.
pub(super) fn id_in(headers: &HeaderMap) -> Option<&str> {
    headers.get(NATS_MESSAGE_ID).map(|id| id.as_str())
}

/// Returns a message ID without the sequence of a message that the server may remember.
pub(super) fn without_sequence(id: &str) -> &str {
    id.split(SEQUENCE_SEPARATOR).next().unwrap_or_default()
}

/// Returns the part of a message ID that is a resume token: hexadecimal digits, or a document as Extended JSON if they are not all of it.
fn token_text(id: &str) -> &str {
    let id = without_sequence(id);
    match id.starts_with('{') {
        true => id.rfind('}').map_or(id, |end| &id[..=end]),
        false => id.split(PLACE_SEPARATOR).next().unwrap_or_default(),
    }
}

/// Returns the resume token in a message ID; `None` if it is not one of cswatch.
pub(super) fn token_of(id: &str) -> Option<ResumeToken> {
    ResumeToken::parse(token_text(id)).ok()
}

/// Returns `token` as a message ID. The digits alone are enough for most: they are the whole token.
fn id_of(token: &ResumeToken) -> String {
    let has_more = token.as_raw().iter().count() > 1;
    match has_more {
        true => token
            .to_extended_json()
            .unwrap_or_else(|_| token.data().to_owned()),
        false => token.data().to_owned(),
    }
}

/// Makes messages of events.
#[derive(Debug)]
pub(super) struct Encoder {
    mode: Mode,
    prefix: String,
    partitions: Option<u16>,
    has_warned_of_text: bool,
    /// The line that is being made.
    line: Vec<u8>,
    /// The subject that is being made.
    subject: String,
    /// The subject of the last message. The next one often has the same.
    last_subject: Subject,
}

impl Encoder {
    /// Creates an encoder of lines in this mode.
    pub(super) fn new(mode: Mode, config: &NatsConfig) -> Self {
        Self {
            mode,
            prefix: config.prefix.clone(),
            partitions: config.partitions,
            has_warned_of_text: false,
            line: Vec::new(),
            subject: String::new(),
            last_subject: Subject::from_static(""),
        }
    }

    /// Returns the message of `event`, which comes when the snapshot has come as far as `progress`.
    ///
    /// # Errors
    /// Exit code 8 when the event cannot be decoded.
    pub(super) fn event(
        &mut self,
        event: &RawDocumentBuf,
        progress: Option<Box<SnapshotProgress>>,
    ) -> Result<Message, Failure> {
        let token = ResumeToken::of_event(event).ok_or_else(|| without_token(event))?;
        let mut message = self.message(event, token)?;
        message.progress = progress;
        Ok(message)
    }

    /// Returns the message of a line of a snapshot, read when the stream was at `token`, with which the snapshot has come as far as `progress`.
    ///
    /// # Errors
    /// Exit code 8 when the line cannot be decoded.
    pub(super) fn snapshot_line(
        &mut self,
        line: &RawDocumentBuf,
        token: &ResumeToken,
        progress: Option<Box<SnapshotProgress>>,
    ) -> Result<Message, Failure> {
        let mut message = self.message(line, token.clone())?;
        let place = progress.as_ref().map(|progress| progress.to_text());
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(place.unwrap_or_default().as_bytes());
        let hash = hasher.finish();
        message.id = format!("{}{PLACE_SEPARATOR}{hash:016x}", message.id);
        message.progress = progress;
        message.counted = CountedType::SNAPSHOT;
        Ok(message)
    }

    fn message(&mut self, event: &RawDocumentBuf, token: ResumeToken) -> Result<Message, Failure> {
        self.line.clear();
        self.line.shrink_to(MAX_KEPT_BYTES);
        let fidelity = extjson::write_document(event.as_bytes(), self.mode, &mut self.line)
            .map_err(|malformed| undecodable(&malformed))?;
        if fidelity != Fidelity::Exact && !std::mem::replace(&mut self.has_warned_of_text, true) {
            warn_of_invalid_text();
        }
        let parts = Parts::of(event);
        self.subject.clear();
        parts.append_subject(&self.prefix, self.partitions, &mut self.subject);
        if *self.last_subject != *self.subject {
            self.last_subject = self.subject.as_str().into();
        }
        Ok(Message {
            subject: self.last_subject.clone(),
            id: id_of(&token),
            payload: Bytes::copy_from_slice(&self.line),
            token,
            counted: CountedType::of_event(parts.operation_type()),
            progress: None,
        })
    }
}

/// Returns the failure of an event that a restart could not resume after.
fn without_token(event: &RawDocument) -> Failure {
    let kind = event.get_str("operationType").unwrap_or("unknown");
    Failure::new(
        Kind::Refused,
        format!("an event of type {kind} has no resume token in its _id"),
    )
    .hint("a --pipeline must keep the event's _id")
}

#[cfg(test)]
mod tests {
    use bson::{Binary, rawdoc, spec::BinarySubtype};

    use super::*;

    const DATA: &str = "826B032D55000000022B022C0100296E5A10049EF0029ED84B4882B631005E1938BFD4461E5F6964002B020004";

    #[test]
    fn holds_the_whole_token_in_the_message_id() {
        let bare = ResumeToken::parse(DATA).unwrap();
        assert_eq!(id_of(&bare), DATA);
        let bits = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0x80],
        };
        let with_bits =
            ResumeToken::from_raw(&rawdoc! { "_data": DATA, "_typeBits": bits }).unwrap();
        for token in [bare, with_bits] {
            let id = id_of(&token);
            assert_eq!(token_of(&id), Some(token.clone()));
            assert_eq!(token_of(&format!("{id}#17")), Some(token.clone()));
            assert_eq!(token_of(&format!("{id}:0123#17")), Some(token));
        }
    }

    #[test]
    fn finds_no_token_in_another_message_id() {
        for id in ["", "order-17", "{}", "82zz", ":17"] {
            assert_eq!(token_of(id), None, "{id}");
        }
    }
}
