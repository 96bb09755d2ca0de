//! Resume tokens: their order, cluster time, kind and other fields. A token is kept whole and unchanged, because the server is sure to
//! accept only the token that it sent. Knows no files and no server.
//!
//! Layout: MongoDB's `src/mongo/db/pipeline/resume_token.cpp`, measured on 6.0.5 and 6.0.27.

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

/// Field with the key string in hexadecimal digits.
const DATA: &str = "_data";
/// Field with the type details that the key string leaves out. Absent when all its bits are zero.
const TYPE_BITS: &str = "_typeBits";
/// Number of digits of the cluster time: a type byte and 8 bytes.
const TIME_DIGITS: usize = 2 * 9;
/// Digits of the version: a type byte and a byte after the cluster time.
const VERSION_DIGITS: std::ops::Range<usize> = TIME_DIGITS..TIME_DIGITS + 2 * 2;

/// Reason why a resume token is invalid, with the position of the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidToken(String);

impl InvalidToken {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidToken {}

/// Kind of a resume token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event.
    Event,
    /// No event: there are no further events before this cluster time. The post-batch resume token of an idle stream is one.
    HighWaterMark,
    /// The `invalidate` event after a drop or a rename. Only `startAfter` accepts its token; `resumeAfter` is error 260.
    Invalidate,
    /// A fragment of an event that `$changeStreamSplitLargeEvent` split, with its number from 1, like `splitEvent.fragment`. The token does
    /// not hold the number of fragments.
    Fragment(u32),
}

/// A resume token: the whole document, byte for byte, with `_typeBits` and fields that cswatch does not know.
///
/// Equality compares bytes. For the order in the stream see [`ResumeToken::compare`].
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeToken {
    raw: RawDocumentBuf,
    time: Timestamp,
}

impl ResumeToken {
    /// Creates a resume token from the `_id` of an event or from a post-batch resume token.
    ///
    /// # Errors
    /// When `_data` is not a string of hexadecimal digits (either case) that begins with a cluster time, or `_typeBits` is not binary data
    /// of subtype 00. The server refuses these tokens too (errors 40647, 9 and 40648).
    pub fn from_raw(token: &RawDocument) -> Result<Self, InvalidToken> {
        let time = Self::checked_time(token)?;
        Ok(Self {
            raw: token.to_owned(),
            time,
        })
    }

    /// Returns the cluster time of a token that is valid.
    fn checked_time(token: &RawDocument) -> Result<Timestamp, InvalidToken> {
        let mut time = None;
        for field in token {
            let (name, value) = field.map_err(|error| {
                InvalidToken::new(format!("the resume token is not valid BSON: {error}"))
            })?;
            match (name.as_str(), value) {
                (DATA, RawBsonRef::String(data)) if time.is_none() => {
                    time = Some(time_from_hex(data)?);
                }
                (DATA, _) => {
                    return Err(InvalidToken::new(
                        "the resume token's _data is not a single string",
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
        time.ok_or_else(|| InvalidToken::new("the resume token has no _data"))
    }

    /// Returns the token of an event, which is its `_id`, or `None` when the event has no valid one.
    pub fn of_event(event: &RawDocument) -> Option<Self> {
        Self::from_raw(event.get_document("_id").ok()?).ok()
    }

    /// Returns the cluster time of an event's token, or `None` when the event has no valid one. Copies nothing.
    pub(crate) fn time_of_event(event: &RawDocument) -> Option<Timestamp> {
        Self::checked_time(event.get_document("_id").ok()?).ok()
    }

    /// Returns the whole token as canonical Extended JSON, which [`Self::parse`] reads.
    ///
    /// # Errors
    /// When a field that cswatch does not know is not valid BSON.
    pub fn to_extended_json(&self) -> Result<String, extjson::Malformed> {
        extjson::to_text(&self.raw, extjson::Mode::Canonical)
    }

    /// Returns the cluster time of a token without copying the token.
    pub fn time_of(token: &RawDocument) -> Option<Timestamp> {
        time_from_hex(token.get_str(DATA).ok()?).ok()
    }

    /// Returns whether both tokens have the same version. A stream that is opened after a token continues in the version of that token
    /// (measured on 6.0.27).
    pub fn is_of_same_version(&self, other: &Self) -> bool {
        let version = |token: &Self| {
            token
                .data()
                .get(VERSION_DIGITS)
                .map(str::to_ascii_uppercase)
        };
        version(self) == version(other)
    }

    /// Parses a token: the hexadecimal digits of `_data`, or the whole token as Extended JSON. Only Extended JSON can hold `_typeBits`,
    /// without which the server refuses some tokens (error 50810 for an event whose `_id` is 1.5).
    ///
    /// # Errors
    /// As [`ResumeToken::from_raw`], and when text that begins with `{` is not Extended JSON.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        if !text.starts_with('{') {
            let mut token = RawDocumentBuf::new();
            token.append(bson::raw::cstr!("_data"), text);
            return Self::from_raw(&token);
        }
        let not_extended_json = |error: &dyn fmt::Display| {
            InvalidToken::new(format!("the resume token is not Extended JSON: {error}"))
        };
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| not_extended_json(&e))?;
        let Bson::Document(token) = Bson::try_from(json).map_err(|e| not_extended_json(&e))? else {
            return Err(not_extended_json(&"it is not an object"));
        };
        let token = RawDocumentBuf::try_from(&token).map_err(|e| not_extended_json(&e))?;
        Self::from_raw(&token)
    }

    /// Returns the whole token, unchanged.
    pub fn as_raw(&self) -> &RawDocument {
        &self.raw
    }

    /// Returns the hexadecimal digits of `_data`, unchanged.
    pub fn data(&self) -> &str {
        self.raw.get_str(DATA).unwrap_or_default()
    }

    /// Returns the content of `_typeBits`; empty when there is none.
    pub fn type_bits(&self) -> &[u8] {
        match self.raw.get(TYPE_BITS) {
            Ok(Some(RawBsonRef::Binary(bits))) => bits.bytes,
            _ => &[],
        }
    }

    /// Returns the cluster time of the event. For a high-water mark, the cluster time before which there are no further events.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the kind of the token. A token of an unknown layout counts as an event: only its time is known, and it is only stored and
    /// sent back.
    ///
    /// Reads a few bytes of a token of version 1, and all of a token of version 2.
    pub fn kind(&self) -> Kind {
        decoded::kind(self.data()).unwrap_or(Kind::Event)
    }

    /// Compares the positions of two tokens in the streams of one deployment.
    ///
    /// Tokens of one version sort like their digits: by cluster time, a high-water mark before the events of its time, by position in the
    /// transaction, an `invalidate` after its cause, fragments by their number (measured on 6.0.27 and 7.0.28). When only one of the
    /// streams had `$changeStreamSplitLargeEvent` in its pipeline, the versions differ on MongoDB 6.0, and on 7.0 only one of the tokens may
    /// be of a fragment. The fields are then compared one by one, and a fragment comes before the whole event, because the last fragment is
    /// indistinguishable from the others.
    ///
    /// Returns `None` when the order is undecided: for events of one cluster time on several shards, and for unknown layouts. A caller that
    /// drops events it has seen before must keep such an event.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.time != other.time {
            return Some(self.time.cmp(&other.time));
        }
        let (mine, theirs) = (self.data().as_bytes(), other.data().as_bytes());
        let is_fragment = |token: &Self| matches!(token.kind(), Kind::Fragment(_));
        if !self.is_of_same_version(other) || is_fragment(self) != is_fragment(other) {
            return self.decode().ok()?.compare(&other.decode().ok()?);
        }
        Some(upper_case(mine).cmp(upper_case(theirs)))
    }

    /// Returns whether the token may be later in the stream than `other`: false only if [`Self::compare`] says that it is not.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        self.compare(other).is_none_or(Ordering::is_gt)
    }

    /// Decodes all fields of the token.
    ///
    /// # Errors
    /// When the layout is unknown, `_data` is truncated, or `_typeBits` are missing or do not match `_data`.
    pub fn decode(&self) -> Result<Decoded, InvalidToken> {
        Decoded::from_bytes(&from_hex(self.data())?, self.type_bits())
    }
}

/// Returns the cluster time that `_data` begins with, if all of `_data` is hexadecimal.
fn time_from_hex(data: &str) -> Result<Timestamp, InvalidToken> {
    check_hex(data)?;
    let head = from_hex(data.get(..TIME_DIGITS).unwrap_or(data))?;
    KeyString::from_bytes(&head).timestamp()
}

/// Fails unless `data` consists of pairs of hexadecimal digits. The decoder would accept the prefix `0x`, which the server refuses.
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
            "the resume token's _data has an odd number of hex digits ({}); some are missing",
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
    /// The insert of `{_id: 1}`, version 1.
    const INSERT: &str = "826B032D55000000022B022C0100296E5A10049EF0029ED84B4882B631005E1938BFD4461E5F6964002B020004";
    /// The same insert, version 2.
    const INSERT_V2: &str = "826B032D55000000022B042C0100296E5A10049EF0029ED84B4882B631005E1938BFD4463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B657900461E5F6964002B02000004";
    /// Fragment 2 of the same insert, version 2.
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
    fn names_the_error_in_an_invalid_token_and_its_position() {
        let wrong = [
            ("826Bzz", "_data is not hex: 'z' at position 4"),
            ("0x826B", "_data is not hex: 'x' at position 1"),
            ("82é", "_data is not hex: 'é' at position 2"),
            (
                &INSERT[1..],
                "_data has an odd number of hex digits (89); some are missing",
            ),
            ("", "_data is truncated at position 0"),
            ("826B032D550000", "_data is truncated at position 14"),
            (
                "6E826B032D5500000002",
                "_data has no timestamp at position 0",
            ),
            ("{}", "token has no _data"),
            (r#"{"_data":5}"#, "_data is not a single string"),
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
    fn keeps_the_whole_document_unchanged() {
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
    fn keeps_a_token_of_unknown_layout_and_its_time() {
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
    fn sorts_a_fragment_before_its_whole_event() {
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
    fn leaves_the_order_of_two_events_of_one_cluster_time_undecided() {
        let of_other_document = token(&INSERT.replace("2B020004", "2B040004"));
        assert_eq!(of_other_document.compare(&token(INSERT_V2)), None);
        assert_eq!(token(INSERT_V2).compare(&of_other_document), None);
    }

    #[test]
    fn decodes_a_shard_key_before_the_id() {
        // {region: "eu", operationType: 1, _id: 1}, the document key of a sharded collection; made by hand.
        let key = "463C726567696F6E003C6575001E6F7065726174696F6E54797065002B021E5F6964002B020004";
        let data = INSERT.replace("461E5F6964002B020004", key);
        let decoded = token(&data).decode().expect("a token");
        let found = Document::try_from(decoded.document_key.expect("a key")).expect("BSON");
        assert_eq!(found, doc! { "region": "eu", "operationType": 1, "_id": 1 });
        assert_eq!(decoded.operation_type, None);
    }

    #[test]
    fn reports_missing_type_bits() {
        let one_and_a_half = INSERT.replace("2B020004", "2B03800000000000000004");
        let message = token(&one_and_a_half)
            .decode()
            .expect_err("no int32")
            .to_string();
        assert_eq!(
            message,
            "the resume token's number at position 82 of _data cannot be an int32: its _typeBits are missing or belong to another token; \
             use the whole token, not only _data"
        );
    }

    #[test]
    fn finds_the_fragment_number_without_type_bits() {
        let one_and_a_half = FRAGMENT.replace("2B0200002B0204", "2B038000000000000000002B0204");
        let token = token(&one_and_a_half);
        assert_eq!(token.kind(), Kind::Fragment(2));
        assert!(token.decode().is_err());
    }

    #[test]
    fn refuses_nesting_deeper_than_any_server_allows() {
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
            assert!(message.contains("nested too deeply"), "{message}");
            assert_eq!(token.kind(), Kind::Event);
        }
    }
}
