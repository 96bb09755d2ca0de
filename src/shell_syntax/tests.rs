//! Errors and limits of the parser, and printed values. What mongosh sends is tested with vectors, in `tests/selection`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Binary, Bson, DateTime, JavaScriptCodeWithScope, Timestamp, doc};

use super::{MAX_DEPTH, parse, to_shell};

/// Returns the message, the excerpt and the hint for an invalid value, as lines.
#[track_caller]
fn refused(text: &str) -> String {
    let error = parse(text).expect_err(text);
    let [line, caret] = &error.excerpt;
    format!("{error}\n{line}\n{caret}\n{}", error.hint)
}

const QUOTES: &str =
    r#"put the whole value in single quotes, as in '{status: "paid", total: {$gt: 100}}'"#;

#[test]
fn shows_the_place_of_an_error_with_a_caret() {
    for (text, message, excerpt, caret) in [
        (
            "{a 1}",
            r#"expected ':' after the key "a", found "1" at line 1, column 4"#,
            "{a 1}",
            "   ^",
        ),
        (
            "{a: 1",
            "expected ',' or '}', found the end of the text at line 1, column 6",
            "{a: 1",
            "     ^",
        ),
        ("{a: 1}\n\n", "", "", ""),
        (
            "",
            "expected a value, found the end of the text at line 1, column 1",
            "",
            "^",
        ),
        (
            " \n ",
            "expected a value, found the end of the text at line 1, column 1",
            " ",
            "^",
        ),
        (
            "{: 1}",
            r#"expected a key or '}', found ":" at line 1, column 2"#,
            "{: 1}",
            " ^",
        ),
        (
            "{a: 1} {b: 2}",
            r#"expected the end of the value, found "{" at line 1, column 8"#,
            "{a: 1} {b: 2}",
            "       ^",
        ),
        (
            "{\n  a: 1,\n\tb: ]\n}",
            r#"expected a value, found "]" at line 3, column 5"#,
            " b: ]",
            "    ^",
        ),
        (
            "{é: 'ü', ö: }",
            r#"expected a value, found "}" at line 1, column 13"#,
            "{é: 'ü', ö: }",
            "            ^",
        ),
        (
            "{a: 1,, b: 2}",
            r#"expected a key or '}', found "," at line 1, column 7"#,
            "{a: 1,, b: 2}",
            "      ^",
        ),
    ] {
        if message.is_empty() {
            parse(text).expect(text);
        } else {
            assert_eq!(
                refused(text),
                format!("{message}\n{excerpt}\n{caret}\n{QUOTES}")
            );
        }
    }
}

#[test]
fn names_both_places_of_a_duplicate_key() {
    let hint = "remove one of them, or combine the conditions with $and";
    for (text, message, caret) in [
        (
            r#"{"a": 1, "a": 2}"#,
            r#"duplicate key "a" at line 1, column 10; the first is at line 1, column 2"#,
            "         ^",
        ),
        (
            r#"{a: 1, "\u0061": 1}"#,
            r#"duplicate key "a" at line 1, column 8; the first is at line 1, column 2"#,
            "       ^",
        ),
        (
            r#"[{b: {"$oid": "", $oid: ""}}]"#,
            r#"duplicate key "$oid" at line 1, column 19; the first is at line 1, column 7"#,
            "                  ^",
        ),
    ] {
        assert_eq!(refused(text), format!("{message}\n{text}\n{caret}\n{hint}"));
    }
    // On different levels, and with different letters.
    parse("{a: {a: 1}, A: [{a: 1}, {a: 1}]}").expect("distinct keys");
}

#[test]
fn suggests_what_to_write_instead() {
    for (text, hint) in [
        (
            "abc",
            r#"put text in double quotes inside single quotes: '"abc"'"#,
        ),
        ("{a: abc}", r#"put text in double quotes: "abc""#),
        (
            "{fullDocument.a: 1}",
            r#"put a key with a dot or a hyphen in quotes, as in "fullDocument.status""#,
        ),
        (
            "{a: `x`}",
            r#"put text in double or single quotes, as in "paid""#,
        ),
        (
            "{a: ObjectId()}",
            r#"write ObjectId("65a1b2c3d4e5f60718293a4b")"#,
        ),
        (
            "{a: ObjectId('65a1')}",
            r#"write ObjectId("65a1b2c3d4e5f60718293a4b")"#,
        ),
        (
            "{a: Date('2026-01-31')}",
            r#"write new Date("2026-01-31T12:00:00Z") or new Date(1769860800000)"#,
        ),
        (
            "{a: new Date('2026-01-31T12:00')}",
            r#"add Z for UTC: new Date("2026-01-31T12:00Z")"#,
        ),
        (
            "{a: NumberInt(2147483648)}",
            "write NumberInt(5), from -2147483648 to 2147483647",
        ),
        (
            "{a: /a/g}",
            "use only i, m, s and x; a filter needs no g, because it matches anywhere in the text",
        ),
        (
            "{a: 010}",
            "write a number as in 5, -1.5, 1e3 or 0x1F; put anything else in quotes",
        ),
        ("{a: 'x\n'}", "write \\n for a newline in text"),
        (
            "{\"a\\0b\": 1}",
            "BSON has no such keys; remove \\0 or \\u0000",
        ),
        ("{a: 1 /* b}", "end the comment with */"),
    ] {
        assert_eq!(parse(text).expect_err(text).hint, hint, "{text}");
    }
    let hint = parse("{a: toObjectId('x')}").expect_err("a function").hint;
    assert!(
        hint.starts_with("use one of the functions ObjectId, ISODate, Date, "),
        "{hint}"
    );
}

#[test]
fn shows_the_part_of_a_long_line_around_the_error() {
    let text = format!(
        "{{a: '{}', b: x, c: '{}'}}",
        "é".repeat(100),
        "z".repeat(100)
    );
    let expected = format!(
        "unknown word \"x\" at line 1, column 112\n...{}', b: x, c: '{}...\n{}^\nput text in double quotes: \"x\"",
        "é".repeat(34),
        "z".repeat(23),
        " ".repeat(43),
    );
    assert_eq!(refused(&text), expected);
}

#[test]
fn shows_no_control_characters_of_the_text() {
    let text = "{\"\u{1b}[31m\u{202e}\u{7f}\": \u{1b}}";
    let error = refused(text);
    assert!(
        error
            .chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
        "{error:?}"
    );
    assert!(
        error.contains("{\"\u{fffd}[31m\u{fffd}\u{fffd}\": \u{fffd}}\n"),
        "{error}"
    );
}

#[test]
fn refuses_nesting_beyond_the_levels_of_the_server() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    parse(&nested(MAX_DEPTH)).expect("levels that the server allows");
    for text in [
        nested(MAX_DEPTH + 1),
        "[".repeat(1_000_000),
        "{a:".repeat(1_000_000),
        "{$scope:{$code:".repeat(1_000_000),
        "DBRef('c',".repeat(1_000_000),
    ] {
        let error = parse(&text).expect_err("too many levels").to_string();
        assert!(
            error.starts_with("nesting exceeds 200 levels at line 1"),
            "{error}"
        );
    }
}

/// A parser that is quadratic in any of these takes minutes.
#[test]
fn takes_time_linear_in_the_length_of_the_text() {
    const COUNT: usize = 50_000;
    let keys = (0..COUNT).fold("{".to_owned(), |mut keys, index| {
        let _ = write!(keys, "k{index}: 1,");
        keys
    });
    let start = Instant::now();
    for text in [
        keys + "}",
        format!("[{}]", "/* */ // \n".repeat(COUNT) + "1"),
        format!("[{}]", "{$date: 5},".repeat(COUNT)),
        format!("[{}]", "/a/i,".repeat(COUNT)),
        format!("'{}'", "\\u0041\\\n".repeat(COUNT)),
        format!(
            "[{}]",
            "ObjectId('65a1b2c3d4e5f60718293a4b'),".repeat(COUNT)
        ),
    ] {
        parse(&text).expect("a value");
    }
    for text in [
        "(".repeat(COUNT),
        "1".repeat(COUNT) + "x",
        "a.".repeat(COUNT),
        "\n".repeat(COUNT),
    ] {
        parse(&text).expect_err("no value");
    }
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(30), "{taken:?}");
}

#[test]
fn reads_back_every_type_that_it_prints() {
    let id = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").expect("an ObjectId");
    let binary = |subtype: u8, bytes: &[u8]| Binary {
        subtype: subtype.into(),
        bytes: bytes.to_vec(),
    };
    let dates = [
        0,
        -1,
        1_769_860_800_500,
        253_402_300_799_999,
        253_402_300_800_000,
        -62_167_219_200_001,
    ]
    .map(DateTime::from_millis);
    let document = doc! {
        "int32": [0, -1, i32::MAX, i32::MIN],
        "int64": [0_i64, 5_i64, i64::MAX, i64::MIN],
        "double": [0.0, -0.0, 1.0, 1.5, 0.1 + 0.2, 1e300, 5e-324, -1e21, f64::INFINITY, f64::NEG_INFINITY],
        "decimal": [
            "1.10".parse::<bson::Decimal128>().expect("a decimal"),
            "-Infinity".parse::<bson::Decimal128>().expect("a decimal"),
            "NaN".parse::<bson::Decimal128>().expect("a decimal"),
        ],
        "text": ["", "it's \"quoted\" \\ \n \u{1} \u{2028} \u{202e} \u{9b} \u{e0001} e\u{301} é 😀 </script>"],
        "other": [Bson::Null, true, false, Bson::MinKey, Bson::MaxKey, Bson::Symbol("s".to_owned())],
        "id": id,
        "dates": dates.to_vec(),
        "timestamp": Timestamp { time: u32::MAX, increment: 0 },
        "binary": [binary(0, b""), binary(4, &[7; 16]), binary(4, &[7; 15]), binary(128, &[1, 2, 3])],
        "regex": Bson::RegularExpression(bson::Regex {
            pattern: "^a/b\"".try_into().expect("a pattern"),
            options: "imsx".try_into().expect("options"),
        }),
        "code": Bson::JavaScriptCode("f(\"x\")".to_owned()),
        "scope": Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "f()".to_owned(), scope: doc! { "x": { "y": 1_i64 } } }),
        "a.b": { "$gt": { "": [], "1a": {}, "é": 1, "$or": [{ "a": 1 }, [1, [2]]] } },
    };
    let printed = to_shell(&document);
    assert!(!printed.contains(|c: char| c.is_control() && c != '\n'));
    assert_eq!(parse(&printed), Ok(Bson::Document(document)), "{printed}");
}
