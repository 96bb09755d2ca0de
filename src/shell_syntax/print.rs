//! Text that mongosh reads as the same BSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document};

/// Number of spaces of a level.
const INDENT: usize = 2;

/// Returns a value in mongosh syntax on one line, with the types of [`to_shell`].
pub(crate) fn to_shell_line(value: impl Into<Bson>) -> String {
    let mut text = String::new();
    push(&value.into(), 0, &mut text);
    // A line break in a value is escaped.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ")
}

/// Returns a document in mongosh syntax, indented, one field a line. Each value keeps its BSON type, except for what mongosh cannot send:
/// undefined, the deprecated type DBPointer, dates outside the range of JavaScript, and regular expressions with options that no server has.
///
/// [`parse`](super::parse) reads it back.
pub fn to_shell(document: &Document) -> String {
    let mut text = String::new();
    push_document(document, 0, &mut text);
    text
}

fn push_document(document: &Document, level: usize, text: &mut String) {
    push_items(['{', '}'], document, level, text, |(key, value), text| {
        push_key(key, text);
        text.push_str(": ");
        push(value, level + 1, text);
    });
}

/// Appends items between brackets, each on a line.
fn push_items<T>(
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    level: usize,
    text: &mut String,
    push_item: impl Fn(T, &mut String),
) {
    text.push(open);
    let mut separator = "";
    for item in items {
        text.push_str(separator);
        push_line_start(level + 1, text);
        push_item(item, text);
        separator = ",";
    }
    if !separator.is_empty() {
        push_line_start(level, text);
    }
    text.push(close);
}

fn push_line_start(level: usize, text: &mut String) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', level * INDENT));
}

fn push_key(key: &str, text: &mut String) {
    let is_name = !key.starts_with(|c: char| c.is_ascii_digit())
        && !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'_'));
    if is_name {
        text.push_str(key);
    } else {
        push_text(key, text);
    }
}

fn push(value: &Bson, level: usize, text: &mut String) {
    match value {
        Bson::Document(document) => push_document(document, level, text),
        Bson::Array(items) => push_items(['[', ']'], items, level, text, |item, text| {
            push(item, level + 1, text);
        }),
        Bson::String(string) => push_text(string, text),
        Bson::Boolean(boolean) => push_display(boolean, text),
        Bson::Null => text.push_str("null"),
        Bson::Undefined => text.push_str("undefined"),
        Bson::Int32(number) => push_display(number, text),
        Bson::Int64(number) => push_call("Long", &[&number.to_string()], text),
        // mongosh sends a double without a fraction as an int32.
        Bson::Double(number) => match number.fract() == 0.0 {
            true => push_display(format_args!("Double({number:?})"), text),
            false => push_display(DoubleText(*number), text),
        },
        Bson::Decimal128(number) => push_call("Decimal128", &[&number.to_string()], text),
        Bson::ObjectId(id) => push_call("ObjectId", &[&id.to_hex()], text),
        Bson::DateTime(date) => push_date(*date, text),
        Bson::Timestamp(timestamp) => push_display(
            format_args!("Timestamp({}, {})", timestamp.time, timestamp.increment),
            text,
        ),
        Bson::Binary(binary) => push_binary(binary, text),
        // A literal cannot have all options of the server, and mongosh does not send all flags.
        Bson::RegularExpression(regex) => push_call(
            "BSONRegExp",
            &[regex.pattern.as_str(), regex.options.as_str()],
            text,
        ),
        Bson::JavaScriptCode(code) => push_call("Code", &[code], text),
        Bson::JavaScriptCodeWithScope(code) => {
            text.push_str("Code(");
            push_text(&code.code, text);
            text.push_str(", ");
            push_document(&code.scope, level, text);
            text.push(')');
        }
        Bson::Symbol(symbol) => push_call("BSONSymbol", &[symbol], text),
        Bson::MinKey => text.push_str("MinKey()"),
        Bson::MaxKey => text.push_str("MaxKey()"),
        // The form of the deprecated type that the server compares with.
        Bson::DbPointer(_) => push_display(value.clone().into_canonical_extjson(), text),
    }
}

/// A double with a fraction, or one that is not finite, as JavaScript writes it.
struct DoubleText(f64);

impl std::fmt::Display for DoubleText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            number if number.is_nan() => f.write_str("NaN"),
            number if number.is_infinite() && number > 0.0 => f.write_str("Infinity"),
            number if number.is_infinite() => f.write_str("-Infinity"),
            number => write!(f, "{number:?}"),
        }
    }
}

fn push_date(date: DateTime, text: &mut String) {
    /// The last millisecond of the year 9999. The crate prints it for every later date.
    const MAX_ISO_DATE: i64 = 253_402_300_799_999;
    let millis = date.timestamp_millis();
    match date.try_to_rfc3339_string() {
        Ok(time) if millis <= MAX_ISO_DATE => push_call("ISODate", &[&time], text),
        _ => push_display(format_args!("new Date({millis})"), text),
    }
}

fn push_binary(binary: &Binary, text: &mut String) {
    if binary.subtype == BinarySubtype::Uuid
        && let Ok(uuid) = binary.to_uuid()
    {
        push_call("UUID", &[&uuid.to_string()], text);
        return;
    }
    push_display(format_args!("BinData({}, ", u8::from(binary.subtype)), text);
    push_text(&BASE64.encode(&binary.bytes), text);
    text.push(')');
}

/// Appends a call with text as arguments.
fn push_call(name: &str, arguments: &[&str], text: &mut String) {
    text.push_str(name);
    text.push('(');
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        push_text(argument, text);
    }
    text.push(')');
}

/// Appends text in double quotes. Escapes what could control a terminal or be invisible, beyond what JSON escapes.
fn push_text(string: &str, text: &mut String) {
    for c in serde_json::Value::from(string).to_string().chars() {
        if c.is_control() || !c.is_ascii() && c.escape_debug().len() > 1 {
            for unit in c.encode_utf16(&mut [0; 2]) {
                push_display(format_args!("\\u{unit:04x}"), text);
            }
        } else {
            text.push(c);
        }
    }
}

fn push_display(value: impl std::fmt::Display, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{value}");
}
