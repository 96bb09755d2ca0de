//! Properties that hold for any input, with one function per fuzz target. `cargo test` replays recorded inputs through the same
//! functions.

use std::cmp::Ordering;
use std::path::Path;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, RawDocument, RawDocumentBuf, doc, rawdoc};
use cswatch::Checkpoint;
use cswatch::extjson::pretty;
use cswatch::extjson::{self, Fidelity, Mode};
use cswatch::shell_syntax;
use cswatch::token::ResumeToken;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

/// Checks that the Extended JSON writer turns any bytes into one line of JSON, or fails and leaves its buffer unchanged.
pub fn extjson(input: &[u8]) {
    for mode in [Mode::Canonical, Mode::Relaxed] {
        let before = b"before".to_vec();
        let mut out = before.clone();
        match extjson::write_document(input, mode, &mut out) {
            Err(malformed) => {
                assert_eq!(out, before, "{malformed}");
                assert!(malformed.offset <= input.len(), "{malformed}");
            }
            Ok(fidelity) => check_line(&out[before.len()..], fidelity),
        }
    }
    // Indentation terminates on any input.
    pretty::indent(input, true, &mut Vec::new());
}

fn check_line(line: &[u8], fidelity: Fidelity) {
    let text = std::str::from_utf8(line).expect("a line is UTF-8");
    assert!(!text.contains(is_hidden), "{text:?}");
    serde_json::from_str::<IgnoredAny>(text).expect("a line is JSON");
    if fidelity == Fidelity::Replaced {
        assert!(text.contains('\u{FFFD}'), "{text}");
    }
    let mut indented = Vec::new();
    pretty::indent(line, false, &mut indented);
    serde_json::from_slice::<IgnoredAny>(&indented).expect("an indented line is JSON");
}

/// Returns whether a character controls a terminal, ends a line or is invisible. Apart from cswatch's own list, of which this is a part.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
        )
}

/// Checks the parser of values with any text: Extended JSON means what it means to the `bson` crate, other values are printed in a form that
/// is read back, and errors fit on a terminal.
pub fn shell_syntax(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let json = serde_json::from_str::<serde_json::Value>(text).ok();
    match shell_syntax::parse(text) {
        Ok(value) => {
            if let Some(json) = json {
                let expected = Bson::try_from(json).expect("Extended JSON");
                assert_eq!(bytes(&value), bytes(&expected), "{text}");
            }
            check_printed(value);
        }
        Err(error) => {
            if let Some(json) = json {
                // What JSON allows, or the crate overlooks.
                let is_stricter = ["duplicate key", "a key contains NUL"]
                    .iter()
                    .any(|reason| error.message.starts_with(reason));
                assert!(is_stricter || Bson::try_from(json).is_err(), "{error}");
            }
            for line in [&error.message, &error.hint]
                .into_iter()
                .chain(&error.excerpt)
            {
                assert!(!line.contains(char::is_control), "{line:?}");
            }
            assert!(error.excerpt[0].chars().count() <= 80, "{error:?}");
            assert!(error.excerpt[1].trim_start() == "^", "{error:?}");
        }
    }
}

/// Returns the BSON of a value, in which NaN equals NaN.
fn bytes(value: &Bson) -> Vec<u8> {
    let raw = RawDocumentBuf::try_from(&doc! { "v": value });
    raw.expect("BSON").into_bytes()
}

fn check_printed(value: Bson) {
    let printed = shell_syntax::to_shell(&doc! { "v": value.clone() });
    match shell_syntax::parse(&printed) {
        Ok(Bson::Document(read)) => {
            let read = read.get("v").expect("the value");
            if !printed.contains("undefined") {
                assert_eq!(bytes(read), bytes(&value), "{printed}");
            }
        }
        Ok(other) => panic!("not a document: {other}"),
        Err(error) => {
            // The value is one level deeper now, and Extended JSON may have any options and any date.
            let is_expected = [
                "nesting exceeds",
                "invalid argument of BSONRegExp",
                "invalid argument of Date",
            ]
            .iter()
            .any(|reason| error.message.starts_with(reason));
            assert!(is_expected, "{error}: {printed}");
        }
    }
}

/// Checks the loader of resume files, with the input unchanged and with a valid checksum appended, which a fuzzer would not find.
pub fn resume_file(input: &[u8]) {
    let load =
        |text: &[u8]| Checkpoint::from_text(text, Path::new("resume.json"), "scope", "filter");
    for text in [input, &sealed(input)] {
        if let Ok(saved) = load(text) {
            check_token(&saved.token);
            assert_eq!(load(text), Ok(saved));
        }
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let checksum = const_hex::encode(Sha256::digest(body));
    let end = format!(",\"checksum\":\"{checksum}\"}}\n");
    [body, end.as_bytes()].concat()
}

/// Checks what handles the events of a reply: the input is the reply to a `getMore`, as far as it is one.
pub fn replies(input: &[u8]) {
    let Ok(reply) = RawDocument::from_bytes(input) else {
        return;
    };
    let Ok(events) = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("nextBatch"))
    else {
        return;
    };
    let events: Vec<_> = (events.into_iter())
        .map_while(Result::ok)
        .filter_map(|event| Some(event.as_document()?.to_owned()))
        .collect();
    for event in &events {
        if let Some(token) = ResumeToken::of_event(event) {
            check_token(&token);
        }
    }
    let sent: usize = events.iter().map(|event| event.as_bytes().len()).sum();
    let Ok(assembled) = cswatch::assemble(events) else {
        return;
    };
    let bytes: usize = assembled.iter().map(|event| event.as_bytes().len()).sum();
    assert!(bytes <= sent, "{bytes} of {sent}");
    for event in assembled {
        let mut line = Vec::new();
        match extjson::write_document(event.as_bytes(), Mode::Canonical, &mut line) {
            Ok(fidelity) => check_line(&line, fidelity),
            Err(_) => assert!(line.is_empty()),
        }
    }
}

/// Checks the token decoder with two tokens, each read as text, as raw BSON, and as the bytes of `_data` and `_typeBits`.
pub fn token(input: &[u8]) {
    let mut tokens = Vec::new();
    for part in input.splitn(2, |byte| *byte == SEPARATOR) {
        if let Ok(text) = std::str::from_utf8(part) {
            tokens.extend(ResumeToken::parse(text));
        }
        tokens.extend(token_from_bytes(part));
        if let Ok(raw) = RawDocument::from_bytes(part) {
            tokens.extend(ResumeToken::from_raw(raw));
        }
    }
    for token in &tokens {
        check_token(token);
        for other in &tokens {
            let order = token.compare(other);
            assert_eq!(order, other.compare(token).map(Ordering::reverse));
            if token.time() != other.time() {
                assert_eq!(order, Some(token.time().cmp(&other.time())));
            }
        }
    }
}

/// Separates the two tokens. No type byte of `_data`.
const SEPARATOR: u8 = 0xfe;

/// Returns a token built from the length of `_typeBits`, `_typeBits`, and `_data`.
fn token_from_bytes(bytes: &[u8]) -> Option<ResumeToken> {
    let (length, rest) = bytes.split_first()?;
    let (type_bits, data) = rest.split_at_checked((*length).into())?;
    let mut token = rawdoc! { "_data": const_hex::encode_upper(data) };
    if !type_bits.is_empty() {
        let bits = Binary {
            subtype: BinarySubtype::Generic,
            bytes: type_bits.to_vec(),
        };
        token.append(bson::raw::cstr!("_typeBits"), bits);
    }
    ResumeToken::from_raw(&token).ok()
}

fn check_token(token: &ResumeToken) {
    assert_eq!(ResumeToken::from_raw(token.as_raw()).as_ref(), Ok(token));
    let _ = token.kind();
    assert_ne!(token.compare(token), Some(Ordering::Less));
    assert_ne!(token.compare(token), Some(Ordering::Greater));
    if let Ok(decoded) = token.decode() {
        assert_eq!(decoded.time, token.time());
        assert_eq!(decoded.kind, token.kind());
        for document in [decoded.document_key, decoded.operation_description]
            .iter()
            .flatten()
        {
            extjson::to_text(document, Mode::Canonical).expect("a decoded document is BSON");
        }
    }
}
