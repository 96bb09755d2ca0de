//! MongoDB's key string format (version 1, every field ascending): the sortable encoding of BSON values in resume tokens and index keys.
//! Input may be arbitrary bytes: an invalid key string is an error, never a panic.

use bson::{Timestamp, Uuid};

use super::InvalidToken;
use super::number::Number;

/// First bytes of values that are not numbers, in the order in which values sort.
pub(super) mod type_byte {
    pub(in crate::token) const END: u8 = 4;
    pub(in crate::token) const MIN_KEY: u8 = 10;
    pub(in crate::token) const UNDEFINED: u8 = 15;
    pub(in crate::token) const NULL: u8 = 20;
    pub(in crate::token) const STRING: u8 = 60;
    pub(in crate::token) const OBJECT: u8 = 70;
    pub(in crate::token) const ARRAY: u8 = 80;
    pub(in crate::token) const BINARY: u8 = 90;
    pub(in crate::token) const OBJECT_ID: u8 = 100;
    pub(in crate::token) const FALSE: u8 = 110;
    pub(in crate::token) const TRUE: u8 = 111;
    pub(in crate::token) const DATE: u8 = 120;
    pub(in crate::token) const TIMESTAMP: u8 = 130;
    pub(in crate::token) const REGEX: u8 = 140;
    pub(in crate::token) const DB_POINTER: u8 = 150;
    pub(in crate::token) const CODE: u8 = 160;
    pub(in crate::token) const CODE_WITH_SCOPE: u8 = 170;
    pub(in crate::token) const MAX_KEY: u8 = 240;
}

/// Follows a NUL that is part of a string. A NUL without it ends the string.
const INNER_NUL: u8 = 0xff;
/// Stands in place of the length of a binary value when the length follows in four bytes.
const LONG_BINARY: u8 = 0xff;
const UUID_LENGTH_AND_SUBTYPE: [u8; 2] = [16, 4];
pub(super) const OBJECT_ID_LENGTH: usize = 12;

/// A reader of a key string.
#[derive(Debug)]
pub(super) struct KeyString<'a> {
    bytes: &'a [u8],
    /// Number of bytes read.
    pub(super) offset: usize,
}

impl<'a> KeyString<'a> {
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Returns whether no value follows. The server accepts a missing end mark, and any bytes after it.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes
            .get(self.offset)
            .is_none_or(|byte| *byte == type_byte::END)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, InvalidToken> {
        self.expect_type(&[type_byte::TIMESTAMP], "timestamp")?;
        Ok(Timestamp {
            time: u32::from_be_bytes(self.array()?),
            increment: u32::from_be_bytes(self.array()?),
        })
    }

    /// Reads a number that fits into 32 bits, without regard to its type bits.
    pub(super) fn int32(&mut self) -> Result<i32, InvalidToken> {
        let start = self.offset;
        let type_byte = self.byte()?;
        Number::read(type_byte, self)?
            .and_then(|number| number.as_i32())
            .ok_or_else(|| error_at(start, "has no int32"))
    }

    pub(super) fn bool(&mut self) -> Result<bool, InvalidToken> {
        let found = self.expect_type(&[type_byte::FALSE, type_byte::TRUE], "bool")?;
        Ok(found == type_byte::TRUE)
    }

    /// Reads a UUID, or the null that stands for no UUID.
    pub(super) fn uuid(&mut self) -> Result<Option<Uuid>, InvalidToken> {
        let start = self.offset;
        let found = self.expect_type(&[type_byte::BINARY, type_byte::NULL], "UUID")?;
        if found == type_byte::NULL {
            return Ok(None);
        }
        if self.array()? != UUID_LENGTH_AND_SUBTYPE {
            return Err(error_at(start, "has no UUID"));
        }
        self.array().map(Uuid::from_bytes).map(Some)
    }

    pub(super) fn byte(&mut self) -> Result<u8, InvalidToken> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidToken> {
        let bytes = self.slice(N)?;
        bytes.try_into().map_err(|_| self.truncated())
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], InvalidToken> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or_else(|| self.truncated())?;
        self.offset += length;
        Ok(bytes)
    }

    /// Reads bytes up to a NUL, and returns them without it.
    pub(super) fn c_string(&mut self) -> Result<&'a [u8], InvalidToken> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == 0);
        let text = self.slice(length.ok_or_else(|| self.truncated())?)?;
        self.offset += 1;
        Ok(text)
    }

    /// Reads a string, and appends its bytes to `out`.
    pub(super) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidToken> {
        loop {
            out.extend(self.c_string()?);
            if self.bytes.get(self.offset) != Some(&INNER_NUL) {
                return Ok(());
            }
            self.offset += 1;
            out.push(0);
        }
    }

    pub(super) fn binary_length(&mut self) -> Result<usize, InvalidToken> {
        match self.byte()? {
            LONG_BINARY => self.long_length(),
            length => Ok(length.into()),
        }
    }

    pub(super) fn long_length(&mut self) -> Result<usize, InvalidToken> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.truncated())
    }

    /// Reads the first byte of a value, which must be one of `type_bytes`.
    pub(super) fn expect_type(
        &mut self,
        type_bytes: &[u8],
        name: &str,
    ) -> Result<u8, InvalidToken> {
        let start = self.offset;
        let found = self.byte()?;
        if !type_bytes.contains(&found) {
            return Err(error_at(start, &format!("has no {name}")));
        }
        Ok(found)
    }

    fn truncated(&self) -> InvalidToken {
        error_at(self.bytes.len(), "is truncated")
    }
}

/// Returns the position of a byte in the text of `_data`: the number of hex digits before it.
pub(super) fn hex_position(offset: usize) -> usize {
    2 * offset
}

pub(super) fn error_at(offset: usize, reason: &str) -> InvalidToken {
    InvalidToken::new(format!(
        "the resume token's _data {reason} at position {}",
        hex_position(offset)
    ))
}
