//! Tests of every type and edge case of the writer. The input is built by hand; the expected text follows the specification.

use super::{Fidelity, Malformed, Mode, write_document, write_value};
use crate::text;

fn element(tag: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[tag], key, &[0], value].concat()
}

fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let elements = elements.concat();
    let size = i32::try_from(elements.len() + 5).unwrap();
    [&size.to_le_bytes(), elements.as_slice(), &[0]].concat()
}

/// Returns a length-prefixed string with its terminator.
fn string(text: &[u8]) -> Vec<u8> {
    let size = i32::try_from(text.len() + 1).unwrap();
    [&size.to_le_bytes(), text, &[0]].concat()
}

fn binary(subtype: u8, data: &[u8]) -> Vec<u8> {
    let size = i32::try_from(data.len()).unwrap();
    [&size.to_le_bytes()[..], &[subtype], data].concat()
}

fn code_with_scope(code: &[u8], scope: &[u8]) -> Vec<u8> {
    let parts = [&string(code), scope].concat();
    let size = i32::try_from(parts.len() + 4).unwrap();
    [&size.to_le_bytes(), parts.as_slice()].concat()
}

fn line(bson: &[u8], mode: Mode) -> Result<(String, Fidelity), Malformed> {
    let mut out = Vec::new();
    let fidelity = write_document(bson, mode, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), fidelity))
}

fn exact(bson: &[u8], mode: Mode) -> String {
    let (line, fidelity) = line(bson, mode).unwrap();
    assert_eq!(fidelity, Fidelity::Exact, "{line}");
    line
}

/// Returns the text of a value in both modes.
fn value(tag: u8, value: &[u8]) -> [String; 2] {
    [Mode::Canonical, Mode::Relaxed].map(|mode| {
        let mut out = Vec::new();
        let fidelity = write_value(tag, value, mode, &mut out).unwrap();
        assert_eq!(fidelity, Fidelity::Exact);
        String::from_utf8(out).unwrap()
    })
}

fn double(value: f64) -> [String; 2] {
    self::value(0x01, &value.to_le_bytes())
}

/// Returns pseudo-random numbers, the same ones in every run (SplitMix64).
fn random_numbers() -> impl Iterator<Item = u64> {
    let mut state = 0_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Returns a document with one field of every type. Nested types contain some of the others.
fn every_type() -> Vec<u8> {
    let inner = document(&[element(0x10, b"x", &1_i32.to_le_bytes())]);
    let items = document(&[
        element(0x02, b"0", &string("zwölf \"quotes\"".as_bytes())),
        element(0x03, b"1", &inner),
    ]);
    document(&[
        element(0x01, b"double", &1.5_f64.to_le_bytes()),
        element(0x02, b"string", &string(b"text")),
        element(0x03, b"document", &inner),
        element(0x04, b"array", &items),
        element(0x05, b"binary", &binary(0, b"\x01\x02\x03\x04")),
        element(0x05, b"old", &binary(2, b"\x02\x00\x00\x00\xff\xff")),
        element(0x06, b"undefined", b""),
        element(0x07, b"oid", b"0123456789ab"),
        element(0x08, b"bool", b"\x01"),
        element(0x09, b"date", &0_i64.to_le_bytes()),
        element(0x0a, b"null", b""),
        element(0x0b, b"regex", b"^a\\d\0mi\0"),
        element(
            0x0c,
            b"pointer",
            &[&string(b"c")[..], b"0123456789ab"].concat(),
        ),
        element(0x0d, b"code", &string(b"f()")),
        element(0x0e, b"symbol", &string(b"s")),
        element(0x0f, b"scoped", &code_with_scope(b"g()", &inner)),
        element(0x10, b"int", &(-5_i32).to_le_bytes()),
        element(0x11, b"time", b"\x02\x00\x00\x00\x01\x00\x00\x00"),
        element(0x12, b"long", &(1_i64 << 60).to_le_bytes()),
        element(0x13, b"decimal", &((6176_u128 << 113) | 15).to_le_bytes()),
        element(0xff, b"min", b""),
        element(0x7f, b"max", b""),
    ])
}

#[test]
fn writes_every_type_in_canonical_mode() {
    assert_eq!(
        exact(&every_type(), Mode::Canonical),
        concat!(
            r#"{"double":{"$numberDouble":"1.5"},"string":"text","#,
            r#""document":{"x":{"$numberInt":"1"}},"#,
            r#""array":["zwölf \"quotes\"",{"x":{"$numberInt":"1"}}],"#,
            r#""binary":{"$binary":{"base64":"AQIDBA==","subType":"00"}},"#,
            r#""old":{"$binary":{"base64":"//8=","subType":"02"}},"#,
            r#""undefined":{"$undefined":true},"oid":{"$oid":"303132333435363738396162"},"#,
            r#""bool":true,"date":{"$date":{"$numberLong":"0"}},"null":null,"#,
            r#""regex":{"$regularExpression":{"pattern":"^a\\d","options":"im"}},"#,
            r#""pointer":{"$dbPointer":{"$ref":"c","$id":{"$oid":"303132333435363738396162"}}},"#,
            r#""code":{"$code":"f()"},"symbol":{"$symbol":"s"},"#,
            r#""scoped":{"$code":"g()","$scope":{"x":{"$numberInt":"1"}}},"#,
            r#""int":{"$numberInt":"-5"},"time":{"$timestamp":{"t":1,"i":2}},"#,
            r#""long":{"$numberLong":"1152921504606846976"},"decimal":{"$numberDecimal":"15"},"#,
            r#""min":{"$minKey":1},"max":{"$maxKey":1}}"#,
        )
    );
}

#[test]
fn writes_plain_numbers_and_dates_in_relaxed_mode() {
    let line = exact(&every_type(), Mode::Relaxed);
    for part in [
        r#""double":1.5,"#,
        r#""document":{"x":1},"#,
        r#""date":{"$date":"1970-01-01T00:00:00Z"},"#,
        r#""scoped":{"$code":"g()","$scope":{"x":1}},"#,
        r#""int":-5,"#,
        r#""time":{"$timestamp":{"t":1,"i":2}},"#,
        r#""long":1152921504606846976,"#,
        r#""decimal":{"$numberDecimal":"15"},"#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn writes_a_value_as_in_its_document() {
    let inner = document(&[element(0x10, b"x", &1_i32.to_le_bytes())]);
    assert_eq!(
        value(0x04, &inner),
        [r#"[{"$numberInt":"1"}]"#.to_string(), "[1]".to_string()]
    );
    assert_eq!(value(0x02, &string(b"a")), [r#""a""#, r#""a""#]);
    assert_eq!(value(0x0a, b""), ["null", "null"]);
}

#[test]
fn keeps_duplicate_keys_and_their_order() {
    let bson = document(&[
        element(0x08, b"b", b"\x01"),
        element(0x08, b"a", b"\x01"),
        element(0x0a, b"b", b""),
        element(0x08, b"", b"\x00"),
        element(0x0a, b"", b""),
    ]);
    assert_eq!(
        exact(&bson, Mode::Canonical),
        r#"{"b":true,"a":true,"b":null,"":false,"":null}"#
    );
}

#[test]
fn keeps_the_order_of_array_items_and_ignores_their_keys() {
    let items = document(&[
        element(0x08, b"7", b"\x01"),
        element(0x0a, b"", b""),
        element(0x08, b"\xff", b"\x00"),
    ]);
    assert_eq!(value(0x04, &items)[0], "[true,null,false]");
}

#[test]
fn writes_empty_documents_and_arrays() {
    let empty = document(&[]);
    let bson = document(&[element(0x03, b"a", &empty), element(0x04, b"b", &empty)]);
    assert_eq!(exact(&bson, Mode::Canonical), r#"{"a":{},"b":[]}"#);
    assert_eq!(exact(&empty, Mode::Canonical), "{}");
}

#[test]
fn keeps_keys_that_look_like_extended_json() {
    let bson = document(&[element(0x02, b"$oid", &string(b"x"))]);
    assert_eq!(exact(&bson, Mode::Canonical), r#"{"$oid":"x"}"#);
}

#[test]
fn appends_to_existing_content() {
    let mut out = b"before\n".to_vec();
    let fidelity = write_document(&document(&[]), Mode::Canonical, &mut out).unwrap();
    assert_eq!(fidelity, Fidelity::Exact);
    assert_eq!(out, b"before\n{}");
}

#[test]
fn reads_every_byte_except_zero_as_true() {
    assert_eq!(value(0x08, &[0])[0], "false");
    for byte in 1..=255 {
        assert_eq!(value(0x08, &[byte])[0], "true");
    }
}

#[test]
fn writes_doubles_as_in_the_bson_corpus() {
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (1e15, "1000000000000000.0"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1e16, "1E+16"),
        (1.234_567_892_123_2e18, "1.2345678921232E+18"),
        (1e300, "1E+300"),
        (1e-4, "0.0001"),
        (1.25e-4, "0.000125"),
        (9.9e-5, "9.9E-5"),
        (-1e-5, "-1E-5"),
        (-1.25e-5, "-1.25E-5"),
        (1e-6, "1E-6"),
        (-1.5e-300, "-1.5E-300"),
        (5e-324, "5E-324"),
        (f64::MAX, "1.7976931348623157E+308"),
    ] {
        let wrapped = format!(r#"{{"$numberDouble":"{text}"}}"#);
        assert_eq!(double(value), [wrapped, text.to_string()]);
    }
}

#[test]
fn keeps_the_wrapper_of_doubles_that_json_cannot_represent() {
    for (value, text) in [
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
        (f64::NAN, "NaN"),
        (f64::from_bits(0xfff8_0000_0000_0000), "NaN"),
        (f64::from_bits(0x7ff0_0000_0000_0001), "NaN"),
        (f64::from_bits(0xffff_ffff_ffff_ffff), "NaN"),
    ] {
        let wrapped = format!(r#"{{"$numberDouble":"{text}"}}"#);
        assert_eq!(double(value), [wrapped.clone(), wrapped]);
    }
}

#[test]
fn writes_doubles_that_parse_to_the_same_bits() {
    let around_one = |bits: u64| f64::from_bits((bits >> 6) | (0x3f << 56));
    for bits in random_numbers().take(20_000) {
        for value in [f64::from_bits(bits), around_one(bits), (bits >> 44) as f64] {
            let [_, text] = double(value);
            if value.is_finite() {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
                assert!(
                    text.contains(['.', 'E']),
                    "{text} would parse as an integer"
                );
                assert!(text.len() <= 24, "{text}");
            }
        }
    }
}

#[test]
fn writes_decimals_like_the_bson_crate() {
    let mut numbers = random_numbers();
    let mut next = || numbers.next().unwrap();
    let plain = |bits: u128, exponent: u128| (bits >> 16) | (exponent << 113);
    let mut decimals = vec![
        0,
        1 << 127,
        0x78 << 120,
        0xf8 << 120,
        0x7c << 120,
        0xfe << 120,
    ];
    for _ in 0..5_000 {
        let bits = (u128::from(next()) << 64) | u128::from(next());
        let short = bits & ((1 << (next() % 113)) - 1);
        decimals.extend([
            bits,
            plain(bits, 6176 + u128::from(next() % 8)),
            short | (u128::from(6136 + next() % 48) << 113),
            short | (u128::from(next() % 0x3000) << 113) | (1 << 127),
            bits | (0b11 << 125),
        ]);
    }
    for bits in decimals {
        let bytes = bits.to_le_bytes();
        let expected = bson::Decimal128::from_bytes(bytes).to_string();
        let text = format!(r#"{{"$numberDecimal":"{expected}"}}"#);
        assert_eq!(value(0x13, &bytes), [text.clone(), text], "{bits:#x}");
    }
}

#[test]
fn writes_the_extremes_of_integers_and_timestamps() {
    assert_eq!(
        value(0x10, &i32::MIN.to_le_bytes()),
        [r#"{"$numberInt":"-2147483648"}"#, "-2147483648"]
    );
    assert_eq!(
        value(0x12, &i64::MIN.to_le_bytes()),
        [
            r#"{"$numberLong":"-9223372036854775808"}"#,
            "-9223372036854775808"
        ]
    );
    let time = r#"{"$timestamp":{"t":4294967295,"i":4294967295}}"#;
    assert_eq!(value(0x11, &[0xff; 8]), [time, time]);
}

#[test]
fn writes_relaxed_dates_as_text_only_from_1970_to_9999() {
    for (millis, text) in [
        (0, r#""1970-01-01T00:00:00Z""#),
        (1, r#""1970-01-01T00:00:00.001Z""#),
        (-1, r#"{"$numberLong":"-1"}"#),
        (951_782_399_999, r#""2000-02-28T23:59:59.999Z""#),
        (951_782_400_000, r#""2000-02-29T00:00:00Z""#),
        (1_356_351_330_501, r#""2012-12-24T12:15:30.501Z""#),
        (4_107_542_400_000, r#""2100-03-01T00:00:00Z""#),
        (253_402_300_799_999, r#""9999-12-31T23:59:59.999Z""#),
        (253_402_300_800_000, r#"{"$numberLong":"253402300800000"}"#),
        (i64::MAX, r#"{"$numberLong":"9223372036854775807"}"#),
        (i64::MIN, r#"{"$numberLong":"-9223372036854775808"}"#),
    ] {
        let [canonical, relaxed] = value(0x09, &millis.to_le_bytes());
        assert_eq!(relaxed, format!(r#"{{"$date":{text}}}"#));
        assert_eq!(
            canonical,
            format!(r#"{{"$date":{{"$numberLong":"{millis}"}}}}"#)
        );
    }
}

#[test]
fn writes_relaxed_dates_like_the_bson_crate() {
    for number in random_numbers().take(20_000) {
        // Whole seconds: the crate writes fractions without trailing zeros.
        let millis = i64::try_from(number % 253_402_300_800).unwrap() * 1000;
        let expected = bson::DateTime::from_millis(millis).try_to_rfc3339_string();
        let text = format!(r#"{{"$date":"{}"}}"#, expected.unwrap());
        assert_eq!(value(0x09, &millis.to_le_bytes())[1], text);
    }
}

#[test]
fn keeps_the_data_of_old_binaries_with_a_wrong_inner_length() {
    for (data, base64) in [
        (&b"\x02\x00\x00\x00\xff\xff"[..], "//8="),
        (b"\x00\x00\x00\x00", ""),
        (b"\x03\x00\x00\x00\xff\xff", "AwAAAP//"),
        (b"\x01\x00\x00\x00\xff\xff", "AQAAAP//"),
        (b"\xff\xff\xff\xff\xff\xff", "////////"),
        (b"\xff\xff", "//8="),
        (b"", ""),
    ] {
        let text = format!(r#"{{"$binary":{{"base64":"{base64}","subType":"02"}}}}"#);
        assert_eq!(value(0x05, &binary(2, data)), [text.clone(), text]);
    }
}

#[test]
fn writes_binary_subtypes_as_two_digits() {
    for (subtype, digits) in [(0, "00"), (9, "09"), (0x80, "80"), (0xff, "ff")] {
        let text = format!(r#"{{"$binary":{{"base64":"AQ==","subType":"{digits}"}}}}"#);
        assert_eq!(value(0x05, &binary(subtype, b"\x01"))[0], text);
    }
}

#[test]
fn sorts_the_options_of_regular_expressions() {
    for (options, sorted) in [
        ("", ""),
        ("i", "i"),
        ("xmi", "imx"),
        ("iiba", "abii"),
        ("ßiä", "ißä"),
    ] {
        let regex = ["a/b\0", options, "\0"].concat();
        let text = format!(r#"{{"$regularExpression":{{"pattern":"a/b","options":"{sorted}"}}}}"#);
        assert_eq!(value(0x0b, regex.as_bytes())[0], text);
    }
}

#[test]
fn escapes_special_characters_at_every_position() {
    for special in [
        '"',
        '\\',
        '\0',
        '\n',
        '\u{8}',
        '\u{c}',
        '\u{1f}',
        '\u{7f}',
        'é',
        '日',
        '😀',
        '“',
        '\u{9b}',
        '\u{2028}',
        '\u{feff}',
        '\u{e0041}',
    ] {
        for size in 0..100 {
            for position in [0, size / 3, size / 2, size] {
                let mut text = "x".repeat(size);
                text.insert(position, special);
                let json = json(&text);
                assert_eq!(value(0x02, &string(text.as_bytes()))[0], json);
                if special != '\0' {
                    let bson = document(&[element(0x0a, text.as_bytes(), b"")]);
                    assert_eq!(exact(&bson, Mode::Canonical), format!("{{{json}:null}}"));
                }
            }
        }
    }
}

/// Returns `text` as JSON, with hidden characters escaped.
fn json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    text::escaped_json(&json).into_owned()
}

#[test]
fn escapes_every_control_character() {
    let controls: String = ('\0'..' ').collect();
    assert_eq!(
        value(0x02, &string(controls.as_bytes()))[0],
        json(&controls)
    );
}

#[test]
fn escapes_exactly_the_hidden_characters() {
    for character in '\u{80}'..=char::MAX {
        let text = character.to_string();
        let written = &value(0x02, &string(text.as_bytes()))[0];
        let is_escaped = written.starts_with("\"\\u");
        assert_eq!(is_escaped, text::is_hidden(character), "{written}");
        assert_eq!(*written, json(&text));
    }
}

#[test]
fn writes_any_text_without_hidden_characters_and_to_the_same_value() {
    let pool: Vec<char> = "a \"\\\n\u{7f}é“”…日،😀\u{2009}\u{9b}\u{ad}\u{61c}\u{180e}\u{200d}\u{202e}\u{2060}\u{feff}\u{fffb}\u{1d173}\u{e0020}"
        .chars()
        .collect();
    let mut numbers = random_numbers().map(|number| number as usize);
    for _ in 0..20_000 {
        // Mostly visible, so that long runs are written at once.
        let visible = numbers.next().unwrap() % pool.len();
        let size = numbers.next().unwrap() % 200;
        let text: String = (0..size)
            .map(|_| match numbers.next().unwrap() % 400 {
                number if number < 10 => pool[numbers.next().unwrap() % pool.len()],
                _ => pool[visible],
            })
            .collect();
        let key = text.replace('\0', "");
        let field = element(0x02, key.as_bytes(), &string(text.as_bytes()));
        for mode in [Mode::Canonical, Mode::Relaxed] {
            let line = exact(&document(std::slice::from_ref(&field)), mode);
            assert!(!line.contains(text::is_hidden), "{line:?}");
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed, serde_json::json!({ key.clone(): text.clone() }));
        }
    }
}

#[test]
fn escapes_text_with_escapes_close_together() {
    let pool: Vec<char> = "aé日\"\\\n\t\r\u{8}\u{c}".chars().collect();
    let rare: Vec<char> = "\0\u{1f}\u{7f}😀“\u{9b}\u{ad}\u{61c}\u{2028}\u{feff}"
        .chars()
        .collect();
    let mut numbers = random_numbers().map(|number| number as usize);
    for _ in 0..20_000 {
        let [size, letters, rareness] = [200, 12, 300].map(|n| numbers.next().unwrap() % n + 1);
        let text: String = (0..size)
            .map(|_| {
                let number = numbers.next().unwrap();
                match number % (pool.len() + letters) {
                    _ if number / 1000 % rareness == 0 => rare[number / 7 % rare.len()],
                    at if at < pool.len() => pool[at],
                    _ => 'x',
                }
            })
            .collect();
        assert_eq!(value(0x02, &string(text.as_bytes()))[0], json(&text));
    }
}

#[test]
fn replaces_invalid_utf8_in_every_text() {
    let invalid = b"a\xff\"b\xc3";
    let pointer = [&string(invalid)[..], b"0123456789ab"].concat();
    let empty = document(&[]);
    for (bson, text) in [
        (element(0x0a, invalid, b""), r#"{"a�\"b�":null}"#),
        (element(0x02, b"k", &string(invalid)), r#"{"k":"a�\"b�"}"#),
        (
            element(0x0b, b"k", b"a\xff\"b\xc3\0m\xffi\0"),
            r#"{"k":{"$regularExpression":{"pattern":"a�\"b�","options":"im�"}}}"#,
        ),
        (
            element(0x0b, b"k", b"\0\xff\0"),
            r#"{"k":{"$regularExpression":{"pattern":"","options":"�"}}}"#,
        ),
        (
            element(0x0c, b"k", &pointer),
            r#"{"k":{"$dbPointer":{"$ref":"a�\"b�","$id":{"$oid":"303132333435363738396162"}}}}"#,
        ),
        (
            element(0x0d, b"k", &string(invalid)),
            r#"{"k":{"$code":"a�\"b�"}}"#,
        ),
        (
            element(0x0e, b"k", &string(invalid)),
            r#"{"k":{"$symbol":"a�\"b�"}}"#,
        ),
        (
            element(0x0f, b"k", &code_with_scope(invalid, &empty)),
            r#"{"k":{"$code":"a�\"b�","$scope":{}}}"#,
        ),
    ] {
        let bson = document(&[bson, element(0x0a, b"z", b"")]);
        let text = text.strip_suffix('}').unwrap().to_string() + r#","z":null}"#;
        assert_eq!(line(&bson, Mode::Canonical), Ok((text, Fidelity::Replaced)));
    }
}

#[test]
fn replaces_invalid_utf8_like_the_standard_library() {
    for text in [
        &b"\xed\xa0\x80"[..],
        b"\xc0\x80",
        b"\xf0\x9f\x98",
        b"x\xf0\x9f\x98y",
        b"\xf5\x80\x80\x80",
        b"plain text of some length \xe6\x97 and more of it after \xa5\x00",
    ] {
        let bson = document(&[element(0x02, b"k", &string(text))]);
        let json = serde_json::to_string(&String::from_utf8_lossy(text)).unwrap();
        assert_eq!(
            line(&bson, Mode::Canonical),
            Ok((format!(r#"{{"k":{json}}}"#), Fidelity::Replaced))
        );
    }
}

/// Returns `levels` nested values of type `tag` (document or array) in a document.
fn nested(levels: usize, tag: u8) -> Vec<u8> {
    (1..levels).fold(document(&[]), |inner, _| {
        document(&[element(tag, b"0", &inner)])
    })
}

#[test]
fn writes_the_deepest_nesting_that_servers_store() {
    let line = exact(&nested(180, 0x03), Mode::Canonical);
    assert_eq!(line, r#"{"0":"#.repeat(179) + "{}" + &"}".repeat(179));
    let line = exact(&nested(180, 0x04), Mode::Canonical);
    assert_eq!(
        line,
        r#"{"0":"#.to_string() + &"[".repeat(179) + &"]".repeat(179) + "}"
    );
}

#[test]
fn refuses_crafted_nesting_before_the_stack_overflows() {
    let scopes = |levels| {
        (1..levels).fold(document(&[]), |inner, _| {
            document(&[element(0x0f, b"", &code_with_scope(b"", &inner))])
        })
    };
    // Half of a thread's default stack. A debug build needs the most.
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let thread = small.spawn(move || {
        assert!(line(&nested(1000, 0x03), Mode::Canonical).is_ok());
        assert!(line(&nested(1000, 0x04), Mode::Canonical).is_ok());
        for bson in [nested(20_000, 0x03), nested(20_000, 0x04), scopes(20_000)] {
            let failure = line(&bson, Mode::Canonical).unwrap_err();
            assert_eq!(failure.reason, "nested too deeply");
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn reports_malformed_bson_with_its_offset() {
    let unknown_type = document(&[element(0x0a, b"a", b""), element(0x55, b"b", b"")]);
    let zero_type = document(&[element(0x0a, b"a", b""), vec![0]]);
    let no_key_end = [&9_i32.to_le_bytes()[..], b"\x0aabc\0"].concat();
    let no_odd_key_end = [&8_i32.to_le_bytes()[..], "\nä\0".as_bytes()].concat();
    let short_double = document(&[element(0x01, b"a", &[0; 7])]);
    let long_string = document(&[element(0x02, b"a", b"\x09\x00\x00\x00text\0")]);
    let unended_string = document(&[element(0x02, b"a", b"\x04\x00\x00\x00text\0")]);
    let negative_binary = document(&[element(0x05, b"a", b"\xff\xff\xff\xff\0")]);
    let trailing_byte = [&document(&[])[..], b"x"].concat();
    for (bson, offset, reason) in [
        (&b""[..], 0, "truncated value"),
        (&[5, 0, 0, 0], 0, "wrong document length"),
        (&[4, 0, 0, 0], 0, "wrong document length"),
        (&[5, 0, 0, 0, 1], 4, "missing zero byte at the end"),
        (&trailing_byte, 5, "trailing bytes after the value"),
        (&unknown_type, 10, "unknown element type"),
        (&zero_type, 8, "unterminated key"),
        (&no_key_end, 5, "unterminated key"),
        (&no_odd_key_end, 5, "unterminated string"),
        (&short_double, 7, "truncated value"),
        (&long_string, 7, "wrong string length"),
        (&unended_string, 14, "missing zero byte at the end"),
        (&negative_binary, 7, "negative length"),
    ] {
        let mut out = b"before".to_vec();
        let failure = write_document(bson, Mode::Canonical, &mut out).unwrap_err();
        assert_eq!(failure, Malformed { offset, reason });
        assert_eq!(out, b"before");
    }
}

#[test]
fn names_the_offset_in_the_message() {
    let failure = line(&[5, 0, 0, 0, 1], Mode::Canonical).unwrap_err();
    let message = "malformed BSON at byte 4: missing zero byte at the end";
    assert_eq!(failure.to_string(), message);
}

#[test]
fn writes_valid_json_or_fails_for_any_bytes() {
    let whole = every_type();
    let mut numbers = random_numbers();
    let mut below = |bound: usize| numbers.next().unwrap() as usize % bound;
    let mut accepted = 0;
    for _ in 0..30_000 {
        let mut bson = whole.clone();
        for _ in 0..=below(3) {
            let position = below(bson.len());
            bson[position] = [0, 1, 2, 5, 0x0f, 0x7f, 0xff, below(256) as u8][below(8)];
        }
        if below(8) == 0 {
            bson.truncate(below(bson.len()));
        }
        let mut out = Vec::new();
        for mode in [Mode::Canonical, Mode::Relaxed] {
            out.clear();
            if write_document(&bson, mode, &mut out).is_ok() {
                serde_json::from_slice::<serde::de::IgnoredAny>(&out).unwrap();
                accepted += 1;
            } else {
                assert!(out.is_empty());
            }
        }
    }
    assert!(accepted > 10_000, "{accepted} accepted");
}
