//! The resume token: what it says about its place in the stream, and which of two comes first. Kept whole and as it came, for only
//! that is sure to be accepted again. Pure. Layout: MongoDB's `src/mongo/db/pipeline/resume_token.cpp`, measured on 6.0.5 and 6.0.27.

mod decimal;
mod decoded;
mod key_string;
mod number;
mod type_bits;

use std::cmp::Ordering;
use std::fmt;

use bson::raw::RawBsonRef;
use bson::spec::BinarySubtype;
use bson::{Bson, RawDocument, RawDocumentBuf, Timestamp};

pub use self::decoded::Decoded;
use self::key_string::KeyString;

/// The key string in hexadecimal digits.
const DATA: &str = "_data";
/// What the key string leaves out about types. Absent when all of it is zero.
const TYPE_BITS: &str = "_typeBits";
/// Type byte and 8 bytes.
const TIME_DIGITS: usize = 2 * 9;
/// Where the version of a token stands: behind its time, as a type byte and a byte.
const VERSION_DIGITS: std::ops::Range<usize> = TIME_DIGITS..TIME_DIGITS + 2 * 2;

/// Why something is not a resume token: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidToken(String);

impl InvalidToken {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidToken {}

/// What a resume token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event.
    Event,
    /// No event: everything before this cluster time has been seen. The post-batch resume token of an idle stream is one.
    HighWaterMark,
    /// The `invalidate` that follows a drop or a rename. Only `startAfter` takes it; `resumeAfter` is error 260.
    Invalidate,
    /// One piece of an event that `$changeStreamSplitLargeEvent` cut up: its number, from 1, as `splitEvent.fragment` counts. How many
    /// pieces there are, the token does not say.
    Fragment(u32),
}

/// A resume token: the whole document, with `_typeBits` and any field yet unknown, byte for byte.
///
/// Equality is that of the bytes. For the order of the stream see [`ResumeToken::compare`].
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeToken {
    raw: RawDocumentBuf,
    time: Timestamp,
}

impl ResumeToken {
    /// Takes the `_id` of an event or a post-batch resume token.
    ///
    /// # Errors
    /// When `_data` is not a string of hexadecimal digits (either case) that begins with a cluster time, or `_typeBits` is not plain
    /// binary data: the server would refuse it too (errors 40647, 9 and 40648).
    pub fn from_raw(token: &RawDocument) -> Result<Self, InvalidToken> {
        let mut time = None;
        for field in token {
            let (name, value) = field.map_err(|error| {
                InvalidToken::new(format!("the resume token is not BSON: {error}"))
            })?;
            match (name.as_str(), value) {
                (DATA, RawBsonRef::String(data)) if time.is_none() => {
                    time = Some(time_from_hex(data)?);
                }
                (DATA, _) => {
                    return Err(InvalidToken::new(
                        "the resume token's _data is not one string",
                    ));
                }
                (TYPE_BITS, RawBsonRef::Binary(bits)) if bits.subtype == BinarySubtype::Generic => {
                }
                (TYPE_BITS, _) => {
                    return Err(InvalidToken::new(
                        "the resume token's _typeBits is not binary data of subtype 00",
                    ));
                }
                _ => {}
            }
        }
        let time = time.ok_or_else(|| InvalidToken::new("the resume token has no _data"))?;
        Ok(Self {
            raw: token.to_owned(),
            time,
        })
    }

    /// Takes the value of a flag: the hexadecimal digits of `_data` alone, or the token as Extended JSON. Only the latter can carry
    /// `_typeBits`, without which the server refuses some tokens (error 50810 for an event whose `_id` is 1.5).
    ///
    /// # Errors
    /// As [`ResumeToken::from_raw`], or when text that begins with `{` is not Extended JSON.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        if !text.starts_with('{') {
            let mut token = RawDocumentBuf::new();
            token.append(bson::raw::cstr!("_data"), text);
            return Self::from_raw(&token);
        }
        let not_json = |error: &dyn fmt::Display| {
            InvalidToken::new(format!("the resume token is not Extended JSON: {error}"))
        };
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| not_json(&e))?;
        let Bson::Document(token) = Bson::try_from(json).map_err(|e| not_json(&e))? else {
            return Err(not_json(&"it is not an object"));
        };
        let token = RawDocumentBuf::try_from(&token).map_err(|e| not_json(&e))?;
        Self::from_raw(&token)
    }

    /// The whole token, as it came.
    pub fn as_raw(&self) -> &RawDocument {
        &self.raw
    }

    /// The hexadecimal digits of `_data`, as they came.
    pub fn data(&self) -> &str {
        self.raw.get_str(DATA).unwrap_or_default()
    }

    /// The cluster time of the event, or the one up to which everything has been seen.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What the token stands for. Of a layout yet unknown only the time is, and the token counts as an event's: nothing depends on
    /// such a token but that it is kept.
    ///
    /// Takes a few bytes of a token of version 1, and one pass over a token of version 2.
    pub fn kind(&self) -> Kind {
        decoded::kind(self.data()).unwrap_or(Kind::Event)
    }

    /// Which of two tokens comes first in the stream of one deployment.
    ///
    /// Tokens of one version sort as their digits do: by cluster time, a high-water mark before the events of its time, place in the
    /// transaction, `invalidate` behind what caused it, fragments in turn (measured on 6.0.27). The version differs when
    /// `$changeStreamSplitLargeEvent` was in the pipeline of only one of the streams; then these parts are compared one by one. There a
    /// fragment comes before the whole of its event, since the last fragment cannot be told from the others.
    ///
    /// `None` when that decides nothing: events of one cluster time on several shards, or an unknown layout. Who drops what was seen
    /// before must keep such an event.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.time != other.time {
            return Some(self.time.cmp(&other.time));
        }
        let (mine, theirs) = (self.data().as_bytes(), other.data().as_bytes());
        let version = |data: &[u8]| {
            data.get(VERSION_DIGITS)
                .unwrap_or_default()
                .to_ascii_uppercase()
        };
        if version(mine) != version(theirs) {
            return self.decode().ok()?.compare(&other.decode().ok()?);
        }
        let upper_case = |data: &[u8]| data.to_ascii_uppercase();
        Some(upper_case(mine).cmp(&upper_case(theirs)))
    }

    /// All fields of the token.
    ///
    /// # Errors
    /// When the layout is unknown, or `_data` breaks off, or `_typeBits` are missing where they are needed or do not fit.
    pub fn decode(&self) -> Result<Decoded, InvalidToken> {
        let type_bits = match self.raw.get(TYPE_BITS) {
            Ok(Some(RawBsonRef::Binary(bits))) => bits.bytes,
            _ => &[],
        };
        Decoded::from_bytes(&from_hex(self.data())?, type_bits)
    }
}

/// The cluster time that `_data` begins with, once all of it is known to be hexadecimal.
fn time_from_hex(data: &str) -> Result<Timestamp, InvalidToken> {
    check_hex(data)?;
    let head = from_hex(data.get(..TIME_DIGITS).unwrap_or(data))?;
    KeyString::from_bytes(&head).timestamp()
}

/// The digits are all there is: the prefix `0x`, which the decoder would let pass, the server refuses.
fn check_hex(data: &str) -> Result<(), InvalidToken> {
    if !const_hex::check_raw(data)
        && let Some((position, digit)) = data.char_indices().find(|(_, c)| !c.is_ascii_hexdigit())
    {
        return Err(InvalidToken::new(format!(
            "the resume token's _data is not hex: {digit:?} at position {position}"
        )));
    }
    if !data.len().is_multiple_of(2) {
        return Err(InvalidToken::new(format!(
            "the resume token's _data has an odd number of hex digits, {}: some are missing",
            data.len()
        )));
    }
    Ok(())
}

fn from_hex(data: &str) -> Result<Vec<u8>, InvalidToken> {
    const_hex::decode(data)
        .map_err(|error| InvalidToken::new(format!("the resume token's _data is not hex: {error}")))
}
