//! Filters as people type them in mongosh, compared with what mongosh sends; Extended JSON, compared with the `bson` crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cswatch::shell_syntax;
use mongodb::bson::{Bson, Document, RawDocumentBuf};
use serde_json::Value;

/// Filters that mongosh sends as something else than was typed, which depend on the machine, the time or chance, or which need JavaScript.
const REFUSED: &[&str] = &[
    r#"{v: new Date("2026-01-31T12:00:00")}"#,
    r#"{v: new Date("2026-01-31 12:00:00")}"#,
    r#"{v: new Date("2026-01-31T12:00:00+02")}"#,
    r#"{v: ISODate("2026-02-30")}"#,
    r#"{v: new Date("2026-02-30")}"#,
    r#"{v: new Date("2026-13-01")}"#,
    r#"{v: ISODate("2026-01-31T24:00:00Z")}"#,
    r#"{v: new Date("2026-01-31T24:00:00Z")}"#,
    r#"{v: new Date("2026-01")}"#,
    r#"{v: new Date("2026")}"#,
    r#"{v: new Date("2026-01-31T12:00:60Z")}"#,
    r#"{v: new Date("+010000-01-01T00:00:00Z")}"#,
    r#"{v: new Date("2026-01-31T25:00:00Z")}"#,
    r#"{v: new Date("yesterday")}"#,
    r#"{v: new Date("2026-01-31T12:00:00 Z")}"#,
    r#"{v: new Date("2026-01-31T12:00:00,5Z")}"#,
    "{v: new Date(1.5)}",
    "{v: new Date(8640000000000001)}",
    "{v: ISODate(5)}",
    r#"{v: Long.fromNumber("5")}"#,
    r#"{v: NumberLong("9223372036854775808")}"#,
    r#"{v: NumberLong("0x10")}"#,
    r#"{v: NumberLong("abc")}"#,
    r#"{v: NumberLong(" 5")}"#,
    r#"{v: NumberLong("1.5")}"#,
    "{v: NumberLong(1.5)}",
    "{v: NumberLong()}",
    "{v: Long()}",
    "{v: Long(1, 2)}",
    r#"{v: Long("abc")}"#,
    r#"{v: NumberLong("1_000")}"#,
    "{v: NumberInt(1.5)}",
    r#"{v: NumberInt("1.5")}"#,
    "{v: NumberInt(2147483648)}",
    r#"{v: NumberInt("2147483648")}"#,
    r#"{v: Int32("2147483648")}"#,
    r#"{v: NumberInt("abc")}"#,
    r#"{v: Int32("abc")}"#,
    "{v: NumberInt()}",
    "{v: Int32(1.5)}",
    r#"{v: Int32("")}"#,
    "{v: NumberDecimal()}",
    r#"{v: Double("abc")}"#,
    "{v: Double()}",
    r#"{v: Double("")}"#,
    r#"{v: Double("0x10")}"#,
    r#"{v: Double(" 5 ")}"#,
    r#"{v: UUID("zz")}"#,
    r#"{v: BinData(256, "AQID")}"#,
    r#"{v: BinData(0, "A")}"#,
    r#"{v: BinData(0, "!!")}"#,
    r#"{v: BinData(-1,"AQID")}"#,
    r#"{v: BinData(0, "_-8=")}"#,
    r#"{v: HexData(0,"0")}"#,
    r#"{v: HexData(0,"zz")}"#,
    r#"{v: MD5("zz")}"#,
    r#"{v: HexData(4, "0f0e0d0c-0b0a-0908-0706-050403020100")}"#,
    "{v: Timestamp()}",
    "{v: Timestamp(1)}",
    "{v: Timestamp(1.5, 1)}",
    "{v: /a/g}",
    "{v: /a/y}",
    "{v: RegExp(/a/i)}",
    "{v: /a/d}",
    "{v: /a/v}",
    "{v: Code()}",
    r#"{v: DBRef("c", 1, "db", {x: 1})}"#,
    "{a: 1, a: 2}",
    "{a: 010}",
    "{a: 08}",
    "{a: `x`}",
    "{a: [1,,2]}",
    r#"{a: "\1"}"#,
    r#"{a: "\08"}"#,
    "{a: 1 + 2}",
    r#"{a: "x" + "y"}"#,
    r#"{a: -"1"}"#,
    "{1.5: 1}",
    "{0x10: 1}",
    "{1e3: 1}",
    "{01: 1}",
    "{a: function() {}}",
    "{a: ()=>1}",
    "{...{}}",
    r#"{v: Date("2026-01-31")}"#,
    "{v: ISODate()}",
    "{v: new Date()}",
    "{v: UUID()}",
    "{v: ObjectId()}",
    r#"{v: Long("5").toNumber()}"#,
    r#"{ab: 1, "\u0061b": 2}"#,
    r#"{"$numberLong": "5", a: 1}"#,
];

/// Filters that mongosh refuses or sends as something else than was typed, and their values here.
const DIFFERENT: &[(&str, &str)] = &[
    // Forms of dates of which mongosh makes the date 0, or which only one of its functions knows.
    (
        r#"{v: new Date("20260131")}"#,
        r#"{"v":{"$date":"2026-01-31T00:00:00Z"}}"#,
    ),
    (
        r#"{v: new Date("2026-01-31T12Z")}"#,
        r#"{"v":{"$date":"2026-01-31T12:00:00Z"}}"#,
    ),
    (
        r#"{v: new Date("20260131T120000Z")}"#,
        r#"{"v":{"$date":"2026-01-31T12:00:00Z"}}"#,
    ),
    (
        r#"{v: ISODate("2026-01-31T12:00:00z")}"#,
        r#"{"v":{"$date":"2026-01-31T12:00:00Z"}}"#,
    ),
    // mongosh sends May 2001.
    (
        r#"{v: new Date(NumberLong("5"))}"#,
        r#"{"v":{"$date":{"$numberLong":"5"}}}"#,
    ),
    // JavaScript has no such integer.
    (
        "{v: NumberLong(9007199254740993)}",
        r#"{"v":{"$numberLong":"9007199254740993"}}"#,
    ),
    // mongosh sends 4294967291.
    ("{v: Long(-5)}", r#"{"v":{"$numberLong":"-5"}}"#),
    ("{v: Double(5n)}", r#"{"v":{"$numberDouble":"5.0"}}"#),
    // Options of the server that JavaScript does not have, or that mongosh drops.
    (
        "{v: /a/s}",
        r#"{"v":{"$regularExpression":{"pattern":"a","options":"s"}}}"#,
    ),
    (
        "{v: /a/ims}",
        r#"{"v":{"$regularExpression":{"pattern":"a","options":"ims"}}}"#,
    ),
    (
        "{v: /a/x}",
        r#"{"v":{"$regularExpression":{"pattern":"a","options":"x"}}}"#,
    ),
    // The server checks the pattern.
    (
        "{v: /(/}",
        r#"{"v":{"$regularExpression":{"pattern":"(","options":""}}}"#,
    ),
    // The same pattern, without an escape.
    (
        r#"{v: new RegExp("\\d/")}"#,
        r#"{"v":{"$regularExpression":{"pattern":"\\d/","options":""}}}"#,
    ),
    (
        r#"{v: RegExp("a","x")}"#,
        r#"{"v":{"$regularExpression":{"pattern":"a","options":"x"}}}"#,
    ),
    // mongosh drops these fields.
    (r#"{v: Symbol("a")}"#, r#"{"v":{"$symbol":"a"}}"#),
    (r#"{"__proto__": 1}"#, r#"{"__proto__":1}"#),
    // Extended JSON keeps its meaning.
    (
        r#"{"a": {"$oid": "65a1b2c3d4e5f60718293a4b"}}"#,
        r#"{"a":{"$oid":"65a1b2c3d4e5f60718293a4b"}}"#,
    ),
    (
        r#"{v: {$date: NumberLong("5")}}"#,
        r#"{"v":{"$date":{"$numberLong":"5"}}}"#,
    ),
];

fn vectors(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    fs::read_to_string(path).expect("vectors")
}

/// Returns the value of Extended JSON according to the `bson` crate.
fn of_extended_json(text: &str) -> Option<Bson> {
    let json: Value = serde_json::from_str(text).ok()?;
    Bson::try_from(json).ok()
}

/// Returns the BSON of a value: NaN equals NaN, and the types of numbers count.
fn bytes(value: &Bson) -> Vec<u8> {
    let document = Document::from_iter([("v".to_owned(), value.clone())]);
    let raw = RawDocumentBuf::try_from(&document).expect("BSON");
    raw.into_bytes()
}

/// Returns the value with each number as a double.
fn with_doubles(value: &Bson) -> Bson {
    match value {
        Bson::Int32(number) => Bson::Double((*number).into()),
        Bson::Int64(number) => Bson::Double(*number as f64),
        Bson::Array(items) => items.iter().map(with_doubles).collect(),
        Bson::Document(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| (key.clone(), with_doubles(value)));
            Bson::Document(fields.collect())
        }
        other => other.clone(),
    }
}

/// Numbers without a type are int32, int64 or double as in Extended JSON, and int32 or double in mongosh; the server compares them by value.
#[test]
fn sends_the_filters_that_mongosh_sends() {
    let mut different: BTreeMap<&str, &str> = DIFFERENT.iter().copied().collect();
    let mut refused = REFUSED.to_vec();
    for line in vectors("shell_syntax.jsonl").lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector");
        let text = vector["shell"].as_str().expect("a filter");
        let sent = vector["bson"].as_str().map(|hex| {
            let bson = const_hex::decode(hex).expect("hex");
            let raw = RawDocumentBuf::from_bytes(bson).expect("BSON");
            Bson::Document(Document::try_from(&*raw).expect("BSON"))
        });
        let parsed = shell_syntax::parse(text);
        if let Some(expected) = different.remove(text) {
            let parsed = parsed.unwrap_or_else(|error| panic!("{text}: {error}"));
            let expected = of_extended_json(expected).expect("Extended JSON");
            assert_eq!(bytes(&parsed), bytes(&expected), "{text}: {parsed}");
            assert_ne!(Some(parsed), sent, "{text}");
        } else if let Some(place) = refused.iter().position(|refused| *refused == text) {
            refused.remove(place);
            assert!(sent.is_some(), "mongosh refuses {text} too");
            parsed.expect_err(text);
        } else {
            match (parsed, sent) {
                (Ok(parsed), Some(sent)) => {
                    let has_calls = text.contains('(');
                    let is_same = bytes(&parsed) == bytes(&sent)
                        || !has_calls
                            && bytes(&with_doubles(&parsed)) == bytes(&with_doubles(&sent));
                    assert!(is_same, "{text}: {parsed} instead of {sent}");
                }
                (Err(_), None) => {}
                (Ok(parsed), None) => panic!("mongosh refuses {text}: {parsed}"),
                (Err(error), Some(_)) => panic!("mongosh accepts {text}: {error}"),
            }
        }
    }
    assert_eq!(different, BTreeMap::new(), "filters without a vector");
    assert_eq!(refused, [""; 0], "filters without a vector");
}

#[test]
fn reads_the_extended_json_of_the_bson_corpus_as_the_bson_crate_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bson_corpus");
    let mut count = 0;
    for file in fs::read_dir(folder).expect("the corpus") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("a file");
        let corpus: Value = serde_json::from_str(&text).expect("JSON");
        let cases = |name: &str| corpus[name].as_array().cloned().unwrap_or_default();
        let forms = [
            "canonical_extjson",
            "relaxed_extjson",
            "degenerate_extjson",
            "string",
        ];
        for case in cases("valid").iter().chain(&cases("parseErrors")) {
            let texts = forms.iter().filter_map(|form| case[form].as_str());
            // Other strings of the corpus are digits of a decimal.
            for text in texts.filter(|text| text.starts_with('{')) {
                let parsed = shell_syntax::parse(text).ok();
                let expected = of_extended_json(text).filter(is_bson);
                let bytes = |value: Option<Bson>| value.as_ref().map(bytes);
                assert_eq!(bytes(parsed), bytes(expected), "{text}");
                count += 1;
            }
        }
    }
    assert!(count > 1000, "{count} texts");
}

/// Returns whether no key contains NUL.
fn is_bson(value: &Bson) -> bool {
    let document = Document::from_iter([("v".to_owned(), value.clone())]);
    RawDocumentBuf::try_from(&document).is_ok()
}

#[test]
fn reads_random_extended_json_as_the_bson_crate_does() {
    let seed = 14;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut valid = 0;
    for _ in 0..5_000 {
        let json = random_json(&mut random, 4);
        let text = match random.bool() {
            true => json.to_string(),
            false => serde_json::to_string_pretty(&json).expect("JSON"),
        };
        let parsed = shell_syntax::parse(&text).ok();
        let expected = Bson::try_from(json).ok().filter(is_bson);
        valid += usize::from(expected.is_some());
        let bytes = |value: Option<Bson>| value.as_ref().map(bytes);
        assert_eq!(bytes(parsed), bytes(expected), "{text}");
    }
    assert!(valid > 2_500, "{valid} values");
}

/// Returns JSON in which most objects are type wrappers of Extended JSON, most of them valid.
fn random_json(random: &mut fastrand::Rng, depth: usize) -> Value {
    const WRAPPERS: [&str; 24] = [
        r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#,
        r#"{"$oid":"65a1"}"#,
        r#"{"$symbol":"a"}"#,
        r#"{"$regularExpression":{"pattern":"a","options":"xi"}}"#,
        r#"{"$numberInt":"-7"}"#,
        r#"{"$numberInt":"99999999999"}"#,
        r#"{"$numberLong":"7"}"#,
        r#"{"$numberDouble":"-Infinity"}"#,
        r#"{"$numberDouble":"NaN"}"#,
        r#"{"$numberDecimal":"1.10"}"#,
        r#"{"$binary":{"base64":"AQID","subType":"80"}}"#,
        r#"{"$uuid":"0f0e0d0c-0b0a-0908-0706-050403020100"}"#,
        r#"{"$code":"f()"}"#,
        r#"{"$code":"f()","$scope":{"a":{"$numberLong":"1"},"b":{"c":[1,2.5]}}}"#,
        r#"{"$timestamp":{"t":5,"i":7}}"#,
        r#"{"$date":"2026-01-31T12:00:00.5+02:00"}"#,
        r#"{"$date":{"$numberLong":"-1"}}"#,
        r#"{"$date":5}"#,
        r#"{"$minKey":1}"#,
        r#"{"$maxKey":2}"#,
        r#"{"$dbPointer":{"$ref":"a.b","$id":{"$oid":"65a1b2c3d4e5f60718293a4b"}}}"#,
        r#"{"$undefined":true}"#,
        r#"{"$ref":"c","$id":{"$oid":"65a1b2c3d4e5f60718293a4b"}}"#,
        r#"{"$regex":"^a","$options":"i"}"#,
    ];
    let count = random.usize(0..4);
    match random.u8(0..if depth == 0 { 7 } else { 10 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.i32(..).into(),
        3 => (random.i64(..) >> random.u32(0..64)).into(),
        4 => (random.u64(..) >> random.u32(0..64)).into(),
        5 => f64::from_bits(random.u64(..)).into(),
        6 => (0..count)
            .map(|_| random.char(..))
            .collect::<String>()
            .into(),
        7 => (0..count).map(|_| random_json(random, depth - 1)).collect(),
        8 => (0..count)
            .map(|_| {
                let operator = random.choice(["$gt", "$in", "a.b", "$or", "\u{1}\"é"]);
                let key = format!("{}{}", operator.unwrap_or_default(), random.char('a'..='z'));
                (key, random_json(random, depth - 1))
            })
            .collect(),
        _ => {
            let wrapper = random.choice(WRAPPERS).unwrap_or_default();
            serde_json::from_str(wrapper).expect("JSON")
        }
    }
}
