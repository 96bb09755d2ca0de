//! Content that only raw BSON can hold, tokens that are more than their digits, and a transaction larger than a pipe: one valid line
//! each, none skipped, and a restart goes on behind each.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mongodb::bson::raw::{RawArrayBuf, RawDocumentBuf};
use mongodb::bson::{Bson, doc, rawdoc};
use serde::Deserialize;
use serde_json::Value;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, inserts, saved_token, token};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Levels of documents below the root: one more is refused (code 15, measured on MongoDB 6.0.27).
const LEVELS: usize = 180;

/// One element of a document: type, key, value, as <https://bsonspec.org/spec.html> has them.
fn element(tag: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[tag], key, &[0], value].concat()
}

/// A document of these elements, whatever they hold.
fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let elements = elements.concat();
    [&length(elements.len() + 5), &elements[..], &[0]].concat()
}

/// A string, of any bytes.
fn string(text: &[u8]) -> Vec<u8> {
    [&length(text.len() + 1), text, &[0]].concat()
}

fn binary(subtype: u8, data: &[u8]) -> Vec<u8> {
    [&length(data.len()), &[subtype][..], data].concat()
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("a short text").to_le_bytes()
}

fn int32(value: i32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn file(scenario: &Scenario) -> PathBuf {
    scenario.path("position.json")
}

/// Watches collection `c`; every watch of a scenario has the same position file.
fn watch(scenario: &Scenario, options: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([file(scenario)])
        .args(options)
}

/// Inserts a document byte for byte: the driver's own insert would read it.
#[track_caller]
fn insert_raw(scenario: &Scenario, bytes: Vec<u8>) {
    let mut documents = RawArrayBuf::new();
    documents.push(RawDocumentBuf::from_bytes(bytes).expect("a document by its length"));
    let insert = rawdoc! { "insert": "c", "documents": documents };
    let reply = block_on(scenario.db().run_raw_command(insert)).expect("an insert");
    assert_eq!(reply.get("n"), Some(&Bson::Int32(1)), "{reply}");
}

/// Fails unless the line is JSON however deep, and ends with this document and this `_id`, to the letter: parsers see one of several
/// equal keys.
#[track_caller]
fn assert_event(scenario: &Scenario, line: &str, document: &str, id: &str) {
    let mut parser = serde_json::Deserializer::from_str(line);
    parser.disable_recursion_limit();
    let event = Value::deserialize(&mut parser).and_then(|event| parser.end().map(|()| event));
    match event {
        Ok(event) => assert_eq!(event["operationType"], "insert"),
        Err(error) => panic!("no JSON ({error}): {line}"),
    }
    let end = format!(
        r#","fullDocument":{document},"ns":{{"db":"{}","coll":"c"}},"documentKey":{{"_id":{id}}}}}"#,
        scenario.db().name()
    );
    assert!(line.ends_with(&end), "{line}\ndoes not end with\n{end}");
}

/// Values of all types, with what they are in Extended JSON.
fn types() -> Vec<(u8, Vec<u8>, &'static str)> {
    let oid = [
        0x5a, 0x93, 0xfc, 0x9c, 0x2e, 0xe7, 0x77, 0x2e, 0x90, 0x0b, 0x0d, 0xaf,
    ];
    let scope = document(&[element(0x10, b"n", &int32(1))]);
    let code = string(b"f()");
    let with_scope = [&length(4 + code.len() + scope.len())[..], &code, &scope].concat();
    vec![
        (
            0x01,
            1.5_f64.to_le_bytes().to_vec(),
            r#"{"$numberDouble":"1.5"}"#,
        ),
        (0x02, string(b"text"), r#""text""#),
        (0x03, scope, r#"{"n":{"$numberInt":"1"}}"#),
        (
            0x04,
            document(&[element(0x0a, b"0", b""), element(0x08, b"1", &[1])]),
            "[null,true]",
        ),
        (
            0x05,
            binary(0, &[0, 255]),
            r#"{"$binary":{"base64":"AP8=","subType":"00"}}"#,
        ),
        (0x06, Vec::new(), r#"{"$undefined":true}"#),
        (0x07, oid.to_vec(), r#"{"$oid":"5a93fc9c2ee7772e900b0daf"}"#),
        (0x08, vec![0], "false"),
        (
            0x09,
            (-1_i64).to_le_bytes().to_vec(),
            r#"{"$date":{"$numberLong":"-1"}}"#,
        ),
        (0x0a, Vec::new(), "null"),
        (
            0x0b,
            b"^a\0xi\0".to_vec(),
            r#"{"$regularExpression":{"pattern":"^a","options":"ix"}}"#,
        ),
        (
            0x0c,
            [string(b"db.c"), oid.to_vec()].concat(),
            r#"{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"5a93fc9c2ee7772e900b0daf"}}}"#,
        ),
        (0x0d, code, r#"{"$code":"f()"}"#),
        (0x0e, string(b"s"), r#"{"$symbol":"s"}"#),
        (
            0x0f,
            with_scope,
            r#"{"$code":"f()","$scope":{"n":{"$numberInt":"1"}}}"#,
        ),
        (0x10, int32(i32::MIN), r#"{"$numberInt":"-2147483648"}"#),
        (
            0x11,
            [[0xfe, 0xff, 0xff, 0xff], [0xff; 4]].concat(),
            r#"{"$timestamp":{"t":4294967295,"i":4294967294}}"#,
        ),
        (
            0x12,
            i64::MAX.to_le_bytes().to_vec(),
            r#"{"$numberLong":"9223372036854775807"}"#,
        ),
        (0x13, decimal("2.50"), r#"{"$numberDecimal":"2.50"}"#),
        (0xff, Vec::new(), r#"{"$minKey":1}"#),
        (0x7f, Vec::new(), r#"{"$maxKey":1}"#),
    ]
}

fn decimal(text: &str) -> Vec<u8> {
    let decimal: mongodb::bson::Decimal128 = text.parse().expect("a decimal");
    decimal.bytes().to_vec()
}

/// Elements that only raw BSON can hold, with what they are in Extended JSON.
fn odd_elements() -> Vec<(Vec<u8>, String)> {
    let nested = |elements: &[Vec<u8>]| element(0x03, b"x", &document(elements));
    let two = |key: &[u8]| {
        [
            element(0x10, key, &int32(1)),
            element(0x02, key, &string(b"2")),
        ]
    };
    let of_text = [
        (
            element(0x02, b"x", &string(b"a\xffb")),
            "\"x\":\"a\u{fffd}b\"",
        ),
        (element(0x08, b"k\xffy", &[1]), "\"k\u{fffd}y\":true"),
        (
            element(0x0b, b"x", b"a\xffb\0i\0"),
            "\"x\":{\"$regularExpression\":{\"pattern\":\"a\u{fffd}b\",\"options\":\"i\"}}",
        ),
        // A lone surrogate, as UTF-8 would spell it.
        (
            element(0x02, b"x", &string(b"a\xed\xa0\x80b")),
            "\"x\":\"a\u{fffd}\u{fffd}\u{fffd}b\"",
        ),
        (element(0x02, b"x", &string(b"a\0b")), r#""x":"a\u0000b""#),
        (two(b"x").concat(), r#""x":{"$numberInt":"1"},"x":"2""#),
        (
            nested(&two(b"y")),
            r#""x":{"y":{"$numberInt":"1"},"y":"2"}"#,
        ),
        (
            element(0x10, b"a.b", &int32(5)),
            r#""a.b":{"$numberInt":"5"}"#,
        ),
        (
            element(0x10, b"$x", &int32(5)),
            r#""$x":{"$numberInt":"5"}"#,
        ),
        (
            nested(&[element(0x10, b"$x", &int32(5)), element(0x08, b".", &[0])]),
            r#""x":{"$x":{"$numberInt":"5"},".":false}"#,
        ),
        (element(0x10, b"", &int32(5)), r#""":{"$numberInt":"5"}"#),
        (
            nested(&[element(0x02, b"$oid", &string(b"zz"))]),
            r#""x":{"$oid":"zz"}"#,
        ),
        (
            nested(&[element(0x02, b"$numberInt", &string(b"5"))]),
            r#""x":{"$numberInt":"5"}"#,
        ),
        (
            element(0x01, b"x", &(-f64::NAN).to_le_bytes()),
            r#""x":{"$numberDouble":"NaN"}"#,
        ),
        (
            element(0x01, b"x", &5e-324_f64.to_le_bytes()),
            r#""x":{"$numberDouble":"5E-324"}"#,
        ),
        // The old binary type, whose data would begin with a length of its own.
        (
            element(0x05, b"x", &binary(2, b"\x09\0\0\0a")),
            r#""x":{"$binary":{"base64":"CQAAAGE=","subType":"02"}}"#,
        ),
        (
            element(0x05, b"x", &binary(2, b"\x09")),
            r#""x":{"$binary":{"base64":"CQ==","subType":"02"}}"#,
        ),
    ];
    let of_types = types()
        .into_iter()
        .map(|(tag, value, shown)| (element(tag, b"x", &value), format!(r#""x":{shown}"#)));
    let deepest = (1..LEVELS).fold(document(&[]), |inner, _| {
        document(&[element(0x03, b"", &inner)])
    });
    let shown = (1..LEVELS).fold("{}".to_owned(), |inner, _| format!(r#"{{"":{inner}}}"#));
    let deepest = (element(0x03, b"x", &deepest), format!(r#""x":{shown}"#));
    let of_text = of_text
        .into_iter()
        .map(|(element, shown)| (element, shown.to_owned()));
    of_text.chain(of_types).chain([deepest]).collect()
}

/// Values of `_id` that only raw BSON can hold, with what they are in Extended JSON.
fn odd_ids() -> Vec<(Vec<u8>, &'static str)> {
    let id = |tag, value: &[u8]| element(tag, b"_id", value);
    let two = [
        element(0x10, b"y", &int32(1)),
        element(0x10, b"y", &int32(2)),
    ];
    vec![
        (id(0x02, &string(b"a\xffb")), "\"a\u{fffd}b\""),
        (
            id(0x02, &string(b"a\xed\xa0\x80b")),
            "\"a\u{fffd}\u{fffd}\u{fffd}b\"",
        ),
        (id(0x02, &string(b"a\0b")), r#""a\u0000b""#),
        (
            id(0x03, &document(&[element(0x0b, b"k\xff", b"a\xff\0i\0")])),
            "{\"k\u{fffd}\":{\"$regularExpression\":{\"pattern\":\"a\u{fffd}\",\"options\":\"i\"}}}",
        ),
        (
            id(0x03, &document(&two)),
            r#"{"y":{"$numberInt":"1"},"y":{"$numberInt":"2"}}"#,
        ),
        (
            id(
                0x03,
                &document(&[
                    element(0x10, b"", &int32(1)),
                    element(0x10, b"a.b", &int32(2)),
                ]),
            ),
            r#"{"":{"$numberInt":"1"},"a.b":{"$numberInt":"2"}}"#,
        ),
        (
            id(0x01, &(-f64::NAN).to_le_bytes()),
            r#"{"$numberDouble":"NaN"}"#,
        ),
        (
            id(0x01, &5e-324_f64.to_le_bytes()),
            r#"{"$numberDouble":"5E-324"}"#,
        ),
        (
            id(0x05, &binary(2, b"\x09\0\0\0a")),
            r#"{"$binary":{"base64":"CQAAAGE=","subType":"02"}}"#,
        ),
    ]
}

#[test]
fn f40_odd_content_is_one_valid_line_each() {
    let scenario = Scenario::new("f40");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let elements = odd_elements();
    for (id, (element_x, _)) in (0..).zip(&elements) {
        let id = element(0x10, b"_id", &int32(id));
        insert_raw(&scenario, document(&[id, element_x.clone()]));
    }
    let run = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(run.stdout.len(), elements.len());
    for (id, (line, (_, shown))) in run.stdout.iter().zip(&elements).enumerate() {
        let id = format!(r#"{{"$numberInt":"{id}"}}"#);
        assert_event(&scenario, line, &format!(r#"{{"_id":{id},{shown}}}"#), &id);
    }
    let warnings = run.stderr.lines().filter(|line| line.contains("warning"));
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{}", run.stderr);
    assert!(
        warnings[0].ends_with(
            "cswatch: warning: text that is not UTF-8 is printed with U+FFFD in its place (said once)"
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn f40_restart_goes_on_behind_each_odd_id() {
    let scenario = Scenario::new("f40_ids");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let ids = odd_ids();
    for (id, _) in &ids {
        insert_raw(&scenario, document(std::slice::from_ref(id)));
    }
    for (_, shown) in &ids {
        let run = watch(&scenario, &["--count", "1"]).run().expect_code(0);
        let document = format!(r#"{{"_id":{shown}}}"#);
        assert_event(&scenario, &run.stdout[0], &document, shown);
        assert_eq!(saved_token(&file(&scenario)), token(&run.stdout[0]));
    }
    let rest = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(rest.stdout, [""; 0]);
}

/// Such tokens have `_typeBits` beside their digits; without these a resume behind 1.5 fails with code 50810 (measured on MongoDB
/// 6.0.27).
#[test]
fn f41_restart_goes_on_behind_each_type_of_id() {
    let scenario = Scenario::new("f41");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let coll = scenario.coll("c");
    let ids = [
        Bson::Double(1.5),
        Bson::Decimal128("2.50".parse().expect("a decimal")),
        Bson::Int64(7),
        Bson::Document(doc! { "a": 1.0 }),
    ];
    let mut expected = Vec::new();
    for id in &ids {
        let key = doc! { "_id": id };
        block_on(coll.insert_one(&key)).expect("an insert");
        block_on(coll.update_one(key.clone(), doc! { "$set": { "x": 1 } })).expect("an update");
        block_on(coll.delete_one(key)).expect("a delete");
        let id = id.clone().into_canonical_extjson();
        expected.extend(["insert", "update", "delete"].map(|kind| format!("{kind} {id}")));
    }
    let mut lines = Vec::new();
    for event in &expected {
        let run = watch(&scenario, &["--count", "1"]).run().expect_code(0);
        assert_eq!(briefs(&run.stdout), [event.as_str()]);
        let token = token(&run.stdout[0]);
        assert!(token.contains("_typeBits"), "{token}");
        assert_eq!(saved_token(&file(&scenario)), token);
        lines.extend(run.stdout);
    }
    let rest = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(rest.stdout, [""; 0]);
    // The same by a token that was taken from a line.
    for from in [0, 3, 6, 9] {
        let run = scenario
            .cswatch(["--coll", "c", "--no-resume", "--until", "now"])
            .args(["--start-after", &token(&lines[from])])
            .run()
            .expect_code(0);
        assert_eq!(run.stdout, lines[from + 1..]);
    }
}

#[test]
fn f42_killed_in_the_middle_of_a_transaction_it_goes_on_inside_it() {
    const EVENTS: i32 = 1000;
    /// Lines that are read before each kill.
    const LINES: usize = 250;
    /// So much that what a pipe and the program's own buffer hold is a few lines.
    const TEXT: usize = 10 * 1024;
    /// Lines that may come twice: the position follows each quarter of a megabyte of events.
    const UNSAVED: usize = 30;
    let scenario = Scenario::new("f42");
    let coll = scenario.coll("c");
    // The collection, so that the transaction need not make it.
    block_on(coll.insert_one(doc! { "_id": -1 })).expect("an insert");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let text = "x".repeat(TEXT);
    block_on(async {
        let mut session = scenario.set().client().start_session().await?;
        session.start_transaction().await?;
        let documents = (0..EVENTS).map(|id| doc! { "_id": id, "text": &text });
        coll.insert_many(documents).session(&mut session).await?;
        session.commit_transaction().await
    })
    .expect("a transaction");

    let mut times = Vec::new();
    let mut behind = 0;
    for _ in 0..3 {
        let (reader, writer) = io::pipe().expect("a pipe");
        let running = watch(&scenario, &["--save-interval", "0"])
            .stdout(Stdout::File(File::from(OwnedFd::from(writer))))
            .spawn();
        let mut reader = BufReader::new(reader);
        let mut printed = Vec::new();
        let mut next = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("UTF-8");
            // What a kill tore off is no line.
            line.ends_with('\n').then_some(line)
        };
        printed.extend((0..LINES).map(|_| next().expect("a line")));
        // It stands in the middle of a write, at most a pipe and this reader's buffer ahead.
        running.kill();
        printed.extend(std::iter::from_fn(next));
        times.extend(printed.iter().map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            (
                event["clusterTime"].to_string(),
                event["txnNumber"].to_string(),
            )
        }));
        let printed_to = behind + printed.len();
        assert_eq!(briefs(&printed), inserts(behind..printed_to));
        let saved = saved_token(&file(&scenario));
        let saved = printed.iter().position(|line| token(line) == saved);
        let saved = saved.expect("a position in what was printed") + 1;
        assert!(
            printed.len() - saved <= UNSAVED,
            "{saved} of {}",
            printed.len()
        );
        behind += saved;
    }
    let run = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(behind..EVENTS as usize));
    // It was one transaction.
    times.dedup();
    assert_eq!(times.len(), 1, "{times:?}");
}
