//! Decoded resume tokens, for display and for the rare comparison that the hex digits cannot decide.

use std::cmp::Ordering;

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf, Timestamp, Uuid};

use crate::extjson::{self, Malformed};

use super::key_string::KeyString;
use super::type_bits::TypeBits;
use super::{InvalidToken, Kind, from_hex};

/// Known versions. Servers since 4.2 write version 1, and servers since 6.0 also version 2. Version 0 is older and has another layout.
const VERSIONS: [i32; 2] = [1, 2];
/// Token type of a high-water mark.
const HIGH_WATER_MARK: i32 = 0;
/// Token type of an event.
const EVENT: i32 = 128;
/// Version, token type and ordinal are int32 with two type bits each.
const HEAD_TYPE_BITS: u32 = 3 * 2;

/// The fields of a resume token, as returned by [`ResumeToken::decode`](super::ResumeToken::decode).
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Cluster time of the event. For a high-water mark, the cluster time before which there are no further events.
    pub time: Timestamp,
    /// Version of the layout: 1, or 2 on MongoDB 7.0 and with `$changeStreamSplitLargeEvent` in the pipeline (measured on 6.0.27 and
    /// 7.0.28).
    pub version: i32,
    /// Kind of the token.
    pub kind: Kind,
    /// Position of the event in its transaction, from 0; 0 outside a transaction. All events of a transaction have the same cluster time.
    pub ordinal: u32,
    /// Whether the event is an `invalidate`. All other fields equal those of the drop or rename that caused it.
    pub from_invalidate: bool,
    /// UUID of the collection. `None` for an event of a whole database and for a high-water mark.
    pub collection_uuid: Option<Uuid>,
    /// Operation type. In version 1 only events that need `showExpandedEvents` have it.
    pub operation_type: Option<String>,
    /// `documentKey` of the event, byte for byte, except for details that a key string does not keep: the sign and payload of NaN, and the field
    /// names inside an array if they are not its indexes.
    pub document_key: Option<RawDocumentBuf>,
    /// `operationDescription` of the event. In version 1 only events that need `showExpandedEvents` have it.
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
        // As in `kind`: only events are split, and only tokens of version 2 hold the number of the fragment.
        if head.kind == Kind::Event
            && head.version > 1
            && let Some(number) = fragment(&mut source)?
        {
            decoded.kind = Kind::Fragment(number);
        }
        Ok(decoded)
    }

    /// Compares tokens of the same cluster time and different versions. See [`ResumeToken::compare`](super::ResumeToken::compare).
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        let sort_key = |token: &Self| {
            (
                token.kind != Kind::HighWaterMark,
                token.ordinal,
                token.from_invalidate,
                token.collection_uuid.map(Uuid::bytes),
            )
        };
        match sort_key(self).cmp(&sort_key(other)) {
            Ordering::Equal if self.is_of_same_event(other) => {
                Some(self.fragment_order().cmp(&other.fragment_order()))
            }
            Ordering::Equal => None,
            decided => Some(decided),
        }
    }

    /// Returns whether both tokens may belong to the same event. Compares only fields that both have: version 1 leaves some out.
    fn is_of_same_event(&self, other: &Self) -> bool {
        let have_types = self.operation_type.is_some() && other.operation_type.is_some();
        self.document_key == other.document_key
            && (!have_types
                || self.operation_type == other.operation_type
                    && self.operation_description == other.operation_description)
    }

    /// Returns a number that sorts the fragments of an event by their numbers, and before the whole event.
    fn fragment_order(&self) -> u32 {
        match self.kind {
            Kind::Fragment(number) => number,
            _ => u32::MAX,
        }
    }

    /// Sets the fields that the event identifier holds. In version 1 the identifier of an event that does not need `showExpandedEvents` is
    /// its `documentKey`, which always has an `_id`. Every other identifier holds `operationType`, and `documentKey` or
    /// `operationDescription`.
    fn set_identifier(&mut self, identifier: RawDocumentBuf) -> Result<(), InvalidToken> {
        let unreadable = |error| {
            InvalidToken::new(format!(
                "the resume token's event identifier cannot be read: {error}"
            ))
        };
        if self.version == 1 && has_id(&identifier) {
            self.document_key = Some(identifier);
            return Ok(());
        }
        for field in &identifier {
            let (name, value) = field.map_err(unreadable)?;
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

/// Returns whether the identifier has an `_id`. An unreadable value, such as a string that is not UTF-8, counts as one: only a document
/// key can hold it.
fn has_id(identifier: &RawDocument) -> bool {
    !matches!(identifier.get("_id"), Ok(None))
}

/// The fields that every token begins with.
struct Head {
    time: Timestamp,
    version: i32,
    ordinal: u32,
    /// Never [`Kind::Fragment`]: the number of the fragment is at the end of the token.
    kind: Kind,
}

impl Head {
    fn read(source: &mut KeyString<'_>) -> Result<Self, InvalidToken> {
        let time = source.timestamp()?;
        let version = source.int32()?;
        if !VERSIONS.contains(&version) {
            return Err(InvalidToken::new(format!(
                "the resume token has version {version}, whose layout is unknown; known versions are 1 and 2"
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
                    "the resume token has the unknown type {token_type}; known types are 0 and 128"
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

/// Reads the number of the fragment, and returns it counted from 1. The token counts from 0.
fn fragment(source: &mut KeyString<'_>) -> Result<Option<u32>, InvalidToken> {
    if source.is_at_end() {
        return Ok(None);
    }
    let number = source.int32()?;
    let number = u32::try_from(number).map_err(|_| {
        InvalidToken::new(format!(
            "the resume token's fragment number is negative: {number}"
        ))
    })?;
    Ok(Some(number + 1))
}

/// Returns the kind of a token, given its `_data`. Decodes no more of it than necessary.
pub(super) fn kind(data: &str) -> Result<Kind, InvalidToken> {
    /// Enough for the head, whose three int32 have up to 6 bytes each.
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
