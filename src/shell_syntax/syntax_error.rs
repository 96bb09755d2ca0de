//! Errors in a value: what is wrong, where, and the line of the text with a caret below the place.

use std::fmt;

/// Maximum number of characters of the line that are shown before the place, and after it.
const MAX_BEFORE: usize = 40;
const MAX_AFTER: usize = 30;

/// The hint where there is no better one.
const QUOTES_HINT: &str =
    r#"put the whole value in single quotes, as in '{status: "paid", total: {$gt: 100}}'"#;

/// Error for text that is not a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, with line and column; one clause, no full stop.
    pub message: String,
    /// What to type instead.
    pub hint: String,
    /// The line with the error, or a part of it, and below it a caret under the place. Without control characters.
    pub excerpt: [String; 2],
}

impl SyntaxError {
    /// Creates the error for what is at byte `at` of `text`.
    pub(super) fn new(text: &str, at: usize, what: impl fmt::Display) -> Self {
        Self {
            message: format!("{what} at {}", Position::of(text, at)),
            hint: QUOTES_HINT.to_owned(),
            excerpt: excerpt(text, at),
        }
    }

    /// Replaces the hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Line and column of a place in a text, in characters from 1.
pub(super) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = &text[..at];
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start(before)..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

fn line_start(before: &str) -> usize {
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns the part of the line around byte `at`, and a line with a caret below the place.
fn excerpt(text: &str, at: usize) -> [String; 2] {
    let start = line_start(&text[..at]);
    let before: Vec<char> = text[start..at].chars().collect();
    let rest = text[at..].lines().next().unwrap_or_default();
    let skipped = before.len().saturating_sub(MAX_BEFORE);
    let mut line = String::from(if skipped > 0 { "..." } else { "" });
    line.extend(before[skipped..].iter().copied().map(printable));
    let caret = " ".repeat(line.chars().count()) + "^";
    line.extend(rest.chars().take(MAX_AFTER).map(printable));
    if rest.chars().nth(MAX_AFTER).is_some() {
        line.push_str("...");
    }
    [line, caret]
}

/// Returns the character in one column, and without effect on a terminal.
fn printable(c: char) -> char {
    let is_plain = matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    match c {
        c if c.is_whitespace() => ' ',
        c if is_plain => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Returns text from the input in quotes, short enough for a message and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARACTERS: usize = 40;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns a message of a library, which may contain text from the input, short enough and without control characters.
pub(super) fn shortened(message: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    let end = message.char_indices().nth(MAX_CHARACTERS);
    let (shown, rest) = message.split_at(end.map_or(message.len(), |(end, _)| end));
    let dots = if rest.is_empty() { "" } else { "..." };
    shown.chars().map(printable).chain(dots.chars()).collect()
}
