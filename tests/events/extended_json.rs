//! The Extended JSON writer compared with two independent sources: the official BSON corpus, by text, and pymongo's `json_util`, by
//! value and key order.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cswatch::extjson::pretty;
use cswatch::extjson::{self, Fidelity, Malformed, Mode};
use serde::Deserialize as _;
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn line(bson: &[u8], mode: Mode) -> Result<(String, Fidelity), Malformed> {
    let mut out = Vec::new();
    let fidelity = extjson::write_document(bson, mode, &mut out)?;
    let line = String::from_utf8(out).expect("a line is UTF-8");
    Ok((line, fidelity))
}

/// Parses JSON, also beyond the 128 levels of nesting at which serde_json stops by default.
fn parsed(json: &str) -> Value {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).expect("valid JSON");
    deserializer.end().expect("nothing after the JSON");
    value
}

/// Returns whether two values are equal, key order included. Compares doubles by their bits, not by their text.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            if let (Some(ours), Some(theirs)) = (double(ours), double(theirs)) {
                return ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
            }
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| ours.0 == theirs.0 && same(ours.1, theirs.1))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(o, t)| same(o, t))
        }
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() && theirs.is_f64() => {
            ours.as_f64().map(f64::to_bits) == theirs.as_f64().map(f64::to_bits)
        }
        _ => ours == theirs,
    }
}

fn double(object: &serde_json::Map<String, Value>) -> Option<f64> {
    let text = object.get("$numberDouble")?.as_str()?;
    (object.len() == 1).then(|| text.parse().expect("a double"))
}

struct Case {
    name: String,
    bson: Vec<u8>,
    fields: Value,
}

impl Case {
    fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }
}

/// Returns the cases in the lists `kind` of the corpus: one for each field among `inputs` that a case has.
fn corpus(kind: &str, inputs: &[&str]) -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(vectors().join("bson_corpus"))
        .expect("the corpus")
        .map(|entry| entry.expect("a file of the corpus").path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a file of the corpus");
        let file = parsed(&text);
        for fields in file[kind].as_array().into_iter().flatten() {
            for input in inputs {
                let Some(hex) = fields.get(*input).and_then(Value::as_str) else {
                    continue;
                };
                let description = fields["description"].as_str().expect("a text");
                let file = path.file_name().expect("a name").display();
                cases.push(Case {
                    name: format!("{file}: {description}"),
                    bson: const_hex::decode(hex).expect("hex"),
                    fields: fields.clone(),
                });
            }
        }
    }
    cases
}

#[test]
fn matches_the_canonical_text_of_the_bson_corpus() {
    let cases = corpus("valid", &["canonical_bson", "degenerate_bson"]);
    assert_eq!(cases.len(), 735);
    for case in cases {
        let (ours, fidelity) = line(&case.bson, Mode::Canonical).expect(&case.name);
        // The corpus has whitespace and escapes for its own readability only.
        let theirs = parsed(case.text("canonical_extjson").expect("a text")).to_string();
        assert_eq!(ours, theirs, "{}", case.name);
        assert_eq!(fidelity, Fidelity::Exact, "{}", case.name);
    }
}

#[test]
fn matches_the_relaxed_values_of_the_bson_corpus() {
    let mut seen = 0;
    for case in corpus("valid", &["canonical_bson", "degenerate_bson"]) {
        // Where both forms are the same, the corpus gives only one.
        let Some(theirs) = case.text("relaxed_extjson") else {
            continue;
        };
        let (ours, _) = line(&case.bson, Mode::Relaxed).expect(&case.name);
        assert!(
            same(&parsed(&ours), &parsed(theirs)),
            "{}: {ours}",
            case.name
        );
        seen += 1;
    }
    assert_eq!(seen, 27);
}

#[test]
fn refuses_invalid_bson_of_the_corpus_except_for_invalid_content() {
    let cases = corpus("decodeErrors", &["bson"]);
    let mut refused = 0;
    let mut accepted = Vec::new();
    for case in cases {
        let mut out = b"before".to_vec();
        if extjson::write_document(&case.bson, Mode::Canonical, &mut out).is_ok() {
            accepted.push(case.name);
        } else {
            assert_eq!(out, b"before", "{}", case.name);
            refused += 1;
        }
    }
    // A server stores all of these, so each has to be printed.
    let content = [
        "binary.json: subtype 0x02 length too long ",
        "binary.json: subtype 0x02 length too short",
        "binary.json: subtype 0x02 length negative one",
        "boolean.json: Invalid boolean value of 2",
        "boolean.json: Invalid boolean value of -1",
        "code.json: invalid UTF-8",
        "dbpointer.json: String with bad UTF-8",
        "string.json: invalid UTF-8",
        "symbol.json: invalid UTF-8",
    ];
    assert_eq!(accepted, content);
    assert_eq!(refused, 66);
}

#[test]
fn matches_pymongo_by_value_and_key_order() {
    let text = fs::read_to_string(vectors().join("extjson.jsonl")).expect("the vectors");
    let mut seen = 0;
    for (number, vector) in text.lines().enumerate() {
        let vector = parsed(vector);
        let field = |name: &str| vector[name].as_str().expect("a text");
        let bson = BASE64.decode(field("bson")).expect("base64");
        for (mode, theirs) in [
            (Mode::Canonical, field("canonical")),
            (Mode::Relaxed, field("relaxed")),
        ] {
            let (ours, fidelity) = line(&bson, mode).expect("valid BSON");
            assert!(
                same(&parsed(&ours), &parsed(theirs)),
                "line {}, {mode:?}\n  ours: {ours}\ntheirs: {theirs}",
                number + 1
            );
            assert_eq!(fidelity, Fidelity::Exact);
            assert!(!ours.contains(['\n', '\r']), "line {}", number + 1);
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen} comparisons");
}

#[test]
fn indents_lines_like_serde_json() {
    let text = fs::read_to_string(vectors().join("extjson.jsonl")).expect("the vectors");
    let vectors: Vec<_> = text.lines().map(parsed).collect();
    assert!(vectors.len() > 250, "{} lines", vectors.len());
    for vector in vectors {
        let bson = BASE64.decode(vector["bson"].as_str().expect("a text"));
        let (line, _) = line(&bson.expect("base64"), Mode::Canonical).expect("valid BSON");
        let mut ours = Vec::new();
        pretty::indent(line.as_bytes(), false, &mut ours);
        let theirs = serde_json::to_string_pretty(&parsed(&line)).expect("JSON");
        assert_eq!(without_escapes(&String::from_utf8_lossy(&ours)), theirs);
    }
}

/// Replaces the escapes of characters beyond ASCII, which serde_json prints as they are, by the characters.
fn without_escapes(json: &str) -> String {
    let mut units = Vec::new();
    let mut rest = json;
    while let Some(at) = rest.find("\\") {
        units.extend(rest[..at].encode_utf16());
        let code = rest.get(at + 2..at + 6);
        let code = code.filter(|_| rest[at + 1..].starts_with('u'));
        let code = code.and_then(|code| u16::from_str_radix(code, 16).ok());
        let length = match code {
            Some(code) if code >= 0x7f => {
                units.push(code);
                6
            }
            _ => {
                units.extend(rest[at..at + 2].encode_utf16());
                2
            }
        };
        rest = &rest[at + length..];
    }
    units.extend(rest.encode_utf16());
    String::from_utf16(&units).expect("pairs of surrogates")
}
