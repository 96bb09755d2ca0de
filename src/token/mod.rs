//! The resume token: what it says about its place in the stream, and which of two comes first. Kept whole and as it came, for only
//! that the server is sure to accept again. Pure. Layout: MongoDB's `src/mongo/db/pipeline/resume_token.cpp`, measured on 6.0.5 and 6.0.27.

mod decimal;
mod decoded;
mod key_string;
mod number;
mod number_value;
mod type_bits;
mod value;

use std::cmp::Ordering;
use std::fmt;

use bson::raw::RawBsonRef;
use bson::spec::BinarySubtype;
use bson::{Bson, RawDocument, RawDocumentBuf, Timestamp};

use crate::extjson;

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

    /// Returns the token that an event carries as its `_id`; `None` when it has none.
    pub fn of_event(event: &RawDocument) -> Option<Self> {
        Self::from_raw(event.get_document("_id").ok()?).ok()
    }

    /// Returns the whole token as canonical Extended JSON, which [`Self::parse`] reads.
    ///
    /// # Errors
    /// When a field that cswatch does not know is not valid BSON.
    pub fn to_extended_json(&self) -> Result<String, extjson::Malformed> {
        extjson::to_text(&self.raw, extjson::Mode::Canonical)
    }

    /// The cluster time of a token, without taking it.
    pub fn time_of(token: &RawDocument) -> Option<Timestamp> {
        time_from_hex(token.get_str(DATA).ok()?).ok()
    }

    /// Whether both are of one layout. A stream goes on in the layout of the token it was opened after (measured on 6.0.27).
    pub fn is_of_same_version(&self, other: &Self) -> bool {
        let version = |token: &Self| {
            token
                .data()
                .get(VERSION_DIGITS)
                .map(str::to_ascii_uppercase)
        };
        version(self) == version(other)
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

    /// The content of `_typeBits`; empty when there are none.
    pub fn type_bits(&self) -> &[u8] {
        match self.raw.get(TYPE_BITS) {
            Ok(Some(RawBsonRef::Binary(bits))) => bits.bytes,
            _ => &[],
        }
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
        if !self.is_of_same_version(other) {
            return self.decode().ok()?.compare(&other.decode().ok()?);
        }
        Some(upper_case(mine).cmp(upper_case(theirs)))
    }

    /// All fields of the token.
    ///
    /// # Errors
    /// When the layout is unknown, or `_data` breaks off, or `_typeBits` are missing where they are needed or do not fit.
    pub fn decode(&self) -> Result<Decoded, InvalidToken> {
        Decoded::from_bytes(&from_hex(self.data())?, self.type_bits())
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

fn upper_case(digits: &[u8]) -> impl Iterator<Item = u8> {
    digits.iter().map(u8::to_ascii_uppercase)
}

fn from_hex(data: &str) -> Result<Vec<u8>, InvalidToken> {
    const_hex::decode(data)
        .map_err(|error| InvalidToken::new(format!("the resume token's _data is not hex: {error}")))
}

#[cfg(test)]
mod tests {
    use bson::{Binary, Document, doc, rawdoc};

    use super::*;

    /// A high-water mark of version 1, as MongoDB 6.0.27 sends it.
    const HIGH_WATER_MARK: &str = "826B032D550000001E2B0229296E04";
    /// The insert of `{_id: 1}`, and so are the next two; this one is of version 1.
    const INSERT: &str = "826B032D55000000022B022C0100296E5A10049EF0029ED84B4882B631005E1938BFD4461E5F6964002B020004";
    /// Of version 2.
    const INSERT_V2: &str = "826B032D55000000022B042C0100296E5A10049EF0029ED84B4882B631005E1938BFD4463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B657900461E5F6964002B02000004";
    /// Of version 2, fragment 2.
    const FRAGMENT: &str = "826B032D55000000022B042C0100296E5A10049EF0029ED84B4882B631005E1938BFD4463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B657900461E5F6964002B0200002B0204";

    fn token(text: &str) -> ResumeToken {
        ResumeToken::parse(text).expect("a token")
    }

    fn error(text: &str) -> String {
        ResumeToken::parse(text)
            .expect_err("not a token")
            .to_string()
    }

    #[test]
    fn says_what_is_wrong_with_a_token_and_where() {
        let wrong = [
            ("826Bzz", "_data is not hex: 'z' at position 4"),
            ("0x826B", "_data is not hex: 'x' at position 1"),
            ("82é", "_data is not hex: 'é' at position 2"),
            (
                &INSERT[1..],
                "_data has an odd number of hex digits, 89: some are missing",
            ),
            ("", "_data breaks off at position 0"),
            ("826B032D550000", "_data breaks off at position 14"),
            (
                "6E826B032D5500000002",
                "_data has no timestamp at position 0",
            ),
            ("{}", "token has no _data"),
            (r#"{"_data":5}"#, "_data is not one string"),
            (r#"{"_data":"82","_data":"#, "not Extended JSON: EOF"),
            (r#"{"_data":{"$oid":"x"}}"#, "not Extended JSON"),
        ];
        for (text, message) in wrong {
            assert!(error(text).contains(message), "{text}: {}", error(text));
        }
        let type_bits = format!(r#"{{"_data":"{INSERT}","_typeBits":"gA=="}}"#);
        assert!(error(&type_bits).contains("_typeBits is not binary data"));
    }

    #[test]
    fn keeps_the_whole_document_as_it_came() {
        let raw = rawdoc! {
            "_typeBits": Binary { subtype: BinarySubtype::Generic, bytes: vec![0x82, 0x80, 0] },
            "_data": INSERT.to_lowercase(),
            "later": 5_i64,
        };
        let token = ResumeToken::from_raw(&raw).expect("a token");
        assert_eq!(token.as_raw(), &*raw);
        assert_eq!(token.data(), INSERT.to_lowercase());
        let document = Document::try_from(&raw).expect("a document");
        let json = Bson::Document(document).into_canonical_extjson();
        assert_eq!(ResumeToken::parse(&json.to_string()), Ok(token));
    }

    #[test]
    fn reads_time_and_kind() {
        let time = Timestamp {
            time: 0x6b03_2d55,
            increment: 2,
        };
        assert_eq!(token(INSERT).time(), time);
        assert_eq!(token(INSERT).kind(), Kind::Event);
        assert_eq!(token(HIGH_WATER_MARK).kind(), Kind::HighWaterMark);
        assert_eq!(token(FRAGMENT).kind(), Kind::Fragment(2));
        let invalidate = INSERT.replace("296E5A", "296F5A");
        assert_eq!(token(&invalidate).kind(), Kind::Invalidate);
    }

    #[test]
    fn keeps_a_token_of_unknown_layout_and_knows_only_its_time() {
        let of_version_3 = token(&INSERT.replace("2B022C", "2B062C"));
        assert_eq!(of_version_3.kind(), Kind::Event);
        assert_eq!(of_version_3.time(), token(INSERT).time());
        let message = of_version_3.decode().expect_err("unknown").to_string();
        assert!(
            message.contains("version 3, whose layout is unknown"),
            "{message}"
        );
        assert_eq!(of_version_3.compare(&token(INSERT)), None);
        assert_eq!(of_version_3.compare(&of_version_3), Some(Ordering::Equal));
        let later = token(HIGH_WATER_MARK);
        assert_eq!(of_version_3.compare(&later), Some(Ordering::Less));
        assert_eq!(token("826B032D5500000002").kind(), Kind::Event);
    }

    #[test]
    fn places_a_fragment_before_the_whole_of_its_event() {
        assert_eq!(
            token(FRAGMENT).compare(&token(INSERT)),
            Some(Ordering::Less)
        );
        assert_eq!(
            token(INSERT).compare(&token(FRAGMENT)),
            Some(Ordering::Greater)
        );
        assert_eq!(
            token(INSERT).compare(&token(INSERT_V2)),
            Some(Ordering::Equal)
        );
    }

    #[test]
    fn leaves_the_order_of_two_events_of_one_instant_open() {
        let of_other_document = token(&INSERT.replace("2B020004", "2B040004"));
        assert_eq!(of_other_document.compare(&token(INSERT_V2)), None);
        assert_eq!(token(INSERT_V2).compare(&of_other_document), None);
    }

    #[test]
    fn decodes_the_shard_key_that_stands_before_the_id() {
        // {region: "eu", operationType: 1, _id: 1}, as sharded collections have it; made by hand.
        let key = "463C726567696F6E003C6575001E6F7065726174696F6E54797065002B021E5F6964002B020004";
        let data = INSERT.replace("461E5F6964002B020004", key);
        let decoded = token(&data).decode().expect("a token");
        let found = Document::try_from(decoded.document_key.expect("a key")).expect("BSON");
        assert_eq!(found, doc! { "region": "eu", "operationType": 1, "_id": 1 });
        assert_eq!(decoded.operation_type, None);
    }

    #[test]
    fn says_that_the_type_bits_are_missing() {
        let one_and_a_half = INSERT.replace("2B020004", "2B03800000000000000004");
        let message = token(&one_and_a_half)
            .decode()
            .expect_err("no int32")
            .to_string();
        assert_eq!(
            message,
            "the resume token's number at position 82 of _data cannot be an int32: its _typeBits are missing or not its own; \
             the whole token is needed, not only _data"
        );
    }

    #[test]
    fn refuses_nesting_that_no_server_allows() {
        for (open, v2) in [
            ("50", false),
            ("461E6100", false),
            ("AA00461E6100", false),
            ("50", true),
        ] {
            let nested = open.repeat(200_000);
            let data = if v2 {
                INSERT_V2.replace("2B02000004", &nested)
            } else {
                INSERT.replace("2B020004", &nested)
            };
            let token = token(&data);
            let message = token.decode().expect_err("too deep").to_string();
            assert!(message.contains("nested too deep"), "{message}");
            assert_eq!(token.kind(), Kind::Event);
        }
    }
}
