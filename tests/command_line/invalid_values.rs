//! Values that are neither mongosh syntax nor Extended JSON: exit code 2, the place with a caret, a hint.

use std::fs;

use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::guard;

/// Returns the lines that `cswatch` prints for these arguments, without their times. Fails unless it refuses them without connecting.
#[track_caller]
fn refused(arguments: &[&str]) -> Vec<String> {
    let finished = Cswatch::new()
        .args(arguments)
        .run_unconnected()
        .expect_code(2);
    assert_eq!(finished.stdout, [""; 0]);
    let lines = finished.stderr.lines();
    let texts = lines.map(|line| line.split_once(" cswatch: ").expect(line).1.to_owned());
    texts.collect()
}

/// Fails unless `cswatch` refuses these arguments with this message, this line of the value, and a caret below this column.
#[track_caller]
fn expect_refused(arguments: &[&str], message: &str, line: &str, column: usize, hint: &str) {
    let caret = " ".repeat(column - 1) + "^";
    assert_eq!(
        refused(arguments),
        [
            format!("error: {message}"),
            format!("    {line}"),
            format!("    {caret}"),
            format!("hint: {hint}"),
        ]
    );
}

/// Hint about quotes, and the default.
const QUOTES: &str =
    r#"put the whole value in single quotes, as in '{status: "paid", total: {$gt: 100}}'"#;

/// Hint about a type wrapper of Extended JSON.
const TYPES: &str = "see https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ \
                     for the form of each type";

#[test]
fn shows_the_place_of_a_syntax_error_in_each_flag() {
    for (arguments, message, line, column, hint) in [
        (
            ["--match", "{a 1}"],
            r#"--match: expected ':' after the key "a", found "1" at line 1, column 4"#,
            "{a 1}",
            4,
            QUOTES,
        ),
        (
            ["--match", r#"{"a":1"#],
            "--match: expected ',' or '}', found the end of the text at line 1, column 7",
            r#"{"a":1"#,
            7,
            QUOTES,
        ),
        (
            ["--match", "{\"a\":1,\n \"b\":\n\t[1,}"],
            r#"--match: expected a value, found "}" at line 3, column 5"#,
            " [1,}",
            5,
            QUOTES,
        ),
        (
            ["--match", ""],
            "--match: expected a value, found the end of the text at line 1, column 1",
            "",
            1,
            QUOTES,
        ),
        (
            ["--id", "abc"],
            r#"--id: unknown word "abc" at line 1, column 1"#,
            "abc",
            1,
            r#"put text in double quotes inside single quotes: '"abc"'"#,
        ),
        (
            ["--pipeline", r#"[{"$match":{}}"#],
            "--pipeline: expected ',' or ']', found the end of the text at line 1, column 15",
            r#"[{"$match":{}}"#,
            15,
            QUOTES,
        ),
        (
            ["--start", "Timestamp(5)"],
            "--start: invalid argument of Timestamp at line 1, column 1",
            "Timestamp(5)",
            1,
            "write Timestamp(1769860800, 1) or Timestamp({t: 1769860800, i: 1}), seconds since 1970 and a counter",
        ),
        (
            ["--until", "{t 5}"],
            r#"--until: expected ':' after the key "t", found "5" at line 1, column 4"#,
            "{t 5}",
            4,
            QUOTES,
        ),
        (
            ["--start-after", "{_data: x}"],
            r#"--start-after: unknown word "x" at line 1, column 9"#,
            "{_data: x}",
            9,
            r#"put text in double quotes: "x""#,
        ),
    ] {
        expect_refused(&arguments, message, line, column, hint);
    }
}

#[test]
fn shows_the_place_of_an_invalid_type_wrapper() {
    for (arguments, message, line, column) in [
        (
            ["--match", r#"{"a":{"$oid":"65a"}}"#],
            "--match: not Extended JSON: invalid hex string length 3 at line 1, column 6",
            r#"{"a":{"$oid":"65a"}}"#,
            6,
        ),
        (
            ["--id", r#"{"$numberInt":"99999999999"}"#],
            r#"--id: not Extended JSON: invalid value: string "99999999999", expected i32 as a string at line 1, column 1"#,
            r#"{"$numberInt":"99999999999"}"#,
            1,
        ),
        (
            [
                "--pipeline",
                r#"[{"$match":{}},{"$match":{"a":{"$oid":"zz"}}}]"#,
            ],
            "--pipeline: not Extended JSON: invalid character 'z' encountered at index 0 at line 1, column 31",
            r#"[{"$match":{}},{"$match":{"a":{"$oid":"zz"}}}]"#,
            31,
        ),
        (
            ["--start", r#"{"$timestamp":{"t":1}}"#],
            "--start: not Extended JSON: missing field `i` at line 1, column 1",
            r#"{"$timestamp":{"t":1}}"#,
            1,
        ),
    ] {
        expect_refused(&arguments, message, line, column, TYPES);
    }
}

#[test]
fn refuses_a_duplicate_key_instead_of_dropping_one() {
    let hint = "remove one of them, or combine the conditions with $and";
    for (flag, text, column, first) in [
        ("--match", r#"{"a":{"$gt":1},"a":{"$lt":9}}"#, 16, 2),
        ("--match", "{a: {$gt: 1, $lt: 9, '$gt': 5}}", 22, 6),
        ("--id", r#"{"a":1,"b":2,"\u0061":1}"#, 14, 2),
        ("--pipeline", "[{$set: {x: 1, x: 2}}]", 16, 10),
    ] {
        let message = format!("{flag}: duplicate key ");
        let lines = refused(&[flag, text]);
        assert!(
            lines[0].starts_with(&format!("error: {message}")),
            "{lines:?}"
        );
        let places = format!(" at line 1, column {column}; the first is at line 1, column {first}");
        assert!(lines[0].ends_with(&places), "{lines:?}");
        let caret = " ".repeat(4 + column - 1) + "^";
        assert_eq!(
            lines[1..],
            [format!("    {text}"), caret, format!("hint: {hint}")]
        );
    }
}

#[test]
fn names_the_file_and_the_place_of_an_invalid_pipeline() {
    let folder = guard::temp_dir("pipelines-");
    let file = folder.path().join("stages.json").display().to_string();
    fs::write(&file, "[\n  // paid\n  {$match: {}},\n  {$set: {a: }}\n]\n")
        .expect("a file can be written");
    expect_refused(
        &["--pipeline", &format!("@{file}")],
        &format!("--pipeline @{file}: expected a value, found \"}}\" at line 4, column 14"),
        "  {$set: {a: }}",
        14,
        QUOTES,
    );
}

#[test]
fn shows_no_control_characters_of_a_value() {
    let lines = refused(&[
        "--match",
        "{\"a\u{1b}[31m\u{202e}\": \u{9b}\ncswatch: error: forged}",
    ]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    let is_plain = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(
        lines.iter().all(|line| line.chars().all(is_plain)),
        "{lines:?}"
    );
}

#[test]
fn reports_the_place_in_fields_of_a_json_message() {
    let arguments = ["--log-format", "json", "--match", "{a 1}"];
    let finished = Cswatch::new()
        .args(arguments)
        .run_unconnected()
        .expect_code(2);
    let message: Value = serde_json::from_str(finished.stderr.trim_end()).expect("one JSON object");
    assert_eq!(message["excerpt"], "{a 1}");
    assert_eq!(message["caret"], "   ^");
    assert_eq!(message["hint"], QUOTES);
    assert_eq!(message["level"], "ERROR");
    // Other failures have no such fields.
    let arguments = ["--log-format", "json", "--match", "[1]"];
    let finished = Cswatch::new()
        .args(arguments)
        .run_unconnected()
        .expect_code(2);
    let message: Value = serde_json::from_str(finished.stderr.trim_end()).expect("one JSON object");
    assert_eq!(message.get("excerpt"), None);
}
