//! Numbers of JSON and JavaScript.

use bson::Bson;
use serde_json::Value;

use super::SyntaxError;
use super::parser::Parser;
use super::scan::is_identifier_part;
use super::syntax_error::quoted;
use super::tree::Content;

impl Parser<'_> {
    /// Parses a number with its sign: decimal, hexadecimal, octal, binary, or an integer with the suffix n, which is an int64.
    pub(super) fn number(&mut self) -> Result<Content, SyntaxError> {
        let start = self.at;
        let sign = match self.peek() {
            Some('-') => "-",
            _ => "",
        };
        if self.eat('-') || self.eat('+') {
            self.skip_blanks()?;
        }
        let from = self.at;
        match self.identifier() {
            "Infinity" if sign == "-" => {
                return Ok(Content::Typed(Bson::Double(f64::NEG_INFINITY)));
            }
            "Infinity" => return Ok(Content::Typed(Bson::Double(f64::INFINITY))),
            "NaN" => return Ok(Content::Typed(Bson::Double(f64::NAN))),
            _ => self.at = from,
        }
        let mut literal = self
            .take_while(|c| is_identifier_part(c) || c == '.')
            .to_owned();
        let is_hex = literal.starts_with("0x") || literal.starts_with("0X");
        if literal.ends_with(['e', 'E']) && !is_hex {
            // The sign of an exponent.
            let sign = self.at;
            let _ = self.eat('+') || self.eat('-');
            self.take_while(is_identifier_part);
            literal.push_str(&self.text[sign..self.at]);
        }
        let invalid = || {
            let shown = quoted(&self.text[start..self.at]);
            self.error(start, format_args!("invalid number {shown}"))
                .hint("write a number as in 5, -1.5, 1e3 or 0x1F; put anything else in quotes")
        };
        let (digits, is_big) = match literal.strip_suffix('n') {
            Some(digits) => (digits, true),
            None => (literal.as_str(), false),
        };
        let digits = plain_digits(digits).ok_or_else(invalid)?;
        let number = format!("{sign}{digits}");
        if is_big {
            return match number.parse() {
                Ok(number) => Ok(Content::Typed(Bson::Int64(number))),
                Err(_) => Err(invalid()),
            };
        }
        match serde_json::from_str(&number) {
            Ok(number @ Value::Number(_)) => Ok(Content::Json(number)),
            _ => Err(invalid()),
        }
    }
}

/// Returns an unsigned number of JavaScript as JSON writes it; `None` if it is none, or one with a leading zero, which JavaScript may read
/// as octal. Leaves the check of what JSON can check to its parser.
fn plain_digits(literal: &str) -> Option<String> {
    // An underscore stands between two digits.
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
    let mut parts = literal.split('_').peekable();
    while let Some(part) = parts.next() {
        let follows = parts.peek();
        if follows
            .is_some_and(|next| !is_digit(part.chars().last()) || !is_digit(next.chars().next()))
        {
            return None;
        }
    }
    let literal = literal.replace('_', "");
    if let Some((prefix, digits)) = literal.split_at_checked(2) {
        let radix = match prefix {
            "0x" | "0X" => 16,
            "0o" | "0O" => 8,
            "0b" | "0B" => 2,
            _ => 0,
        };
        if radix != 0 {
            let is_number = digits.starts_with(|c: char| c.is_digit(radix));
            let number = u64::from_str_radix(digits, radix).ok();
            return number
                .filter(|_| is_number)
                .map(|number| number.to_string());
        }
    }
    // `.5` and `5.`, also before an exponent.
    let (integer, rest) = literal.split_at(
        literal
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(literal.len()),
    );
    let Some(rest) = rest.strip_prefix('.') else {
        return Some(literal);
    };
    let (fraction, exponent) = rest.split_at(
        rest.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len()),
    );
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let or_zero = |digits: &str| {
        if digits.is_empty() {
            "0".to_owned()
        } else {
            digits.to_owned()
        }
    };
    Some(format!(
        "{}.{}{exponent}",
        or_zero(integer),
        or_zero(fraction)
    ))
}
