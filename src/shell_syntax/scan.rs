//! The characters of a text: names, blanks and comments.

use super::SyntaxError;
use super::parser::Parser;
use super::syntax_error::quoted;

impl<'a> Parser<'a> {
    /// Reads a name. Returns an empty one if there is none.
    pub(super) fn identifier(&mut self) -> &'a str {
        if self.peek().is_some_and(is_identifier_start) {
            self.take_while(is_identifier_part)
        } else {
            ""
        }
    }

    /// Skips whitespace and comments.
    pub(super) fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(|c| c.is_whitespace() || c == '\u{FEFF}');
            if self.rest().starts_with("//") {
                self.take_while(|c| !is_line_end(c));
            } else if self.rest().starts_with("/*") {
                let Some(length) = self.rest().find("*/") else {
                    return Err(self
                        .error(self.at, "comment without an end")
                        .hint("end the comment with */"));
                };
                self.at += length + 2;
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn take_while(&mut self, accepted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !accepted(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += next.map_or(0, char::len_utf8);
        next
    }

    /// Reads the next character if it is `expected`.
    pub(super) fn eat(&mut self, expected: char) -> bool {
        let is_next = self.peek() == Some(expected);
        if is_next {
            self.at += expected.len_utf8();
        }
        is_next
    }

    pub(super) fn error(&self, at: usize, what: impl std::fmt::Display) -> SyntaxError {
        SyntaxError::new(self.text, at, what)
    }

    /// Returns the error for the next character, where something else was expected.
    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        match self.peek() {
            Some(found) => self.error(
                self.at,
                format_args!("expected {expected}, found {}", quoted(&found.to_string())),
            ),
            None => self.error(
                self.text.trim_end().len(),
                format_args!("expected {expected}, found the end of the text"),
            ),
        }
    }
}

pub(super) fn is_identifier_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '$' | '_')
}

pub(super) fn is_identifier_part(c: char) -> bool {
    is_identifier_start(c) || c.is_numeric() || matches!(c, '\u{200C}' | '\u{200D}')
}

/// Returns whether a line of JavaScript ends at `c`.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
