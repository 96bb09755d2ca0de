//! Extended JSON v2 from raw BSON: the bytes of one document become one line at the end of a buffer,
//! with no tree in between. Pure: no I/O, no allocation per value; order and duplicate keys are kept.
//! Content never makes it fail, only a broken structure does.
//!
//! Specification: <https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>

mod fields;
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

/// Which of the two forms of Extended JSON v2 is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every type can be read back: `{"$numberInt":"5"}`.
    Canonical,
    /// Bare numbers and ISO 8601 dates where JSON can hold them; the same as canonical elsewhere.
    Relaxed,
}

/// Whether a written line carries the text of its document unchanged.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// All text was valid UTF-8.
    Exact,
    /// Some text was not, which JSON cannot hold: U+FFFD stands for what was broken. MongoDB stores
    /// such text and streams it (measured on 6.0.27).
    Replaced,
}

/// Bytes that are not BSON: a length that does not fit, an unknown type, a missing terminator, or
/// nesting far beyond any server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where in the input, in bytes from its beginning.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed BSON at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Malformed {}

/// Appends the document `bson` as one JSON object, without a line end.
///
/// # Errors
/// [`Malformed`] when `bson` is not exactly one document; `out` is then as it was before.
pub fn write_document(bson: &[u8], mode: Mode, out: &mut Vec<u8>) -> Result<Fidelity, Malformed> {
    write_value(ElementType::EmbeddedDocument as u8, bson, mode, out)
}

/// The document as text, for documents that are made here rather than streamed.
///
/// # Errors
/// As [`write_document`].
pub fn to_text(document: &RawDocument, mode: Mode) -> Result<String, Malformed> {
    let mut text = Vec::new();
    let _: Fidelity = write_document(document.as_bytes(), mode, &mut text)?;
    // The writer replaces what is not UTF-8, so nothing is lost here.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Appends one value, where `value` is what follows the key in a BSON element of type `tag`.
///
/// # Errors
/// [`Malformed`] when `value` is not exactly one value of that type; `out` is then as it was
/// before.
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
        Ok(end) => malformed(end, "bytes behind the end of the value"),
        Err(failure) => failure,
    };
    out.truncate(before);
    Err(failure)
}
