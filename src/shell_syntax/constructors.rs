//! Calls that make values of BSON types: `ObjectId("...")`, `new Date("...")`, `NumberLong(5)` and the like.
//!
//! A call that mongosh turns into something else than was typed is refused: `NumberLong("abc")` is 0 there, `NumberInt(2147483648)` negative,
//! and `UUID("zz")` empty (measured on mongosh 2.12.0).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bson::oid::ObjectId;
use bson::{Bson, DateTime, JavaScriptCodeWithScope, Uuid, doc};
use serde_json::Value;

use super::SyntaxError;
use super::arguments::{Argument, argument, binary, bytes, decimal, timestamp, timestamp_of};
use super::dates;
use super::literals::{self, FLAGS_HINT};
use super::tree::{Content, Node};

/// The known names, grouped by what they make, with an example of a call.
const FORMS: &[(&[&str], &str)] = &[
    (
        &["ObjectId", "ObjectId.createFromHexString"],
        r#"ObjectId("65a1b2c3d4e5f60718293a4b")"#,
    ),
    (&["ISODate"], r#"ISODate("2026-01-31T12:00:00Z")"#),
    (
        &["Date"],
        r#"new Date("2026-01-31T12:00:00Z") or new Date(1769860800000)"#,
    ),
    (
        &["NumberLong", "Long", "Long.fromString", "Long.fromNumber"],
        r#"NumberLong("5"), from -9223372036854775808 to 9223372036854775807"#,
    ),
    (
        &["NumberInt", "Int32"],
        "NumberInt(5), from -2147483648 to 2147483647",
    ),
    (
        &["NumberDecimal", "Decimal128", "Decimal128.fromString"],
        r#"NumberDecimal("1.10"), with at most 34 digits"#,
    ),
    (&["Double"], "Double(1.5)"),
    (&["UUID"], r#"UUID("0f0e0d0c-0b0a-0908-0706-050403020100")"#),
    (
        &["BinData"],
        r#"BinData(0, "AQID"), a subtype from 0 to 255 and base64"#,
    ),
    (
        &["Binary.createFromBase64"],
        r#"Binary.createFromBase64("AQID", 0), base64 and a subtype from 0 to 255"#,
    ),
    (
        &["HexData"],
        r#"HexData(0, "010203"), a subtype from 0 to 255 and hex digits"#,
    ),
    (
        &["Binary.createFromHexString"],
        r#"Binary.createFromHexString("010203", 0), hex digits and a subtype from 0 to 255"#,
    ),
    (&["MD5"], r#"MD5("0f0e0d0c0b0a09080706050403020100")"#),
    (
        &["Timestamp"],
        "Timestamp(1769860800, 1) or Timestamp({t: 1769860800, i: 1}), seconds since 1970 and a counter",
    ),
    (&["MinKey"], "MinKey()"),
    (&["MaxKey"], "MaxKey()"),
    (&["RegExp"], r#"RegExp("^a", "i")"#),
    (&["BSONRegExp"], r#"BSONRegExp("^a", "i")"#),
    (&["BSONSymbol", "Symbol"], r#"BSONSymbol("a")"#),
    (
        &["Code"],
        r#"Code("function() {}") or Code("function() {}", {a: 1})"#,
    ),
    (
        &["DBRef"],
        r#"DBRef("orders", 1) or DBRef("orders", 1, "shop")"#,
    ),
];

/// Maximum distance from 1970 of a date in JavaScript, in milliseconds.
const MAX_DATE_MILLIS: u64 = 8_640_000_000_000_000;

/// Base64 as mongosh reads it: the padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the name of each function, one for each kind of value.
pub(super) fn names() -> Vec<&'static str> {
    FORMS.iter().map(|(names, _)| names[0]).collect()
}

pub(super) fn is_known(name: &str) -> bool {
    FORMS.iter().any(|(names, _)| names.contains(&name))
}

/// Returns whether mongosh takes the name alone for a call without arguments.
pub(super) fn needs_no_call(name: &str) -> bool {
    matches!(name, "MinKey" | "MaxKey")
}

/// A call of a known function.
pub(super) struct Call<'a> {
    pub(super) text: &'a str,
    /// Offset of the call in the text, in bytes.
    pub(super) at: usize,
    pub(super) name: &'a str,
    /// Whether `new` precedes it.
    pub(super) is_new: bool,
    pub(super) arguments: Vec<Node>,
}

impl Call<'_> {
    /// Returns the value that the call makes.
    ///
    /// # Errors
    /// When the function does not take these arguments.
    pub(super) fn value(self) -> Result<Content, SyntaxError> {
        // The only functions with arguments of any type.
        match self.name {
            "DBRef" => return self.reference(),
            "Code" if self.arguments.len() == 2 => return self.code_with_scope(),
            _ => {}
        }
        let arguments: Vec<Argument<'_>> = self.arguments.iter().map(argument).collect();
        use Argument::{Double, Integer, ObjectOf, Text};
        let value = match (self.name, arguments.as_slice()) {
            ("ObjectId" | "ObjectId.createFromHexString", [Text(hex)]) => {
                ObjectId::parse_str(hex).ok().map(Bson::ObjectId)
            }
            ("ObjectId" | "UUID", []) => {
                return Err(self.error("makes a new value at random").hint(self.hint()));
            }
            ("ISODate" | "Date", []) => {
                return Err(self.error("is the time at which it runs").hint(self.hint()));
            }
            ("Date", _) if !self.is_new => {
                return Err(self
                    .error("without new is text in JavaScript, not a date")
                    .hint(self.hint()));
            }
            ("Date", [Integer(millis)]) if millis.unsigned_abs() <= MAX_DATE_MILLIS => {
                Some(DateTime::from_millis(*millis).into())
            }
            ("ISODate" | "Date", [Text(text)]) => match dates::parse(text) {
                Some(date) if date.is_local && self.name == "Date" => {
                    return Err(self
                        .error("with a time without a time zone depends on the machine")
                        .hint(format!("add Z for UTC: new Date(\"{text}Z\")")));
                }
                date => date.map(|date| date.value.into()),
            },
            ("NumberLong" | "Long" | "Long.fromNumber", [Integer(number)]) => {
                Some(Bson::Int64(*number))
            }
            ("NumberLong" | "Long" | "Long.fromString", [Text(digits)]) => {
                digits.parse().ok().map(Bson::Int64)
            }
            ("NumberInt" | "Int32", [Integer(number)]) => {
                i32::try_from(*number).ok().map(Bson::Int32)
            }
            ("NumberInt" | "Int32", [Text(digits)]) => digits.parse().ok().map(Bson::Int32),
            ("NumberDecimal" | "Decimal128" | "Decimal128.fromString", [Text(digits)]) => {
                decimal(digits)
            }
            ("NumberDecimal", [Integer(number)]) => decimal(&number.to_string()),
            ("NumberDecimal", [Double(number)]) => decimal(&number.to_string()),
            ("Double", [Integer(number)]) => Some(Bson::Double(*number as f64)),
            ("Double", [Double(number)]) => Some(Bson::Double(*number)),
            ("Double", [Text("NaN")]) => Some(Bson::Double(f64::NAN)),
            ("Double", [Text("Infinity")]) => Some(Bson::Double(f64::INFINITY)),
            ("Double", [Text("-Infinity")]) => Some(Bson::Double(f64::NEG_INFINITY)),
            ("Double", [Text(digits)]) => {
                let number = digits
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite());
                number.map(Bson::Double)
            }
            ("UUID", [Text(digits)]) => Uuid::parse_str(digits).ok().map(Bson::from),
            ("BinData", [Integer(subtype), Text(base64)])
            | ("Binary.createFromBase64", [Text(base64), Integer(subtype)]) => {
                binary(*subtype, BASE64.decode(base64).ok())
            }
            ("Binary.createFromBase64", [Text(base64)]) => binary(0, BASE64.decode(base64).ok()),
            ("HexData", [Integer(subtype), Text(hex)])
            | ("Binary.createFromHexString", [Text(hex), Integer(subtype)]) => {
                binary(*subtype, bytes(hex))
            }
            ("Binary.createFromHexString", [Text(hex)]) => binary(0, bytes(hex)),
            ("MD5", [Text(hex)]) => binary(5, bytes(hex).filter(|bytes| bytes.len() == 16)),
            ("Timestamp", [Integer(time), Integer(increment)]) => timestamp(*time, *increment),
            ("Timestamp", [ObjectOf(fields)]) => timestamp_of(fields),
            ("MinKey", []) => Some(Bson::MinKey),
            ("MaxKey", []) => Some(Bson::MaxKey),
            ("RegExp", [Text(pattern)]) | ("BSONRegExp", [Text(pattern)]) => {
                literals::regex(pattern, "").ok()
            }
            ("RegExp", [Text(pattern), Text(flags)]) => match literals::options(flags) {
                Ok(options) => literals::regex(pattern, &options).ok(),
                Err(what) => {
                    return Err(SyntaxError::new(self.text, self.at, what).hint(FLAGS_HINT));
                }
            },
            ("BSONRegExp", [Text(pattern), Text(options)]) => literals::regex(pattern, options)
                .ok()
                .filter(|_| options.chars().all(|option| "ilmsux".contains(option))),
            ("BSONSymbol" | "Symbol", [Text(text)]) => Some(Bson::Symbol((*text).to_owned())),
            ("Code", [Text(code)]) => Some(Bson::JavaScriptCode((*code).to_owned())),
            _ => None,
        };
        value.map(Content::Typed).ok_or_else(|| self.invalid())
    }

    /// Returns the document that represents a reference to another document.
    fn reference(self) -> Result<Content, SyntaxError> {
        let invalid = self.invalid();
        let text = self.text;
        let mut values = Vec::new();
        for argument in self.arguments {
            values.push(argument.into_bson(text)?);
        }
        let document = match values.as_slice() {
            [Bson::String(collection), id] => doc! { "$ref": collection, "$id": id },
            [Bson::String(collection), id, Bson::String(database)] => {
                doc! { "$ref": collection, "$id": id, "$db": database }
            }
            _ => return Err(invalid),
        };
        Ok(Content::Typed(document.into()))
    }

    fn code_with_scope(mut self) -> Result<Content, SyntaxError> {
        let invalid = self.invalid();
        let text = self.text;
        let scope = self.arguments.pop().map(|scope| scope.into_bson(text));
        let code = self.arguments.pop().map(|code| code.content);
        match (code, scope.transpose()?) {
            (Some(Content::Json(Value::String(code))), Some(Bson::Document(scope))) => Ok(
                Content::Typed(JavaScriptCodeWithScope { code, scope }.into()),
            ),
            _ => Err(invalid),
        }
    }

    /// Returns the error for arguments that the function does not take.
    fn invalid(&self) -> SyntaxError {
        let what = format!("invalid argument of {}", self.name);
        SyntaxError::new(self.text, self.at, what).hint(self.hint())
    }

    fn error(&self, reason: &str) -> SyntaxError {
        let what = format!(
            "{}{} {reason}",
            if self.is_new { "new " } else { "" },
            self.name
        );
        SyntaxError::new(self.text, self.at, what)
    }

    fn hint(&self) -> String {
        let form = FORMS.iter().find(|(names, _)| names.contains(&self.name));
        format!("write {}", form.map_or("", |(_, example)| example))
    }
}
