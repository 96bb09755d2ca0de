//! Resume tokens recorded from real servers, compared with the fields of their events; and damaged tokens.

use std::cmp::Ordering;

use bson::error::ErrorKind;
use bson::raw::{RawBsonRef, RawIter};
use bson::spec::BinarySubtype;
use bson::{Binary, RawDocumentBuf, Timestamp, rawdoc};
use cswatch::token::{Kind, ResumeToken};
use fastrand::Rng;
use serde_json::Value;

/// Recorded from MongoDB 6.0.27, 6.0.5 and 7.0.28 by `vectors/make_tokens.py`, which describes the fields.
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

    /// Returns the key that orders tokens, taken from the recorded fields.
    fn sort_key(&self) -> (Timestamp, bool, Option<u64>, bool, u32) {
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
        // The first fragment of a split event has the document key.
        if recorded.fragment().is_none_or(|number| number == 1) {
            let expected = recorded.text("documentKeyBson");
            let found = hex(decoded.document_key.as_ref());
            assert_eq!(found.as_deref(), expected, "{}", recorded.line);
        }
    }
}

#[test]
fn decodes_the_kind_and_time_of_every_recorded_token() {
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
        let (server, stream) = recorded.stream();
        let is_version_2 = stream.ends_with("split") || server.starts_with("7.");
        assert_eq!(decoded.version, if is_version_2 { 2 } else { 1 });
    }
}

#[test]
fn decodes_the_collection_and_operation_of_expanded_events() {
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
fn orders_tokens_as_their_stream_sent_them() {
    let all = Recorded::all();
    let mut pairs = 0;
    for (first, second) in all.iter().zip(&all[1..]) {
        if first.stream() == second.stream() {
            let lines = format!("{} before {}", first.line, second.line);
            let order = first.token.compare(&second.token);
            assert_eq!(order, Some(Ordering::Less), "{lines}");
            assert!(first.sort_key() < second.sort_key(), "{lines}");
            pairs += 1;
        }
    }
    assert!(pairs > 500, "{pairs}");
}

#[test]
fn orders_tokens_of_one_server_across_versions() {
    let all = Recorded::all();
    let mut versions_differed = 0;
    for one in &all {
        for other in &all {
            let (server, stream) = one.stream();
            let (other_server, other_stream) = other.stream();
            // Streams of the same writes share the first part of their name.
            if server != other_server || stream.split(',').next() != other_stream.split(',').next()
            {
                continue;
            }
            assert_eq!(
                one.token.compare(&other.token),
                Some(one.sort_key().cmp(&other.sort_key())),
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
fn accepts_hex_digits_of_either_case() {
    for recorded in Recorded::all() {
        let data = recorded.token.data();
        let upper = ResumeToken::parse(data).expect("bare hex digits are a token");
        let lower = ResumeToken::parse(&data.to_lowercase()).expect("bare hex digits are a token");
        assert_eq!(upper.compare(&lower), Some(Ordering::Equal));
        assert_eq!(upper.kind(), lower.kind());
        assert_eq!(upper.time(), lower.time());
    }
}

/// Returns a random byte. Half of them are type bytes and other markers of the format, which reach more of the decoder.
fn random_byte(random: &mut Rng) -> u8 {
    const MARKERS: [u8; 16] = [
        0, 4, 20, 30, 31, 40, 41, 43, 50, 51, 60, 70, 80, 90, 170, 0xff,
    ];
    match random.bool() {
        true => random.choice(MARKERS).expect("a marker"),
        false => random.u8(..),
    }
}

/// Truncates `bytes`, or inserts or replaces some of them, up to three times.
fn damage(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=random.u8(..3) {
        let index = random.usize(..bytes.len().max(1));
        match random.u8(..4) {
            0 => bytes.truncate(index),
            1 => bytes.insert(index, random_byte(random)),
            _ => {
                if let Some(byte) = bytes.get_mut(index) {
                    *byte = random_byte(random);
                }
            }
        }
    }
}

#[test]
fn decodes_damaged_tokens_to_an_error_or_valid_bson() {
    const SEED: u64 = 0x6027;
    let mut random = Rng::with_seed(SEED);
    let mut decodable = 0;
    for recorded in Recorded::all() {
        let data = const_hex::decode(recorded.token.data()).expect("a recorded token");
        let type_bits = match recorded.token.as_raw().get_binary("_typeBits") {
            Ok(bits) => bits.bytes.to_vec(),
            Err(_) => Vec::new(),
        };
        for _ in 0..60 {
            let (mut data, mut type_bits) = (data.clone(), type_bits.clone());
            damage(&mut random, &mut data);
            if random.bool() {
                damage(&mut random, &mut type_bits);
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
                decodable += 1;
                let documents = [decoded.document_key, decoded.operation_description];
                for document in documents.iter().flatten() {
                    assert_is_bson(document.iter_elements());
                }
            }
        }
    }
    assert!(decodable > 1_000, "{decodable}");
}

/// Fails unless the elements are valid BSON. Strings may hold invalid UTF-8, which servers do not check either.
fn assert_is_bson(elements: RawIter<'_>) {
    for element in elements {
        match element.and_then(|element| element.value()) {
            Ok(RawBsonRef::Document(inner)) => assert_is_bson(inner.iter_elements()),
            Ok(RawBsonRef::Array(inner)) => assert_is_bson(inner.iter_elements()),
            Ok(_) => {}
            Err(error) => {
                let is_about_text = matches!(error.kind, ErrorKind::Utf8Encoding { .. });
                // Binary subtype 2 has an inner length, which servers do not check.
                let is_about_old_binary = error.to_string().contains("old binary");
                assert!(is_about_text || is_about_old_binary, "{error:?}");
            }
        }
    }
}
