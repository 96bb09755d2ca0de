//! Writer of one BSON value: the text of every type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::spec::ElementType;

use super::fields::{Fields, LENGTH_SIZE, malformed};
use super::{Fidelity, Malformed, Mode, decimal128, number, text};

/// Maximum number of levels of documents and arrays. Servers allow 180. The limit keeps crafted input
/// from overflowing the stack.
const MAX_DEPTH: usize = 1000;

/// Deprecated binary subtype. Its data begins with a second length.
const BINARY_OLD: u8 = 0x02;

/// Milliseconds from 1970 to the year 10000. From then on, relaxed dates are numbers.
const YEAR_10000_MILLIS: i64 = 253_402_300_800_000;

/// One pass over `bson`. The methods read from `at`, never past `limit`, and return the position after
/// the bytes they read. `at <= limit <= bson.len()` always holds.
pub(super) struct Writer<'a> {
    pub(super) bson: Fields<'a>,
    pub(super) mode: Mode,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) fidelity: Fidelity,
}

impl Writer<'_> {
    pub(super) fn value(
        &mut self,
        tag: u8,
        at: usize,
        limit: usize,
        depth: usize,
    ) -> Result<usize, Malformed> {
        match ElementType::from(tag) {
            Some(ElementType::EmbeddedDocument) => self.document(at, limit, depth),
            Some(ElementType::Array) => self.array(at, limit, depth),
            Some(ElementType::JavaScriptCodeWithScope) => self.code_with_scope(at, limit, depth),
            _ => self.leaf(tag, at, limit),
        }
    }

    /// Writes a value that contains no other values. Separate from [`Self::value`] to keep the stack frames
    /// of the recursion small.
    fn leaf(&mut self, tag: u8, at: usize, limit: usize) -> Result<usize, Malformed> {
        match ElementType::from(tag) {
            Some(ElementType::Double) => {
                let (bytes, end) = self.bson.fixed(at, limit)?;
                self.double(f64::from_le_bytes(bytes));
                Ok(end)
            }
            Some(ElementType::String) => self.string(at, limit),
            Some(ElementType::Binary) => self.binary(at, limit),
            Some(ElementType::Undefined) => Ok(self.constant(br#"{"$undefined":true}"#, at)),
            Some(ElementType::ObjectId) => self.object_id(at, limit),
            Some(ElementType::Boolean) => match self.bson.fixed(at, limit)? {
                ([0], end) => Ok(self.constant(b"false", end)),
                (_, end) => Ok(self.constant(b"true", end)),
            },
            Some(ElementType::DateTime) => {
                let (bytes, end) = self.bson.fixed(at, limit)?;
                self.date(i64::from_le_bytes(bytes));
                Ok(end)
            }
            Some(ElementType::Null) => Ok(self.constant(b"null", at)),
            Some(ElementType::RegularExpression) => self.regular_expression(at, limit),
            Some(ElementType::DbPointer) => {
                self.push(br#"{"$dbPointer":{"$ref":"#);
                let at = self.string(at, limit)?;
                self.push(br#","$id":"#);
                let end = self.object_id(at, limit)?;
                Ok(self.constant(b"}}", end))
            }
            Some(ElementType::JavaScriptCode) => {
                self.push(br#"{"$code":"#);
                let end = self.string(at, limit)?;
                Ok(self.constant(b"}", end))
            }
            Some(ElementType::Symbol) => {
                self.push(br#"{"$symbol":"#);
                let end = self.string(at, limit)?;
                Ok(self.constant(b"}", end))
            }
            Some(ElementType::Int32) => {
                let (bytes, end) = self.bson.fixed(at, limit)?;
                self.integer(br#"{"$numberInt":""#, i32::from_le_bytes(bytes));
                Ok(end)
            }
            Some(ElementType::Timestamp) => {
                let (increment, at) = self.bson.fixed(at, limit)?;
                let (seconds, end) = self.bson.fixed(at, limit)?;
                self.push(br#"{"$timestamp":{"t":"#);
                number::push_integer(u32::from_le_bytes(seconds), self.out);
                self.push(br#","i":"#);
                number::push_integer(u32::from_le_bytes(increment), self.out);
                Ok(self.constant(b"}}", end))
            }
            Some(ElementType::Int64) => {
                let (bytes, end) = self.bson.fixed(at, limit)?;
                self.integer(br#"{"$numberLong":""#, i64::from_le_bytes(bytes));
                Ok(end)
            }
            Some(ElementType::Decimal128) => {
                let (bytes, end) = self.bson.fixed(at, limit)?;
                self.push(br#"{"$numberDecimal":""#);
                decimal128::push(u128::from_le_bytes(bytes), self.out);
                Ok(self.constant(br#""}"#, end))
            }
            Some(ElementType::MaxKey) => Ok(self.constant(br#"{"$maxKey":1}"#, at)),
            Some(ElementType::MinKey) => Ok(self.constant(br#"{"$minKey":1}"#, at)),
            _ => Err(malformed(at, "unknown element type")),
        }
    }

    fn document(&mut self, at: usize, limit: usize, depth: usize) -> Result<usize, Malformed> {
        let last = self.terminator(at, limit, depth)?;
        let mut at = at + LENGTH_SIZE;
        let mut lead = *br#"{""#;
        while at < last {
            let tag = self.bson.bytes[at];
            self.push(&lead);
            at = self.key(at + 1, last)?;
            self.push(br#"":"#);
            at = self.value(tag, at, last, depth + 1)?;
            lead = *br#",""#;
        }
        if lead[0] == b'{' {
            self.push(b"{");
        }
        Ok(self.constant(b"}", last + 1))
    }

    fn array(&mut self, at: usize, limit: usize, depth: usize) -> Result<usize, Malformed> {
        let last = self.terminator(at, limit, depth)?;
        let mut at = at + LENGTH_SIZE;
        let mut lead = *b"[";
        while at < last {
            let tag = self.bson.bytes[at];
            self.push(&lead);
            at = self.bson.cstring_terminator(at + 1, last)? + 1;
            at = self.value(tag, at, last, depth + 1)?;
            lead = *b",";
        }
        if lead[0] == b'[' {
            self.push(b"[");
        }
        Ok(self.constant(b"]", last + 1))
    }

    fn terminator(&self, at: usize, limit: usize, depth: usize) -> Result<usize, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(malformed(at, "nested too deeply"));
        }
        self.bson.document_terminator(at, limit)
    }

    fn key(&mut self, at: usize, last: usize) -> Result<usize, Malformed> {
        let plain = at + text::push_plain(&self.bson.bytes[at..], self.out);
        // A plain run ends at the terminator of the surrounding document at the latest.
        let end = if self.bson.bytes[plain] == 0 {
            plain
        } else {
            let end = self.bson.cstring_terminator(plain, last)?;
            self.escaped(plain, end);
            end
        };
        if end >= last {
            return Err(malformed(at, "unterminated key"));
        }
        Ok(end + 1)
    }

    fn string(&mut self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let end = self.bson.string_terminator(at, limit)?;
        self.quoted(at + LENGTH_SIZE, end);
        Ok(end + 1)
    }

    /// Writes the text from `start` to `end` in quotes. Requires a zero byte at `end`.
    fn quoted(&mut self, start: usize, end: usize) {
        self.push(b"\"");
        let plain = start + text::push_plain(&self.bson.bytes[start..], self.out);
        if plain < end {
            self.escaped(plain, end);
        }
        self.push(b"\"");
    }

    /// Writes the rest of a text after its plain beginning.
    #[cold]
    fn escaped(&mut self, start: usize, end: usize) {
        if text::push_escaped(&self.bson.bytes[start..end], self.out) == Fidelity::Replaced {
            self.fidelity = Fidelity::Replaced;
        }
    }

    fn binary(&mut self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let size = self.bson.length(at, limit)?;
        let ([subtype], start) = self.bson.fixed(at + LENGTH_SIZE, limit)?;
        if size > limit - start {
            return Err(malformed(at, "wrong binary length"));
        }
        let end = start + size;
        let mut data = &self.bson.bytes[start..end];
        // A wrong inner length is ordinary data: the server stores it unchanged.
        if subtype == BINARY_OLD
            && let Some((inner, rest)) = data.split_first_chunk()
            && usize::try_from(i32::from_le_bytes(*inner)) == Ok(rest.len())
        {
            data = rest;
        }
        self.push(br#"{"$binary":{"base64":""#);
        let text = self.out.len();
        self.out.resize(text + data.len().div_ceil(3) * 4, 0);
        BASE64
            .encode_slice(data, &mut self.out[text..])
            .expect("padded base64 has four bytes for every three");
        let mut tail = *br#"","subType":"00"}}"#;
        const_hex::encode_to_slice([subtype], &mut tail[13..15]).expect("two digits for a byte");
        self.push(&tail);
        Ok(end)
    }

    fn object_id(&mut self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let (id, end) = self.bson.fixed::<12>(at, limit)?;
        let mut text = *br#"{"$oid":"000000000000000000000000"}"#;
        const_hex::encode_to_slice(id, &mut text[9..33]).expect("two digits for a byte");
        Ok(self.constant(&text, end))
    }

    fn regular_expression(&mut self, at: usize, limit: usize) -> Result<usize, Malformed> {
        let pattern_end = self.bson.cstring_terminator(at, limit)?;
        self.push(br#"{"$regularExpression":{"pattern":"#);
        self.quoted(at, pattern_end);
        self.push(br#","options":""#);
        let options_end = self.bson.cstring_terminator(pattern_end + 1, limit)?;
        let options = &self.bson.bytes[pattern_end + 1..options_end];
        if text::push_sorted(options, self.out) == Fidelity::Replaced {
            self.fidelity = Fidelity::Replaced;
        }
        Ok(self.constant(br#""}}"#, options_end + 1))
    }

    fn code_with_scope(
        &mut self,
        at: usize,
        limit: usize,
        depth: usize,
    ) -> Result<usize, Malformed> {
        let size = self.bson.length(at, limit)?;
        if size < LENGTH_SIZE || size > limit - at {
            return Err(malformed(at, "wrong length of code with scope"));
        }
        let end = at + size;
        self.push(br#"{"$code":"#);
        let scope = self.string(at + LENGTH_SIZE, end)?;
        self.push(br#","$scope":"#);
        if self.document(scope, end, depth + 1)? != end {
            return Err(malformed(at, "code with scope does not fill its length"));
        }
        Ok(self.constant(b"}", end))
    }

    fn integer<I: itoa::Integer, const N: usize>(&mut self, wrapper: &[u8; N], value: I) {
        if self.mode == Mode::Relaxed {
            number::push_integer(value, self.out);
        } else {
            self.push(wrapper);
            number::push_integer(value, self.out);
            self.push(br#""}"#);
        }
    }

    fn double(&mut self, value: f64) {
        if self.mode == Mode::Relaxed && value.is_finite() {
            number::push_double(value, self.out);
        } else {
            self.push(br#"{"$numberDouble":""#);
            number::push_double(value, self.out);
            self.push(br#""}"#);
        }
    }

    fn date(&mut self, millis: i64) {
        if self.mode == Mode::Relaxed && (0..YEAR_10000_MILLIS).contains(&millis) {
            self.push(br#"{"$date":""#);
            number::push_iso_date(millis.unsigned_abs(), self.out);
            self.push(br#""}"#);
        } else {
            self.push(br#"{"$date":{"$numberLong":""#);
            number::push_integer(millis, self.out);
            self.push(br#""}}"#);
        }
    }

    #[inline]
    fn push<const N: usize>(&mut self, text: &[u8; N]) {
        self.out.extend_from_slice(text);
    }

    /// Writes `text`, and returns `end`.
    #[inline]
    fn constant<const N: usize>(&mut self, text: &[u8; N], end: usize) -> usize {
        self.push(text);
        end
    }
}
