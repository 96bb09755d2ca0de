//! Documents with any content that a server stores, one line each: every type, unusual keys, invalid UTF-8, deep nesting.
//! They are inserted as raw bytes, which the driver does not change.

use mongodb::bson::RawDocumentBuf;
use mongodb::bson::spec::ElementType;
use serde::Deserialize;
use serde_json::Value;

use testkit::events::{saved_token, token};
use testkit::finished::Finished;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns an element of a document as bytes: its type, its key and its value.
fn element(kind: ElementType, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![kind as u8];
    bytes.extend(key.as_ref());
    bytes.push(0);
    bytes.extend(value.as_ref());
    bytes
}

/// Returns a document of these elements.
fn document(elements: impl AsRef<[Vec<u8>]>) -> Vec<u8> {
    let elements = elements.as_ref().concat();
    let length = i32::try_from(4 + elements.len() + 1).expect("a small document");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(elements);
    bytes.push(0);
    bytes
}

/// Returns the value of a string, also for the types that contain one.
fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = i32::try_from(text.len() + 1).expect("a short string");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.push(0);
    bytes
}

/// Returns the value of a binary.
fn binary(subtype: u8, data: &[u8]) -> Vec<u8> {
    let length = i32::try_from(data.len()).expect("short data");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(subtype);
    bytes.extend(data);
    bytes
}

/// Returns an `_id` of type int32.
fn id(id: i32) -> Vec<u8> {
    element(ElementType::Int32, "_id", id.to_le_bytes())
}

/// Inserts a document into `c`, byte for byte.
#[track_caller]
fn insert(scenario: &Scenario, inserted: Vec<u8>) {
    let list = document([element(ElementType::EmbeddedDocument, "0", inserted)]);
    let command = document([
        element(ElementType::String, "insert", string("c")),
        element(ElementType::Array, "documents", list),
    ]);
    let command = RawDocumentBuf::from_bytes(command).expect("a document");
    let reply = block_on(scenario.db().run_raw_command(command)).expect("an insert");
    assert_eq!(reply.get_i32("n").ok(), Some(1), "{reply}");
}

/// Returns the text of the inserted document in each line.
#[track_caller]
fn documents(finished: &Finished) -> Vec<&str> {
    let lines = finished.stdout.iter();
    lines
        .map(|line| {
            parsed(line);
            let (_, rest) = line.split_once(r#""fullDocument":"#).expect("a document");
            let (document, _) = rest.rsplit_once(r#","ns":{"#).expect("a namespace");
            document
        })
        .collect()
}

/// Inserts the documents into a new collection, and runs a watch of it to its end.
#[track_caller]
fn printed(name: &str, inserted: Vec<Vec<u8>>) -> Finished {
    let scenario = Scenario::new(name);
    let reference = Reference::open(scenario.coll("c").watch());
    for document in inserted {
        insert(&scenario, document);
    }
    let cswatch = scenario.catch_up(&reference, ["--coll", "c"]);
    cswatch.run().expect_code(0)
}

/// Parses a line with any depth of nesting.
#[track_caller]
fn parsed(line: &str) -> Value {
    let mut parser = serde_json::Deserializer::from_str(line);
    parser.disable_recursion_limit();
    let event = Value::deserialize(&mut parser).and_then(|event| parser.end().map(|()| event));
    event.unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
}

/// Fails unless the only warning is about invalid UTF-8, and it is logged once.
#[track_caller]
fn expect_one_warning(run: &Finished) {
    let lines = run.stderr.lines();
    let warnings: Vec<_> = lines.filter(|line| line.contains("warning")).collect();
    let expected =
        "cswatch: warning: invalid UTF-8 in an event is printed as U+FFFD (reported once)";
    assert!(
        warnings.len() == 1 && warnings[0].ends_with(expected),
        "{}",
        run.stderr
    );
}

/// Fails unless the line is JSON and ends with exactly this document and this `_id`. Compares text, because a parser keeps only one of
/// several equal keys.
#[track_caller]
fn assert_event(scenario: &Scenario, line: &str, document: &str, id: &str) {
    assert_eq!(parsed(line)["operationType"], "insert");
    let end = format!(
        r#","fullDocument":{document},"ns":{{"db":"{}","coll":"c"}},"documentKey":{{"_id":{id}}}}}"#,
        scenario.db().name()
    );
    assert!(line.ends_with(&end), "{line}\ndoes not end with\n{end}");
}

/// Returns elements that only raw BSON can hold, with their Extended JSON.
fn unusual_elements() -> Vec<(Vec<u8>, &'static str)> {
    use ElementType::*;
    let nested = |elements: &[Vec<u8>]| element(EmbeddedDocument, b"x", document(elements));
    let two = |key: &[u8]| {
        [
            element(Int32, key, i32::to_le_bytes(1)),
            element(String, key, string(b"2")),
        ]
    };
    vec![
        (
            element(String, b"x", string(b"a\xffb")),
            "\"x\":\"a\u{fffd}b\"",
        ),
        (element(Boolean, b"k\xffy", [1]), "\"k\u{fffd}y\":true"),
        (
            element(RegularExpression, b"x", b"a\xffb\0i\0"),
            "\"x\":{\"$regularExpression\":{\"pattern\":\"a\u{fffd}b\",\"options\":\"i\"}}",
        ),
        // An unpaired surrogate, encoded as if it were a character.
        (
            element(String, b"x", string(b"a\xed\xa0\x80b")),
            "\"x\":\"a\u{fffd}\u{fffd}\u{fffd}b\"",
        ),
        (element(String, b"x", string(b"a\0b")), r#""x":"a\u0000b""#),
        (two(b"x").concat(), r#""x":{"$numberInt":"1"},"x":"2""#),
        (
            nested(&two(b"y")),
            r#""x":{"y":{"$numberInt":"1"},"y":"2"}"#,
        ),
        (
            element(Int32, b"a.b", i32::to_le_bytes(5)),
            r#""a.b":{"$numberInt":"5"}"#,
        ),
        (
            element(Int32, b"$x", i32::to_le_bytes(5)),
            r#""$x":{"$numberInt":"5"}"#,
        ),
        (
            nested(&[
                element(Int32, b"$x", i32::to_le_bytes(5)),
                element(Boolean, b".", [0]),
            ]),
            r#""x":{"$x":{"$numberInt":"5"},".":false}"#,
        ),
        (
            element(Int32, b"", i32::to_le_bytes(5)),
            r#""":{"$numberInt":"5"}"#,
        ),
        (
            nested(&[element(String, b"$oid", string(b"zz"))]),
            r#""x":{"$oid":"zz"}"#,
        ),
        (
            nested(&[element(String, b"$numberInt", string(b"5"))]),
            r#""x":{"$numberInt":"5"}"#,
        ),
        (
            element(Double, b"x", (-f64::NAN).to_le_bytes()),
            r#""x":{"$numberDouble":"NaN"}"#,
        ),
        (
            element(Double, b"x", 5e-324_f64.to_le_bytes()),
            r#""x":{"$numberDouble":"5E-324"}"#,
        ),
        // The old binary subtype, whose data should start with a second length.
        (
            element(Binary, b"x", binary(2, b"\x09\0\0\0a")),
            r#""x":{"$binary":{"base64":"CQAAAGE=","subType":"02"}}"#,
        ),
        (
            element(Binary, b"x", binary(2, b"\x09")),
            r#""x":{"$binary":{"base64":"CQ==","subType":"02"}}"#,
        ),
    ]
}

/// Returns values of `_id` that only raw BSON can hold, with their Extended JSON.
fn unusual_ids() -> Vec<(Vec<u8>, &'static str)> {
    use ElementType::*;
    let id = |kind, value: Vec<u8>| element(kind, "_id", value);
    let two = [
        element(Int32, b"y", i32::to_le_bytes(1)),
        element(Int32, b"y", i32::to_le_bytes(2)),
    ];
    vec![
        (id(String, string(b"\xff")), "\"\u{fffd}\""),
        (id(String, string(b"a\xffb")), "\"a\u{fffd}b\""),
        (
            id(String, string(b"a\xed\xa0\x80b")),
            "\"a\u{fffd}\u{fffd}\u{fffd}b\"",
        ),
        (id(String, string(b"a\0b")), r#""a\u0000b""#),
        (
            id(
                EmbeddedDocument,
                document([element(RegularExpression, b"k\xff", b"a\xff\0i\0")]),
            ),
            "{\"k\u{fffd}\":{\"$regularExpression\":{\"pattern\":\"a\u{fffd}\",\"options\":\"i\"}}}",
        ),
        (
            id(EmbeddedDocument, document(two)),
            r#"{"y":{"$numberInt":"1"},"y":{"$numberInt":"2"}}"#,
        ),
        (
            id(
                EmbeddedDocument,
                document([
                    element(Int32, b"", i32::to_le_bytes(1)),
                    element(Int32, b"a.b", i32::to_le_bytes(2)),
                ]),
            ),
            r#"{"":{"$numberInt":"1"},"a.b":{"$numberInt":"2"}}"#,
        ),
        (
            id(Double, (-f64::NAN).to_le_bytes().to_vec()),
            r#"{"$numberDouble":"NaN"}"#,
        ),
        (
            id(Double, 5e-324_f64.to_le_bytes().to_vec()),
            r#"{"$numberDouble":"5E-324"}"#,
        ),
        (
            id(Binary, binary(2, b"\x09\0\0\0a")),
            r#"{"$binary":{"base64":"CQAAAGE=","subType":"02"}}"#,
        ),
    ]
}

#[test]
fn prints_every_type_in_canonical_form() {
    use ElementType::*;
    let oid = [
        0x65, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 0x18, 0x29, 0x3a, 0x4b,
    ];
    let regular_expression =
        |pattern: &[u8], options: &[u8]| [pattern, &[0], options, &[0]].concat();
    let timestamp = |t: u32, i: u32| [i.to_le_bytes(), t.to_le_bytes()].concat();
    let with_scope = |code: &str, scope: Vec<u8>| {
        let code = string(code);
        let length = i32::try_from(4 + code.len() + scope.len()).expect("a short code");
        [&length.to_le_bytes()[..], &code, &scope].concat()
    };
    let double = |value: f64| value.to_le_bytes().to_vec();
    let date = |millis: i64| millis.to_le_bytes().to_vec();
    let decimal = |high: u64, low: u64| [low.to_le_bytes(), high.to_le_bytes()].concat();
    let values: Vec<(ElementType, Vec<u8>, &str)> = vec![
        (Double, double(1.5), r#"{"$numberDouble":"1.5"}"#),
        (Double, double(3.0), r#"{"$numberDouble":"3.0"}"#),
        (Double, double(-0.0), r#"{"$numberDouble":"-0.0"}"#),
        (
            Double,
            double(0.1 + 0.2),
            r#"{"$numberDouble":"0.30000000000000004"}"#,
        ),
        (Double, double(1e300), r#"{"$numberDouble":"1E+300"}"#),
        (
            Double,
            double(f64::MAX),
            r#"{"$numberDouble":"1.7976931348623157E+308"}"#,
        ),
        (Double, double(5e-324), r#"{"$numberDouble":"5E-324"}"#),
        (
            Double,
            double(f64::INFINITY),
            r#"{"$numberDouble":"Infinity"}"#,
        ),
        (
            Double,
            double(f64::NEG_INFINITY),
            r#"{"$numberDouble":"-Infinity"}"#,
        ),
        (Double, double(f64::NAN), r#"{"$numberDouble":"NaN"}"#),
        (Double, double(-f64::NAN), r#"{"$numberDouble":"NaN"}"#),
        (String, string(""), r#""""#),
        (String, string("text"), r#""text""#),
        (
            String,
            string("\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\"\\/\u{7f}\u{2028}é𝄞"),
            "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\\\"\\\\/\\u007f\\u2028é𝄞\"",
        ),
        (EmbeddedDocument, document([]), "{}"),
        (
            EmbeddedDocument,
            document([element(Null, "z", []), element(Null, "a", [])]),
            r#"{"z":null,"a":null}"#,
        ),
        (
            EmbeddedDocument,
            document([element(Int32, "n", 1_i32.to_le_bytes())]),
            r#"{"n":{"$numberInt":"1"}}"#,
        ),
        (Array, document([]), "[]"),
        (
            Array,
            document([element(Null, "0", []), element(Boolean, "1", [1])]),
            "[null,true]",
        ),
        (
            Array,
            document([
                element(Boolean, "0", [1]),
                element(Array, "1", document([])),
            ]),
            "[true,[]]",
        ),
        (
            Binary,
            binary(0, b""),
            r#"{"$binary":{"base64":"","subType":"00"}}"#,
        ),
        (
            Binary,
            binary(0, b"\xff\xfe"),
            r#"{"$binary":{"base64":"//4=","subType":"00"}}"#,
        ),
        // The old subtype has a second length, which is not part of the data.
        (
            Binary,
            binary(2, b"\x02\0\0\0ab"),
            r#"{"$binary":{"base64":"YWI=","subType":"02"}}"#,
        ),
        // A wrong second length.
        (
            Binary,
            binary(2, b"\x07\0\0\0ab"),
            r#"{"$binary":{"base64":"BwAAAGFi","subType":"02"}}"#,
        ),
        (
            Binary,
            binary(4, &[0; 16]),
            r#"{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAAAA==","subType":"04"}}"#,
        ),
        (
            Binary,
            binary(0x80, b"abc"),
            r#"{"$binary":{"base64":"YWJj","subType":"80"}}"#,
        ),
        (
            Binary,
            binary(0, &[0, 255]),
            r#"{"$binary":{"base64":"AP8=","subType":"00"}}"#,
        ),
        (Undefined, vec![], r#"{"$undefined":true}"#),
        (
            ObjectId,
            oid.to_vec(),
            r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#,
        ),
        (Boolean, vec![0], "false"),
        (DateTime, date(0), r#"{"$date":{"$numberLong":"0"}}"#),
        (DateTime, date(-1), r#"{"$date":{"$numberLong":"-1"}}"#),
        (
            DateTime,
            date(i64::MIN),
            r#"{"$date":{"$numberLong":"-9223372036854775808"}}"#,
        ),
        (
            DateTime,
            date(i64::MAX),
            r#"{"$date":{"$numberLong":"9223372036854775807"}}"#,
        ),
        (Null, vec![], "null"),
        (
            RegularExpression,
            regular_expression(b"^a/\"\\d", b"xi"),
            r#"{"$regularExpression":{"pattern":"^a/\"\\d","options":"ix"}}"#,
        ),
        (
            DbPointer,
            [string("db.c"), oid.to_vec()].concat(),
            r#"{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"65a1b2c3d4e5f60718293a4b"}}}"#,
        ),
        (JavaScriptCode, string("f()"), r#"{"$code":"f()"}"#),
        (Symbol, string("s"), r#"{"$symbol":"s"}"#),
        (
            JavaScriptCodeWithScope,
            with_scope("f(x)", document([element(Int32, "x", 1_i32.to_le_bytes())])),
            r#"{"$code":"f(x)","$scope":{"x":{"$numberInt":"1"}}}"#,
        ),
        (
            Int32,
            i32::MIN.to_le_bytes().to_vec(),
            r#"{"$numberInt":"-2147483648"}"#,
        ),
        (
            Timestamp,
            timestamp(u32::MAX, u32::MAX),
            r#"{"$timestamp":{"t":4294967295,"i":4294967295}}"#,
        ),
        (
            Timestamp,
            timestamp(u32::MAX, u32::MAX - 1),
            r#"{"$timestamp":{"t":4294967295,"i":4294967294}}"#,
        ),
        (
            Int64,
            i64::MAX.to_le_bytes().to_vec(),
            r#"{"$numberLong":"9223372036854775807"}"#,
        ),
        (
            Int64,
            i64::MIN.to_le_bytes().to_vec(),
            r#"{"$numberLong":"-9223372036854775808"}"#,
        ),
        (
            Int64,
            5_i64.to_le_bytes().to_vec(),
            r#"{"$numberLong":"5"}"#,
        ),
        (
            Decimal128,
            decimal(0x303c << 48, 110),
            r#"{"$numberDecimal":"1.10"}"#,
        ),
        (
            Decimal128,
            decimal(0x3046 << 48, 1),
            r#"{"$numberDecimal":"1E+3"}"#,
        ),
        (
            Decimal128,
            decimal(0xfc00 << 48, 0),
            r#"{"$numberDecimal":"NaN"}"#,
        ),
        (
            Decimal128,
            decimal(0xf800 << 48, 0),
            r#"{"$numberDecimal":"-Infinity"}"#,
        ),
        (
            Decimal128,
            decimal(0x303c << 48, 250),
            r#"{"$numberDecimal":"2.50"}"#,
        ),
        (MinKey, vec![], r#"{"$minKey":1}"#),
        (MaxKey, vec![], r#"{"$maxKey":1}"#),
    ];
    let mut elements = vec![id(1)];
    let mut expected = r#"{"_id":{"$numberInt":"1"}"#.to_owned();
    for (number, (kind, value, text)) in values.into_iter().enumerate() {
        let key = format!("v{number}");
        expected += &format!(r#","{key}":{text}"#);
        elements.push(element(kind, key, value));
    }
    expected += "}";
    let finished = printed("content_types", vec![document(elements)]);
    assert_eq!(documents(&finished), [expected]);
}

#[test]
fn prints_keys_and_duplicate_keys_in_the_order_of_the_document() {
    use ElementType::*;
    let int = |key: &str, value: i32| element(Int32, key, value.to_le_bytes());
    let duplicates = document([
        int("z", 1),
        int("a", 2),
        int("z", 3),
        element(
            EmbeddedDocument,
            "sub",
            document([int("k", 4), int("k", 4), int("j", 5)]),
        ),
        int("a", 6),
    ]);
    let odd = document([
        int("", 1),
        int("a.b", 2),
        int("$x", 3),
        int("10", 4),
        int("2", 5),
        int("\"\\\n\u{1}", 6),
        int("naïve ☃", 7),
    ]);
    let inserted = document([
        id(1),
        element(EmbeddedDocument, "duplicates", duplicates),
        element(EmbeddedDocument, "odd", odd),
        int("twice", 1),
        int("twice", 2),
    ]);
    let finished = printed("content_keys", vec![inserted]);
    let expected = concat!(
        r#"{"_id":{"$numberInt":"1"},"duplicates":{"z":{"$numberInt":"1"},"a":{"$numberInt":"2"},"#,
        r#""z":{"$numberInt":"3"},"sub":{"k":{"$numberInt":"4"},"k":{"$numberInt":"4"},"#,
        r#""j":{"$numberInt":"5"}},"a":{"$numberInt":"6"}},"odd":{"":{"$numberInt":"1"},"#,
        r#""a.b":{"$numberInt":"2"},"$x":{"$numberInt":"3"},"10":{"$numberInt":"4"},"#,
        r#""2":{"$numberInt":"5"},"\"\\\n\u0001":{"$numberInt":"6"},"naïve ☃":{"$numberInt":"7"}},"#,
        r#""twice":{"$numberInt":"1"},"twice":{"$numberInt":"2"}}"#,
    );
    assert_eq!(documents(&finished), [expected]);
}

#[test]
fn prints_fields_that_look_like_extended_json_unchanged() {
    use ElementType::*;
    let looks = |key: &str, kind, value: Vec<u8>| document([element(kind, key, value)]);
    let fields = [
        ("int", looks("$numberInt", String, string("5"))),
        ("bad int", looks("$numberInt", String, string("zz"))),
        (
            "oid",
            looks("$oid", String, string("65a1b2c3d4e5f60718293a4b")),
        ),
        ("bad oid", looks("$oid", String, string("zz"))),
        (
            "date",
            looks("$date", String, string("2026-01-31T12:00:00Z")),
        ),
        ("uuid", looks("$uuid", String, string("zz"))),
        ("undefined", looks("$undefined", Boolean, vec![1])),
        ("minKey", looks("$minKey", Int32, vec![1, 0, 0, 0])),
    ];
    let mut elements = vec![id(1)];
    elements.extend(fields.map(|(key, value)| element(EmbeddedDocument, key, value)));
    let finished = printed("content_lookalikes", vec![document(elements)]);
    let expected = concat!(
        r#"{"_id":{"$numberInt":"1"},"int":{"$numberInt":"5"},"bad int":{"$numberInt":"zz"},"#,
        r#""oid":{"$oid":"65a1b2c3d4e5f60718293a4b"},"bad oid":{"$oid":"zz"},"#,
        r#""date":{"$date":"2026-01-31T12:00:00Z"},"uuid":{"$uuid":"zz"},"#,
        r#""undefined":{"$undefined":true},"minKey":{"$minKey":{"$numberInt":"1"}}}"#,
    );
    assert_eq!(documents(&finished), [expected]);
}

#[test]
fn replaces_invalid_utf_8_with_one_warning_and_skips_no_event() {
    use ElementType::*;
    let bad = b"a\xff\xe2\x98b";
    let regular_expression = [&bad[..], b"\0i\0"].concat();
    let inserted = |number: i32| {
        document([
            id(number),
            element(String, "value", string(bad)),
            element(Null, bad, []),
            element(RegularExpression, "regex", &regular_expression),
            element(JavaScriptCode, "code", string(bad)),
            element(Symbol, "symbol", string(bad)),
            element(String, "surrogate", string(b"\xed\xa0\x80")),
            element(String, "good", string("☃")),
        ])
    };
    let finished = printed("content_utf_8", vec![inserted(1), inserted(2)]);
    let expected = |number: i32| {
        let text = "\"a\u{fffd}\u{fffd}b\"";
        format!(
            concat!(
                r#"{{"_id":{{"$numberInt":"{number}"}},"value":{text},{text}:null,"#,
                r#""regex":{{"$regularExpression":{{"pattern":{text},"options":"i"}}}},"#,
                r#""code":{{"$code":{text}}},"symbol":{{"$symbol":{text}}},"#,
                "\"surrogate\":\"\u{fffd}\u{fffd}\u{fffd}\",\"good\":\"☃\"}}",
            ),
            number = number,
            text = text,
        )
    };
    assert_eq!(documents(&finished), [expected(1), expected(2)]);
    expect_one_warning(&finished);
}

#[test]
fn prints_unusual_content_as_one_valid_line_each() {
    let scenario = Scenario::new("content_odd");
    scenario.remaining();
    let elements = unusual_elements();
    for (number, (element, _)) in (0..).zip(&elements) {
        insert(&scenario, document([id(number), element.clone()]));
    }
    let run = scenario.watch(&["--until", "now"]).run().expect_code(0);
    assert_eq!(run.stdout.len(), elements.len());
    for (id, (line, (_, shown))) in run.stdout.iter().zip(&elements).enumerate() {
        let id = format!(r#"{{"$numberInt":"{id}"}}"#);
        assert_event(&scenario, line, &format!(r#"{{"_id":{id},{shown}}}"#), &id);
    }
    expect_one_warning(&run);
}

#[test]
fn resumes_after_each_unusual_id() {
    let scenario = Scenario::new("content_ids");
    scenario.remaining();
    let ids = unusual_ids();
    for (id, _) in &ids {
        insert(&scenario, document([id.clone()]));
    }
    for (_, shown) in &ids {
        let run = scenario.watch(&["--count", "1"]).run().expect_code(0);
        let document = format!(r#"{{"_id":{shown}}}"#);
        assert_event(&scenario, &run.stdout[0], &document, shown);
        assert_eq!(saved_token(&scenario.resume_file()), token(&run.stdout[0]));
    }
    assert_eq!(scenario.remaining(), [""; 0]);
}

#[test]
fn prints_nesting_as_deep_as_the_server_allows() {
    /// Levels below the root. Measured on MongoDB 6.0.27: the server refuses 181.
    const LEVELS: usize = 180;
    for kind in [ElementType::EmbeddedDocument, ElementType::Array] {
        let key = if kind == ElementType::Array { "0" } else { "n" };
        let mut inserted = document([]);
        for _ in 1..LEVELS {
            inserted = document([element(kind, key, inserted)]);
        }
        let inserted = document([id(1), element(kind, "n", inserted)]);
        let finished = printed("content_nesting", vec![inserted]);
        let nested = match kind {
            ElementType::Array => "[".repeat(LEVELS) + &"]".repeat(LEVELS),
            _ => "{\"n\":".repeat(LEVELS - 1) + "{}" + &"}".repeat(LEVELS - 1),
        };
        let expected = format!(r#"{{"_id":{{"$numberInt":"1"}},"n":{nested}}}"#);
        assert_eq!(documents(&finished), [expected]);
    }
}
