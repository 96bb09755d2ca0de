//! The Extended JSON writer against two sources that share nothing with it: the official BSON corpus, as
//! text, and pymongo's `json_util`, by value and key order.

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

/// Follows nesting beyond the 128 levels at which serde_json stops by default.
fn parsed(json: &str) -> Value {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).expect("valid JSON");
    deserializer.end().expect("nothing behind the JSON");
    value
}

/// Equal by value and key order; doubles by their bits, whatever their text is.
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

/// The cases of the corpus in the list `kind`, one for each of their fields `inputs`.
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
fn agrees_with_the_bson_corpus_to_the_letter() {
    let cases = corpus("valid", &["canonical_bson", "degenerate_bson"]);
    assert_eq!(cases.len(), 735);
    for case in cases {
        let (ours, fidelity) = line(&case.bson, Mode::Canonical).expect(&case.name);
        // The corpus has white space and escapes that only its own readability needs.
        let theirs = parsed(case.text("canonical_extjson").expect("a text")).to_string();
        assert_eq!(ours, theirs, "{}", case.name);
        assert_eq!(fidelity, Fidelity::Exact, "{}", case.name);
    }
}

#[test]
fn agrees_with_the_relaxed_form_of_the_bson_corpus() {
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
fn refuses_what_the_bson_corpus_calls_broken_unless_only_content_is() {
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
    // A server stores all of these, so each is an event that has to come out.
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
fn agrees_with_pymongo_by_value_and_key_order() {
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
fn indents_lines_like_serde_json_does() {
    let text = fs::read_to_string(vectors().join("extjson.jsonl")).expect("the vectors");
    let vectors: Vec<_> = text.lines().map(parsed).collect();
    assert!(vectors.len() > 250, "{} lines", vectors.len());
    for vector in vectors {
        let bson = BASE64.decode(vector["bson"].as_str().expect("a text"));
        let (line, _) = line(&bson.expect("base64"), Mode::Canonical).expect("valid BSON");
        let mut ours = Vec::new();
        pretty::indent(line.as_bytes(), false, &mut ours);
        let theirs = serde_json::to_string_pretty(&parsed(&line)).expect("JSON");
        assert_eq!(String::from_utf8_lossy(&ours), theirs);
    }
}
