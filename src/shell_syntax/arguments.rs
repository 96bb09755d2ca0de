//! Arguments of calls, and values made of them.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Timestamp};
use serde_json::Value;

use super::tree::{Content, Node};

/// An argument, by the types that functions distinguish.
pub(super) enum Argument<'a> {
    Text(&'a str),
    /// An integer: 5, 1e3, 10n, NumberLong("5").
    Integer(i64),
    Double(f64),
    ObjectOf(&'a [(String, Node)]),
    Other,
}

/// Returns the argument that a node is.
pub(super) fn argument(node: &Node) -> Argument<'_> {
    match &node.content {
        Content::Json(Value::String(text)) => Argument::Text(text),
        Content::Json(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Argument::Integer(number),
            (None, Some(number)) => double(number),
            (None, None) => Argument::Other,
        },
        Content::Typed(Bson::Int64(number)) => Argument::Integer(*number),
        Content::Typed(Bson::Int32(number)) => Argument::Integer((*number).into()),
        Content::Typed(Bson::Double(number)) => double(*number),
        Content::Object(fields) => Argument::ObjectOf(fields),
        _ => Argument::Other,
    }
}

/// Returns an argument such as 1e3 as an integer, as JavaScript does.
fn double(number: f64) -> Argument<'static> {
    /// The range in which a double represents every integer.
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    let is_negative_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER && !is_negative_zero {
        Argument::Integer(number as i64)
    } else {
        Argument::Double(number)
    }
}

pub(super) fn decimal(digits: &str) -> Option<Bson> {
    let unsigned = digits.trim_start_matches(['+', '-']).to_ascii_lowercase();
    // The crate takes an empty text for 0.
    let is_number = unsigned.contains(|c: char| c.is_ascii_digit())
        || matches!(unsigned.as_str(), "nan" | "inf" | "infinity");
    let parsed = digits.parse().ok().filter(|_| is_number);
    parsed.map(Bson::Decimal128)
}

pub(super) fn bytes(hex: &str) -> Option<Vec<u8>> {
    const_hex::decode(hex)
        .ok()
        .filter(|_| !hex.starts_with("0x"))
}

pub(super) fn binary(subtype: i64, bytes: Option<Vec<u8>>) -> Option<Bson> {
    let subtype = BinarySubtype::from(u8::try_from(subtype).ok()?);
    bytes.map(|bytes| Binary { subtype, bytes }.into())
}

pub(super) fn timestamp(time: i64, increment: i64) -> Option<Bson> {
    let time = u32::try_from(time).ok()?;
    let increment = u32::try_from(increment).ok()?;
    Some(Timestamp { time, increment }.into())
}

pub(super) fn timestamp_of(fields: &[(String, Node)]) -> Option<Bson> {
    let integer = |name: &str| {
        let (_, field) = fields.iter().find(|(key, _)| key == name)?;
        match argument(field) {
            Argument::Integer(number) => Some(number),
            _ => None,
        }
    };
    if fields.len() == 2 {
        timestamp(integer("t")?, integer("i")?)
    } else {
        None
    }
}
