//! The fields of a resume token, for people to read and for the rare comparison that its digits cannot settle.

use std::cmp::Ordering;

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf, Timestamp, Uuid};

use crate::extjson::{self, Malformed};

use super::key_string::KeyString;
use super::type_bits::TypeBits;
use super::{InvalidToken, Kind, from_hex};

/// Servers since 4.2 write version 1 and, from 6.0 on, 2 as well. The older version 0 has another layout.
const VERSIONS: [i32; 2] = [1, 2];
const HIGH_WATER_MARK: i32 = 0;
const EVENT: i32 = 128;
/// Version, token type and ordinal are int32, each of which takes two type bits.
const HEAD_TYPE_BITS: u32 = 3 * 2;

/// What a resume token says, as [`ResumeToken::decode`](super::ResumeToken::decode) finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The cluster time of the event, or the one up to which everything has been seen.
    pub time: Timestamp,
    /// The layout: 1, or 2 where `$changeStreamSplitLargeEvent` is in the pipeline (measured on 6.0.27).
    pub version: i32,
    /// What the token stands for.
    pub kind: Kind,
    /// The event's place in its transaction, from 0; 0 outside of transactions. All events of a transaction have one cluster time.
    pub ordinal: u32,
    /// Whether the event is an `invalidate`. It shares everything else with the drop or rename that caused it.
    pub from_invalidate: bool,
    /// The collection, unless the event belongs to a database or the token to no event.
    pub collection_uuid: Option<Uuid>,
    /// The operation type. Version 1 has it only for the events that `showExpandedEvents` adds.
    pub operation_type: Option<String>,
    /// The event's `documentKey`, to the byte, except for what a key string does not keep: the sign and payload of NaN, and the field
    /// names inside an array when they are not its indexes.
    pub document_key: Option<RawDocumentBuf>,
    /// The event's `operationDescription`. Version 1 leaves it out for events that exist without `showExpandedEvents`.
    pub operation_description: Option<RawDocumentBuf>,
}

impl Decoded {
    /// Returns [`Self::document_key`] as canonical Extended JSON.
    ///
    /// # Errors
    /// When it is not valid BSON.
    pub fn document_key_text(&self) -> Result<Option<String>, Malformed> {
        text(self.document_key.as_deref())
    }

    /// Returns [`Self::operation_description`] as canonical Extended JSON.
    ///
    /// # Errors
    /// When it is not valid BSON.
    pub fn operation_description_text(&self) -> Result<Option<String>, Malformed> {
        text(self.operation_description.as_deref())
    }

    /// Decodes the bytes of `_data` and the content of `_typeBits`.
    pub(super) fn from_bytes(data: &[u8], type_bits: &[u8]) -> Result<Self, InvalidToken> {
        let mut source = KeyString::from_bytes(data);
        let mut type_bits = TypeBits::from_bytes(type_bits)?;
        let head = Head::read(&mut source)?;
        type_bits.next(HEAD_TYPE_BITS)?;
        let mut decoded = Self {
            time: head.time,
            version: head.version,
            kind: head.kind,
            ordinal: head.ordinal,
            from_invalidate: head.kind == Kind::Invalidate,
            collection_uuid: None,
            operation_type: None,
            document_key: None,
            operation_description: None,
        };
        if !source.is_at_end() {
            decoded.collection_uuid = source.uuid()?;
        }
        if !source.is_at_end() {
            let identifier = source.document(&mut type_bits)?;
            decoded.set_identifier(identifier)?;
        }
        // As in `kind`: only an event is cut up, and only where the token says what version 2 does.
        if head.kind == Kind::Event
            && head.version > 1
            && let Some(number) = fragment(&mut source)?
        {
            decoded.kind = Kind::Fragment(number);
        }
        Ok(decoded)
    }

    /// As [`ResumeToken::compare`](super::ResumeToken::compare), for tokens of the same cluster time and different versions.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        let place = |token: &Self| {
            (
                token.kind != Kind::HighWaterMark,
                token.ordinal,
                token.from_invalidate,
                token.collection_uuid.map(Uuid::bytes),
            )
        };
        match place(self).cmp(&place(other)) {
            Ordering::Equal if self.is_of_same_event(other) => {
                Some(self.fragment_or_whole().cmp(&other.fragment_or_whole()))
            }
            Ordering::Equal => None,
            decided => Some(decided),
        }
    }

    /// As far as both tell: version 1 leaves fields out.
    fn is_of_same_event(&self, other: &Self) -> bool {
        let can_tell = self.operation_type.is_some() && other.operation_type.is_some();
        self.document_key == other.document_key
            && (!can_tell
                || self.operation_type == other.operation_type
                    && self.operation_description == other.operation_description)
    }

    fn fragment_or_whole(&self) -> u32 {
        match self.kind {
            Kind::Fragment(number) => number,
            _ => u32::MAX,
        }
    }

    /// In version 1 the identifier of an event that exists without `showExpandedEvents` is its `documentKey`, which always holds `_id`;
    /// all others are the operation type and what it was done to.
    fn set_identifier(&mut self, identifier: RawDocumentBuf) -> Result<(), InvalidToken> {
        let broken = |error| {
            InvalidToken::new(format!(
                "the resume token's event identifier cannot be read: {error}"
            ))
        };
        if self.version == 1 && has_id(&identifier) {
            self.document_key = Some(identifier);
            return Ok(());
        }
        for field in &identifier {
            let (name, value) = field.map_err(broken)?;
            match (name.as_str(), value) {
                ("operationType", RawBsonRef::String(kind)) => {
                    self.operation_type = Some(kind.to_owned());
                }
                ("documentKey", RawBsonRef::Document(key)) => {
                    self.document_key = Some(key.to_owned());
                }
                ("operationDescription", RawBsonRef::Document(description)) => {
                    self.operation_description = Some(description.to_owned());
                }
                _ => {
                    return Err(InvalidToken::new(format!(
                        "the resume token's event identifier has the unknown field '{name}'"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Also where a value cannot be read, such as a string that is not UTF-8: the server's own identifiers hold none.
fn has_id(identifier: &RawDocument) -> bool {
    !matches!(identifier.get("_id"), Ok(None))
}

/// What every token begins with.
struct Head {
    time: Timestamp,
    version: i32,
    ordinal: u32,
    /// Any but a fragment, whose number stands at the end.
    kind: Kind,
}

impl Head {
    fn read(source: &mut KeyString<'_>) -> Result<Self, InvalidToken> {
        let time = source.timestamp()?;
        let version = source.int32()?;
        if !VERSIONS.contains(&version) {
            return Err(InvalidToken::new(format!(
                "the resume token is of version {version}, whose layout is unknown; versions 1 and 2 are known"
            )));
        }
        let token_type = source.int32()?;
        let ordinal = source.int32()?;
        let from_invalidate = source.bool()?;
        let kind = match (token_type, from_invalidate) {
            (HIGH_WATER_MARK, _) => Kind::HighWaterMark,
            (EVENT, false) => Kind::Event,
            (EVENT, true) => Kind::Invalidate,
            _ => {
                return Err(InvalidToken::new(format!(
                    "the resume token is of the unknown type {token_type}; 0 and 128 are known"
                )));
            }
        };
        let ordinal = u32::try_from(ordinal).map_err(|_| {
            InvalidToken::new(format!("the resume token's ordinal is negative: {ordinal}"))
        })?;
        Ok(Self {
            time,
            version,
            ordinal,
            kind,
        })
    }
}

/// The number of a fragment, from 1. The token counts from 0.
fn fragment(source: &mut KeyString<'_>) -> Result<Option<u32>, InvalidToken> {
    if source.is_at_end() {
        return Ok(None);
    }
    let number = source.int32()?;
    let number = u32::try_from(number).map_err(|_| {
        InvalidToken::new(format!("the resume token's fragment is negative: {number}"))
    })?;
    Ok(Some(number + 1))
}

/// What a token stands for, from the digits of its `_data`: no more of them are read than it takes.
pub(super) fn kind(data: &str) -> Result<Kind, InvalidToken> {
    /// Enough for the head with its three int32, each of up to 6 bytes.
    const HEAD_DIGITS: usize = 2 * 32;
    let head = from_hex(data.get(..HEAD_DIGITS).unwrap_or(data))?;
    let head = Head::read(&mut KeyString::from_bytes(&head))?;
    if head.kind != Kind::Event || head.version == 1 {
        return Ok(head.kind);
    }
    let data = from_hex(data)?;
    let mut source = KeyString::from_bytes(&data);
    Head::read(&mut source)?;
    source.uuid()?;
    source.skip_document()?;
    Ok(fragment(&mut source)?.map_or(Kind::Event, Kind::Fragment))
}

fn text(document: Option<&RawDocument>) -> Result<Option<String>, Malformed> {
    document
        .map(|document| extjson::to_text(document, extjson::Mode::Canonical))
        .transpose()
}
