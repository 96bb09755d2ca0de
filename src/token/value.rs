//! Values of a key string as raw BSON, byte for byte except for details that a key string does not keep.

use bson::RawDocumentBuf;
use bson::spec::ElementType;

use super::InvalidToken;
use super::key_string::{KeyString, OBJECT_ID_LENGTH, error_at, hex_position, type_byte};
use super::number::Number;
use super::type_bits::TypeBits;

/// Maximum depth of nesting. Servers do not allow more (their parameter `maxBSONDepth` ends at 250), and each level costs stack.
const MAX_DEPTH: u32 = 250;
/// Stands in place of a type byte at the end of an object or an array.
const CLOSE: u8 = 0;
/// Flipped in a date, so that dates before 1970 sort first.
const DATE_SIGN: u64 = 1 << 63;

impl KeyString<'_> {
    /// Reads a document.
    pub(super) fn document(
        &mut self,
        type_bits: &mut TypeBits<'_>,
    ) -> Result<RawDocumentBuf, InvalidToken> {
        let start = self.offset;
        let bytes = self.document_bytes(Some(type_bits))?;
        RawDocumentBuf::from_bytes(bytes).map_err(|_| error_at(start, "has no document"))
    }

    /// Skips a document. Needs no type bits.
    pub(super) fn skip_document(&mut self) -> Result<(), InvalidToken> {
        self.document_bytes(None).map(drop)
    }

    fn document_bytes(
        &mut self,
        type_bits: Option<&mut TypeBits<'_>>,
    ) -> Result<Vec<u8>, InvalidToken> {
        self.expect_type(&[type_byte::OBJECT], "document")?;
        let mut decoder = Decoder {
            source: self,
            type_bits,
            out: Vec::new(),
        };
        decoder.fields(Container::Object, 1)?;
        Ok(decoder.out)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    /// Each field has its name, and another type byte before it that only serves the order.
    Object,
    /// The items have no names in the key string. In BSON their names are their indexes.
    Array,
}

/// One pass over the values of a key string.
struct Decoder<'s, 'k, 't> {
    source: &'s mut KeyString<'k>,
    /// `None` skips the values: `out` is then not BSON.
    type_bits: Option<&'s mut TypeBits<'t>>,
    out: Vec<u8>,
}

impl Decoder<'_, '_, '_> {
    fn fields(&mut self, container: Container, depth: u32) -> Result<(), InvalidToken> {
        if depth > MAX_DEPTH {
            return Err(error_at(self.source.offset, "is nested too deeply"));
        }
        let start = self.reserve_length();
        let mut digits = itoa::Buffer::new();
        for index in 0u32.. {
            let first = self.source.byte()?;
            if first == CLOSE {
                break;
            }
            let (name, type_byte) = match container {
                Container::Object => (self.source.c_string()?, self.source.byte()?),
                Container::Array => (digits.format(index).as_bytes(), first),
            };
            let type_at = self.out.len();
            self.out.push(0);
            self.out.extend(name);
            self.out.push(0);
            self.out[type_at] = self.value(type_byte, depth)? as u8;
        }
        self.out.push(0);
        self.set_length(start, start)
    }

    fn value(&mut self, type_byte: u8, depth: u32) -> Result<ElementType, InvalidToken> {
        let type_at = self.source.offset.saturating_sub(1);
        if let Some(number) = Number::read(type_byte, self.source)? {
            return match &mut self.type_bits {
                Some(type_bits) => number.write(&mut self.out, type_bits, hex_position(type_at)),
                None => Ok(ElementType::Undefined),
            };
        }
        Ok(match type_byte {
            type_byte::MIN_KEY => ElementType::MinKey,
            type_byte::MAX_KEY => ElementType::MaxKey,
            type_byte::NULL => ElementType::Null,
            type_byte::UNDEFINED => ElementType::Undefined,
            type_byte::FALSE | type_byte::TRUE => {
                self.out.push(u8::from(type_byte == type_byte::TRUE));
                ElementType::Boolean
            }
            type_byte::STRING => {
                self.string()?;
                let bit = match &mut self.type_bits {
                    Some(type_bits) => type_bits.next(1)?,
                    None => 0,
                };
                match bit {
                    0 => ElementType::String,
                    _ => ElementType::Symbol,
                }
            }
            type_byte::CODE => {
                self.string()?;
                ElementType::JavaScriptCode
            }
            type_byte::CODE_WITH_SCOPE => {
                let start = self.reserve_length();
                self.string()?;
                // A scope counts as two levels, as in the server's check of incoming BSON.
                self.fields(Container::Object, depth + 2)?;
                self.set_length(start, start)?;
                ElementType::JavaScriptCodeWithScope
            }
            type_byte::OBJECT => {
                self.fields(Container::Object, depth + 1)?;
                ElementType::EmbeddedDocument
            }
            type_byte::ARRAY => {
                self.fields(Container::Array, depth + 1)?;
                ElementType::Array
            }
            type_byte::BINARY => {
                let length = self.source.binary_length()?;
                let start = self.reserve_length();
                self.out.push(self.source.byte()?);
                self.out.extend(self.source.slice(length)?);
                self.set_length(start, start + 5)?;
                ElementType::Binary
            }
            type_byte::OBJECT_ID => {
                self.out.extend(self.source.slice(OBJECT_ID_LENGTH)?);
                ElementType::ObjectId
            }
            type_byte::DATE => {
                let millis = u64::from_be_bytes(self.source.array()?) ^ DATE_SIGN;
                self.out.extend(millis.to_le_bytes());
                ElementType::DateTime
            }
            type_byte::TIMESTAMP => {
                let timestamp = u64::from_be_bytes(self.source.array()?);
                self.out.extend(timestamp.to_le_bytes());
                ElementType::Timestamp
            }
            type_byte::REGEX => {
                for _pattern_and_options in 0..2 {
                    self.out.extend(self.source.c_string()?);
                    self.out.push(0);
                }
                ElementType::RegularExpression
            }
            type_byte::DB_POINTER => {
                let length = self.source.long_length()?;
                let start = self.reserve_length();
                self.out.extend(self.source.slice(length)?);
                self.out.push(0);
                self.set_length(start, start + 4)?;
                self.out.extend(self.source.slice(OBJECT_ID_LENGTH)?);
                ElementType::DbPointer
            }
            unknown => {
                let reason = format!("has the unknown type {unknown:02X}");
                return Err(error_at(type_at, &reason));
            }
        })
    }

    /// Writes a string with its length before it and a NUL after it, which the length includes.
    fn string(&mut self) -> Result<(), InvalidToken> {
        let start = self.reserve_length();
        self.source.string(&mut self.out)?;
        self.out.push(0);
        self.set_length(start, start + 4)
    }

    /// Makes room for a length, and returns its position in `out`.
    fn reserve_length(&mut self) -> usize {
        let start = self.out.len();
        self.out.extend([0; 4]);
        start
    }

    /// Sets the length at `at` to the number of bytes from `start` to the end. Lengths in BSON are int32.
    fn set_length(&mut self, at: usize, start: usize) -> Result<(), InvalidToken> {
        let length = i32::try_from(self.out.len() - start)
            .map_err(|_| error_at(self.source.offset, "is too long for BSON"))?;
        self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}
