//! Resume tokens that real servers sent, recorded with what their events said, and what becomes of damaged ones.

use std::cmp::Ordering;

use bson::error::ErrorKind;
use bson::raw::{RawBsonRef, RawIter};
use bson::spec::BinarySubtype;
use bson::{Binary, RawDocumentBuf, Timestamp, rawdoc};
use cswatch::token::{Kind, ResumeToken};
use serde_json::Value;

/// Recorded from MongoDB 6.0.27 and 6.0.5 by `vectors/make_tokens.py`, which describes the fields.
const RECORDED: &str = include_str!("../vectors/tokens.jsonl");

struct Recorded {
    line: Value,
    token: ResumeToken,
}

impl Recorded {
    fn all() -> Vec<Self> {
        let all: Vec<Self> = RECORDED
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).expect("a line is JSON");
                let token = line["token"].to_string();
                let token = ResumeToken::parse(&token).expect("a recorded token");
                Self { line, token }
            })
            .collect();
        assert!(all.len() > 500, "{}", all.len());
        all
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.line[name].as_str()
    }

    fn fragment(&self) -> Option<u32> {
        let number = self.line["fragment"].as_u64()?;
        Some(number.try_into().expect("32 bits"))
    }

    fn time(&self) -> Option<Timestamp> {
        let part = |name: &str| {
            let number = self.line["clusterTime"][name].as_u64()?;
            Some(number.try_into().expect("32 bits"))
        };
        Some(Timestamp {
            time: part("t")?,
            increment: part("i")?,
        })
    }

    fn kind(&self) -> Kind {
        match (self.text("operationType"), self.fragment()) {
            (_, Some(number)) => Kind::Fragment(number),
            (None, None) => Kind::HighWaterMark,
            (Some("invalidate"), None) => Kind::Invalidate,
            (Some(_), None) => Kind::Event,
        }
    }

    fn stream(&self) -> (&str, &str) {
        let text = |name| self.text(name).expect("on every line");
        (text("server"), text("stream"))
    }

    /// What orders events, as they themselves tell it.
    fn place(&self) -> (Timestamp, bool, Option<u64>, bool, u32) {
        (
            self.token.time(),
            self.kind() != Kind::HighWaterMark,
            self.line["ordinal"].as_u64(),
            self.kind() == Kind::Invalidate,
            self.fragment().unwrap_or(u32::MAX),
        )
    }
}

fn hex(document: Option<&RawDocumentBuf>) -> Option<String> {
    document.map(|document| const_hex::encode(document.as_bytes()))
}

#[test]
fn decodes_the_document_key_of_every_recorded_event_to_the_byte() {
    for recorded in &Recorded::all() {
        let decoded = recorded.token.decode();
        let decoded = decoded.unwrap_or_else(|error| panic!("{error}: {}", recorded.line));
        // The event's own fields stand in its first fragment.
        if recorded.fragment().is_none_or(|number| number == 1) {
            let expected = recorded.text("documentKeyBson");
            let found = hex(decoded.document_key.as_ref());
            assert_eq!(found.as_deref(), expected, "{}", recorded.line);
        }
    }
}

#[test]
fn tells_what_every_recorded_token_stands_for() {
    for recorded in Recorded::all() {
        let token = &recorded.token;
        let decoded = token.decode().expect("a recorded token");
        assert_eq!(token.kind(), recorded.kind(), "{}", recorded.line);
        assert_eq!(decoded.kind, recorded.kind(), "{}", recorded.line);
        assert_eq!(decoded.from_invalidate, decoded.kind == Kind::Invalidate);
        assert_eq!(decoded.time, token.time());
        assert_eq!(recorded.line["ordinal"], decoded.ordinal);
        if let Some(time) = recorded.time() {
            assert_eq!(token.time(), time, "{}", recorded.line);
        }
        let has_split_stage = recorded.stream().1.ends_with("split");
        assert_eq!(decoded.version, if has_split_stage { 2 } else { 1 });
    }
}

#[test]
fn decodes_what_expanded_events_were_done_to() {
    let mut kinds = Vec::new();
    for recorded in Recorded::all() {
        let decoded = recorded.token.decode().expect("a recorded token");
        if let Some(uuid) = recorded.text("collectionUUID") {
            let found = decoded.collection_uuid.expect("an event of a collection");
            assert_eq!(const_hex::encode(found.bytes()), uuid);
        }
        let Some(kind) = decoded.operation_type else {
            continue;
        };
        if recorded.kind() == Kind::Event {
            assert_eq!(Some(kind.as_str()), recorded.text("operationType"));
        }
        if let Some(description) = recorded.text("operationDescriptionBson") {
            let found = hex(decoded.operation_description.as_ref());
            assert_eq!(found.as_deref(), Some(description), "{}", recorded.line);
            kinds.push(kind);
        }
    }
    for kind in ["create", "createIndexes", "dropIndexes", "modify", "rename"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn orders_tokens_as_they_came_in_their_stream() {
    let all = Recorded::all();
    let mut pairs = 0;
    for (first, second) in all.iter().zip(&all[1..]) {
        if first.stream() == second.stream() {
            let lines = format!("{} before {}", first.line, second.line);
            let order = first.token.compare(&second.token);
            assert_eq!(order, Some(Ordering::Less), "{lines}");
            assert!(first.place() < second.place(), "{lines}");
            pairs += 1;
        }
    }
    assert!(pairs > 500, "{pairs}");
}

#[test]
fn orders_tokens_of_one_server_by_their_place_whatever_their_version() {
    let all = Recorded::all();
    let mut versions_differed = 0;
    for one in &all {
        for other in &all {
            let (server, stream) = one.stream();
            let (other_server, other_stream) = other.stream();
            // Streams that watched the same writes have names that begin alike.
            if server != other_server || stream.split(',').next() != other_stream.split(',').next()
            {
                continue;
            }
            assert_eq!(
                one.token.compare(&other.token),
                Some(one.place().cmp(&other.place())),
                "{} and {}",
                one.line,
                other.line
            );
            let version_differs = stream.ends_with("split") != other_stream.ends_with("split");
            versions_differed +=
                usize::from(version_differs && one.token.time() == other.token.time());
        }
    }
    assert!(versions_differed > 200, "{versions_differed}");
}

#[test]
fn takes_digits_of_either_case() {
    for recorded in Recorded::all() {
        let data = recorded.token.data();
        let upper = ResumeToken::parse(data).expect("digits alone are a token");
        let lower = ResumeToken::parse(&data.to_lowercase()).expect("so are these");
        assert_eq!(upper.compare(&lower), Some(Ordering::Equal));
        assert_eq!(upper.kind(), lower.kind());
        assert_eq!(upper.time(), lower.time());
    }
}

/// A small generator of bytes that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Bytes that mean something stand for half of them.
        const MEANINGFUL: [u8; 16] = [
            0, 4, 20, 30, 31, 40, 41, 43, 50, 51, 60, 70, 80, 90, 170, 0xff,
        ];
        match self.roll(2) {
            0 => MEANINGFUL[self.roll(MEANINGFUL.len())],
            _ => u8::try_from(self.roll(256)).expect("a byte"),
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            match self.roll(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                _ => {
                    let byte = self.byte();
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
            }
        }
    }
}

#[test]
fn takes_damaged_tokens_without_a_panic() {
    let mut dice = Dice(0x6027);
    let mut decoded_all_the_same = 0;
    for recorded in Recorded::all() {
        let data = const_hex::decode(recorded.token.data()).expect("a recorded token");
        let type_bits = match recorded.token.as_raw().get_binary("_typeBits") {
            Ok(bits) => bits.bytes.to_vec(),
            Err(_) => Vec::new(),
        };
        for _ in 0..60 {
            let (mut data, mut type_bits) = (data.clone(), type_bits.clone());
            dice.damage(&mut data);
            if dice.roll(2) == 0 {
                dice.damage(&mut type_bits);
            }
            let bytes = type_bits;
            let subtype = BinarySubtype::Generic;
            let damaged = rawdoc! { "_data": const_hex::encode(data), "_typeBits": Binary { subtype, bytes } };
            let Ok(token) = ResumeToken::from_raw(&damaged) else {
                continue;
            };
            token.kind();
            token.compare(&recorded.token);
            recorded.token.compare(&token);
            if let Ok(decoded) = token.decode() {
                decoded_all_the_same += 1;
                let documents = [decoded.document_key, decoded.operation_description];
                for document in documents.iter().flatten() {
                    assert_is_bson(document.iter_elements());
                }
            }
        }
    }
    assert!(decoded_all_the_same > 1_000, "{decoded_all_the_same}");
}

/// Text need not be UTF-8, which servers do not check either; everything else must be as BSON has it.
fn assert_is_bson(elements: RawIter<'_>) {
    for element in elements {
        match element.and_then(|element| element.value()) {
            Ok(RawBsonRef::Document(inner)) => assert_is_bson(inner.iter_elements()),
            Ok(RawBsonRef::Array(inner)) => assert_is_bson(inner.iter_elements()),
            Ok(_) => {}
            Err(error) => {
                let is_about_text = matches!(error.kind, ErrorKind::Utf8Encoding { .. });
                // Of binary subtype 2, whose own inner length users may get wrong.
                let is_about_old_binary = error.to_string().contains("old binary");
                assert!(is_about_text || is_about_old_binary, "{error:?}");
            }
        }
    }
}
