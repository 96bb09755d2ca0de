//! The values of a key string as raw BSON, to the byte as far as a key string keeps them.

use bson::RawDocumentBuf;
use bson::spec::ElementType;

use super::InvalidToken;
use super::key_string::{KeyString, OBJECT_ID_LENGTH, fault, position, type_byte};
use super::number::Number;
use super::type_bits::TypeBits;

/// Flipped, so that dates before 1970 sort before the others.
const DATE_SIGN: u64 = 1 << 63;

impl KeyString<'_> {
    pub(super) fn document(
        &mut self,
        type_bits: &mut TypeBits<'_>,
    ) -> Result<RawDocumentBuf, InvalidToken> {
        let start = self.at;
        self.one_of(&[type_byte::OBJECT], "document")?;
        let mut out = Vec::new();
        self.write_object(&mut out, type_bits, 1)?;
        RawDocumentBuf::from_bytes(out).map_err(|_| fault(start, "has no document"))
    }

    fn write_object(
        &mut self,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        depth: u32,
    ) -> Result<(), InvalidToken> {
        let length_at = out.len();
        out.extend([0; 4]);
        // The first of the two types only says how the field sorts among its neighbours.
        while self.inner_type(depth)?.is_some() {
            let name = self.c_string()?;
            let type_byte = self.byte()?;
            self.write_element(name, type_byte, out, type_bits, depth)?;
        }
        out.push(0);
        self.set_length(out, length_at, length_at)
    }

    fn write_array(
        &mut self,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        depth: u32,
    ) -> Result<(), InvalidToken> {
        let length_at = out.len();
        out.extend([0; 4]);
        let mut index = 0u32;
        while let Some(type_byte) = self.inner_type(depth)? {
            let mut name = itoa::Buffer::new();
            let name = name.format(index).as_bytes();
            self.write_element(name, type_byte, out, type_bits, depth)?;
            index += 1;
        }
        out.push(0);
        self.set_length(out, length_at, length_at)
    }

    fn write_element(
        &mut self,
        name: &[u8],
        type_byte: u8,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        depth: u32,
    ) -> Result<(), InvalidToken> {
        let type_at = out.len();
        out.push(0);
        out.extend(name);
        out.push(0);
        let element_type = self.write_value(type_byte, out, type_bits, depth)?;
        out[type_at] = element_type as u8;
        Ok(())
    }

    fn write_value(
        &mut self,
        type_byte: u8,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        depth: u32,
    ) -> Result<ElementType, InvalidToken> {
        let start = self.at.saturating_sub(1);
        if let Some(number) = Number::read(type_byte, self)? {
            return number.write(out, type_bits, position(start));
        }
        let length_at = out.len();
        Ok(match type_byte {
            type_byte::MIN_KEY => ElementType::MinKey,
            type_byte::MAX_KEY => ElementType::MaxKey,
            type_byte::NULL => ElementType::Null,
            type_byte::UNDEFINED => ElementType::Undefined,
            type_byte::FALSE | type_byte::TRUE => {
                out.push(u8::from(type_byte == type_byte::TRUE));
                ElementType::Boolean
            }
            type_byte::STRING => {
                self.write_string(out)?;
                match type_bits.next(1)? {
                    0 => ElementType::String,
                    _ => ElementType::Symbol,
                }
            }
            type_byte::CODE => {
                self.write_string(out)?;
                ElementType::JavaScriptCode
            }
            type_byte::CODE_WITH_SCOPE => {
                out.extend([0; 4]);
                self.write_string(out)?;
                // A scope counts as two levels, as it does when the server checks what it is sent.
                self.write_object(out, type_bits, depth + 2)?;
                self.set_length(out, length_at, length_at)?;
                ElementType::JavaScriptCodeWithScope
            }
            type_byte::OBJECT => {
                self.write_object(out, type_bits, depth + 1)?;
                ElementType::EmbeddedDocument
            }
            type_byte::ARRAY => {
                self.write_array(out, type_bits, depth + 1)?;
                ElementType::Array
            }
            type_byte::BINARY => {
                let length = self.binary_length()?;
                out.extend([0; 4]);
                out.push(self.byte()?);
                out.extend(self.slice(length)?);
                self.set_length(out, length_at, length_at + 5)?;
                ElementType::Binary
            }
            type_byte::OBJECT_ID => {
                out.extend(self.slice(OBJECT_ID_LENGTH)?);
                ElementType::ObjectId
            }
            type_byte::DATE => {
                let millis = u64::from_be_bytes(self.array()?) ^ DATE_SIGN;
                out.extend(millis.to_le_bytes());
                ElementType::DateTime
            }
            type_byte::TIMESTAMP => {
                out.extend(u64::from_be_bytes(self.array()?).to_le_bytes());
                ElementType::Timestamp
            }
            type_byte::REGEX => {
                for _pattern_and_options in 0..2 {
                    out.extend(self.c_string()?);
                    out.push(0);
                }
                ElementType::RegularExpression
            }
            type_byte::DB_POINTER => {
                let length = self.long_length()?;
                out.extend([0; 4]);
                out.extend(self.slice(length)?);
                out.push(0);
                self.set_length(out, length_at, length_at + 4)?;
                out.extend(self.slice(OBJECT_ID_LENGTH)?);
                ElementType::DbPointer
            }
            unknown => {
                let what = format!("has the unknown type {unknown:02X}");
                return Err(fault(start, &what));
            }
        })
    }

    /// A string with its length before it and a NUL behind, which the length counts.
    fn write_string(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidToken> {
        let length_at = out.len();
        out.extend([0; 4]);
        self.string(|piece| out.extend(piece))?;
        out.push(0);
        self.set_length(out, length_at, length_at + 4)
    }

    /// Fills in the length of what was written from `start` on. All lengths in BSON are int32.
    fn set_length(&self, out: &mut [u8], at: usize, start: usize) -> Result<(), InvalidToken> {
        let length =
            i32::try_from(out.len() - start).map_err(|_| fault(self.at, "is too long for BSON"))?;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}
