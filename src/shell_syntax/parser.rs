//! Parser of JSON with the additions of JavaScript: comments, unquoted keys, trailing commas, calls.

use std::collections::HashMap;

use bson::Bson;
use serde_json::Value;

use super::constructors::{self, Call};
use super::scan::{is_identifier_part, is_identifier_start};
use super::syntax_error::{Position, quoted};
use super::tree::{Content, Node};
use super::{MAX_DEPTH, SyntaxError};

/// A text, and how far it was read.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    /// Offset of the next character, in bytes.
    pub(super) at: usize,
    /// Number of arrays, objects and calls around the next character.
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Parses the whole text as one value.
    ///
    /// # Errors
    /// When the text is not exactly one value.
    pub(super) fn only_value(mut self) -> Result<Node, SyntaxError> {
        let value = self.value()?;
        self.skip_blanks()?;
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.unexpected("the end of the value")),
        }
    }

    /// Parses a value and the blanks before it.
    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.skip_blanks()?;
        let at = self.at;
        let content = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => Content::Array(self.nested(|parser| parser.list(']', Self::value))?),
            Some('"' | '\'') => Content::Json(Value::String(self.string()?)),
            Some('/') => Content::Typed(self.regex()?),
            Some('0'..='9' | '+' | '-' | '.') => self.number()?,
            Some(c) if is_identifier_start(c) => self.word()?,
            Some('`') => {
                return Err(self
                    .error(at, "text in backticks is not supported")
                    .hint(r#"put text in double or single quotes, as in "paid""#));
            }
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { at, content })
    }

    /// Parses a part one level deeper.
    fn nested<T>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth == MAX_DEPTH {
            let what = format!("nesting exceeds {MAX_DEPTH} levels");
            return Err(self.error(self.at, what).hint(format!(
                "the server allows {MAX_DEPTH} levels in a document"
            )));
        }
        self.depth += 1;
        let parsed = part(self);
        self.depth -= 1;
        parsed
    }

    fn object(&mut self) -> Result<Content, SyntaxError> {
        let mut places = HashMap::new();
        let fields = self.list('}', |parser| {
            let at = parser.at;
            let key = parser.key()?;
            if key.contains('\0') {
                return Err(parser
                    .error(at, "a key contains NUL")
                    .hint("BSON has no such keys; remove \\0 or \\u0000"));
            }
            if let Some(first) = places.insert(key.clone(), at) {
                let key = quoted(&key);
                let mut error = parser.error(at, format_args!("duplicate key {key}"));
                error.message = format!(
                    "{}; the first is at {}",
                    error.message,
                    Position::of(parser.text, first)
                );
                return Err(error.hint("remove one of them, or combine the conditions with $and"));
            }
            parser.skip_blanks()?;
            if parser.peek() != Some(':') {
                let expected = format!("':' after the key {}", quoted(&key));
                return Err(match parser.peek() {
                    Some('.' | '-') => parser.unexpected(&expected).hint(
                        "put a key with a dot or a hyphen in quotes, as in \"fullDocument.status\"",
                    ),
                    _ => parser.unexpected(&expected),
                });
            }
            parser.at += 1;
            Ok((key, parser.value()?))
        })?;
        Ok(Content::Object(fields))
    }

    /// Parses the items between the bracket at the current place and `close`, separated by commas. A comma may follow the last one.
    fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_blanks()?;
            if self.eat(close) {
                return Ok(items);
            }
            items.push(item(self)?);
            self.skip_blanks()?;
            if !self.eat(',') && self.peek() != Some(close) {
                return Err(self.unexpected(&format!("',' or '{close}'")));
            }
        }
    }

    /// Parses a key: quoted, a name as in JavaScript, or digits.
    fn key(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Some('"' | '\'') => self.string(),
            Some(c) if is_identifier_start(c) => Ok(self.identifier().to_owned()),
            Some('0'..='9') => {
                let at = self.at;
                let digits = self.take_while(|c| is_identifier_part(c) || c == '.');
                let is_written_so = digits == "0" || !digits.starts_with('0');
                if !is_written_so || digits.contains(|c: char| !c.is_ascii_digit()) {
                    return Err(self
                        .error(at, format_args!("invalid key {}", quoted(digits)))
                        .hint(format!("put the key in quotes: {}", quoted(digits))));
                }
                Ok(digits.to_owned())
            }
            Some('[') => Err(self
                .error(self.at, "computed keys are not supported")
                .hint("write the key itself, in quotes")),
            _ => Err(self.unexpected("a key or '}'")),
        }
    }

    /// Parses a value that begins with a word: a literal or a call.
    fn word(&mut self) -> Result<Content, SyntaxError> {
        let at = self.at;
        let mut name = self.identifier().to_owned();
        let is_new = name == "new";
        if is_new {
            self.skip_blanks()?;
            if !self.peek().is_some_and(is_identifier_start) {
                return Err(self.unexpected("a type after 'new'"));
            }
            name = self.identifier().to_owned();
        } else if let Some(literal) = literal(&name) {
            return Ok(literal);
        }
        while self.eat('.') {
            name.push('.');
            name.push_str(self.identifier());
        }
        if !constructors::is_known(&name) {
            return Err(self.unknown(at, &name));
        }
        self.skip_blanks()?;
        let arguments = if self.peek() == Some('(') {
            self.nested(|parser| parser.list(')', Self::value))?
        } else if constructors::needs_no_call(&name) {
            Vec::new()
        } else {
            return Err(self.unexpected(&format!("'(' after {name}")));
        };
        Call {
            text: self.text,
            at,
            name: &name,
            is_new,
            arguments,
        }
        .value()
    }

    fn unknown(&mut self, at: usize, name: &str) -> SyntaxError {
        let is_call = self.skip_blanks().is_ok() && self.peek() == Some('(');
        let error = self.error(at, format_args!("unknown word {}", quoted(name)));
        if is_call {
            return error.hint(format!(
                "use one of the functions {}",
                constructors::names().join(", ")
            ));
        }
        let name = quoted(name);
        // A lone word loses its double quotes to the shell of the system.
        error.hint(match self.depth {
            0 => format!("put text in double quotes inside single quotes: '{name}'"),
            _ => format!("put text in double quotes: {name}"),
        })
    }
}

/// Returns the value that a word stands for.
fn literal(word: &str) -> Option<Content> {
    Some(match word {
        "true" => Content::Json(Value::Bool(true)),
        "false" => Content::Json(Value::Bool(false)),
        // mongosh sends null for undefined (measured on mongosh 2.12.0).
        "null" | "undefined" => Content::Json(Value::Null),
        "NaN" => Content::Typed(Bson::Double(f64::NAN)),
        "Infinity" => Content::Typed(Bson::Double(f64::INFINITY)),
        _ => return None,
    })
}
