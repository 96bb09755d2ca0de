//! Extended JSON v2 from raw BSON: appends the bytes of a document as one line to a buffer, without a tree in between.
//! Knows no events and no output. Performs no I/O and no allocation per value. Keeps field order and duplicate keys.
//! Only malformed BSON makes it fail, no content does.
//!
//! Specification: <https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>

pub(crate) mod decimal128;
mod escapes;
mod fields;
mod hidden;
mod number;
pub mod pretty;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::fmt;

use bson::RawDocument;
use bson::spec::ElementType;

use fields::{Fields, malformed};
use writer::Writer;

/// One of the two formats of Extended JSON v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Preserves every type: `{"$numberInt":"5"}`.
    Canonical,
    /// Plain numbers and ISO 8601 dates where JSON can represent them; otherwise as canonical.
    Relaxed,
}

/// Whether a line holds all text of its document unchanged.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// All text was valid UTF-8.
    Exact,
    /// Some text was invalid UTF-8, which JSON cannot represent: the line has U+FFFD in place of the
    /// invalid bytes. MongoDB stores and streams invalid UTF-8 (measured on 6.0.27).
    Replaced,
}

/// Error for bytes that are not BSON: a wrong length, an unknown type, a missing terminator, or nesting
/// far deeper than any server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Position of the error: number of bytes before it.
    pub offset: usize,
    /// Description of the error.
    pub reason: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed BSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Malformed {}

/// Appends the document `bson` to `out` as one JSON object, without a newline.
///
/// # Errors
/// [`Malformed`] when `bson` is not exactly one document. `out` is then unchanged.
pub fn write_document(bson: &[u8], mode: Mode, out: &mut Vec<u8>) -> Result<Fidelity, Malformed> {
    write_value(ElementType::EmbeddedDocument as u8, bson, mode, out)
}

/// Returns a document as text. For documents that cswatch creates; for events, [`write_document`] is
/// faster.
///
/// # Errors
/// As [`write_document`].
pub fn to_text(document: &RawDocument, mode: Mode) -> Result<String, Malformed> {
    let mut text = Vec::new();
    let _: Fidelity = write_document(document.as_bytes(), mode, &mut text)?;
    // The writer has already replaced invalid UTF-8, so this changes nothing.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Appends one value to `out`. `value` holds the bytes after the key in a BSON element of type `tag`.
///
/// # Errors
/// [`Malformed`] when `value` is not exactly one value of that type. `out` is then unchanged.
pub fn write_value(
    tag: u8,
    value: &[u8],
    mode: Mode,
    out: &mut Vec<u8>,
) -> Result<Fidelity, Malformed> {
    let before = out.len();
    out.reserve(value.len());
    let mut writer = Writer {
        bson: Fields { bytes: value },
        mode,
        out,
        fidelity: Fidelity::Exact,
    };
    let end = writer.value(tag, 0, value.len(), 0);
    let fidelity = writer.fidelity;
    let failure = match end {
        Ok(end) if end == value.len() => return Ok(fidelity),
        Ok(end) => malformed(end, "trailing bytes after the value"),
        Err(failure) => failure,
    };
    out.truncate(before);
    Err(failure)
}
