//! MongoDB's key string format (version 1, every field ascending): the sortable encoding of BSON values of which resume tokens and
//! index keys are made. Any bytes may come: what is no key string is an error, never a panic.

use bson::{Timestamp, Uuid};

use super::InvalidToken;
use super::number::Number;

/// The bytes that begin a value which is no number, in the order in which values sort.
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

/// No server can be set to allow more levels (its parameter `maxBSONDepth` ends at 250). Each costs stack.
const DEEPEST_LEVEL: u32 = 250;
/// Stands in place of a type where an object or an array ends.
const CLOSE: u8 = 0;
/// Follows a NUL that belongs to a string; one without it ends the string.
const INNER_NUL: u8 = 0xff;
/// In place of a binary value's length: it follows in four bytes.
const LONG_BINARY: u8 = 0xff;
const UUID_LENGTH_AND_SUBTYPE: [u8; 2] = [16, 4];
pub(super) const OBJECT_ID_LENGTH: usize = 12;

/// A key string, and how far it has been read.
#[derive(Debug)]
pub(super) struct KeyString<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> KeyString<'a> {
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether no further value follows. The server accepts a missing end mark, and anything behind it.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes
            .get(self.at)
            .is_none_or(|byte| *byte == type_byte::END)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, InvalidToken> {
        self.one_of(&[type_byte::TIMESTAMP], "timestamp")?;
        Ok(Timestamp {
            time: u32::from_be_bytes(self.array()?),
            increment: u32::from_be_bytes(self.array()?),
        })
    }

    /// An integer of 32 bits, whatever the type bits say.
    pub(super) fn int32(&mut self) -> Result<i32, InvalidToken> {
        let start = self.at;
        let type_byte = self.byte()?;
        Number::read(type_byte, self)?
            .and_then(|number| number.as_i32())
            .ok_or_else(|| fault(start, "has no int32"))
    }

    pub(super) fn bool(&mut self) -> Result<bool, InvalidToken> {
        let found = self.one_of(&[type_byte::FALSE, type_byte::TRUE], "bool")?;
        Ok(found == type_byte::TRUE)
    }

    /// A UUID, or the null that stands for none.
    pub(super) fn uuid(&mut self) -> Result<Option<Uuid>, InvalidToken> {
        let start = self.at;
        let found = self.one_of(&[type_byte::BINARY, type_byte::NULL], "UUID")?;
        if found == type_byte::NULL {
            return Ok(None);
        }
        if self.array()? != UUID_LENGTH_AND_SUBTYPE {
            return Err(fault(start, "has no UUID"));
        }
        self.array().map(Uuid::from_bytes).map(Some)
    }

    /// Steps over a document, for which no type bits are needed.
    pub(super) fn skip_document(&mut self) -> Result<(), InvalidToken> {
        self.one_of(&[type_byte::OBJECT], "document")?;
        self.skip_object(1)
    }

    pub(super) fn byte(&mut self) -> Result<u8, InvalidToken> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidToken> {
        let bytes = self.slice(N)?;
        bytes.try_into().map_err(|_| self.cut_off())
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], InvalidToken> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or_else(|| self.cut_off())?;
        self.at += length;
        Ok(bytes)
    }

    /// Bytes up to a NUL, without it.
    pub(super) fn c_string(&mut self) -> Result<&'a [u8], InvalidToken> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == 0);
        let text = self.slice(length.ok_or_else(|| self.cut_off())?)?;
        self.at += 1;
        Ok(text)
    }

    /// Hands on the bytes of a string in pieces.
    pub(super) fn string(&mut self, mut piece: impl FnMut(&[u8])) -> Result<(), InvalidToken> {
        loop {
            piece(self.c_string()?);
            if self.bytes.get(self.at) != Some(&INNER_NUL) {
                return Ok(());
            }
            self.at += 1;
            piece(&[0]);
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
        usize::try_from(length).map_err(|_| self.cut_off())
    }

    /// The first byte of a value, when it is one of these.
    pub(super) fn one_of(&mut self, type_bytes: &[u8], name: &str) -> Result<u8, InvalidToken> {
        let start = self.at;
        let found = self.byte()?;
        if !type_bytes.contains(&found) {
            return Err(fault(start, &format!("has no {name}")));
        }
        Ok(found)
    }

    /// The type that follows inside an object or an array; `None` where it ends.
    pub(super) fn inner_type(&mut self, depth: u32) -> Result<Option<u8>, InvalidToken> {
        if depth > DEEPEST_LEVEL {
            return Err(fault(self.at, "is nested too deep"));
        }
        let found = self.byte()?;
        Ok((found != CLOSE).then_some(found))
    }

    fn cut_off(&self) -> InvalidToken {
        fault(self.bytes.len(), "breaks off")
    }

    fn skip_object(&mut self, depth: u32) -> Result<(), InvalidToken> {
        while self.inner_type(depth)?.is_some() {
            self.c_string()?;
            let type_byte = self.byte()?;
            self.skip_value(type_byte, depth)?;
        }
        Ok(())
    }

    fn skip_value(&mut self, type_byte: u8, depth: u32) -> Result<(), InvalidToken> {
        match type_byte {
            type_byte::MIN_KEY
            | type_byte::MAX_KEY
            | type_byte::NULL
            | type_byte::UNDEFINED
            | type_byte::FALSE
            | type_byte::TRUE => {}
            type_byte::STRING | type_byte::CODE => self.string(|_| {})?,
            type_byte::CODE_WITH_SCOPE => {
                self.string(|_| {})?;
                self.skip_object(depth + 2)?;
            }
            type_byte::OBJECT => self.skip_object(depth + 1)?,
            type_byte::ARRAY => {
                while let Some(type_byte) = self.inner_type(depth + 1)? {
                    self.skip_value(type_byte, depth + 1)?;
                }
            }
            type_byte::BINARY => {
                let length = self.binary_length()?;
                self.byte()?;
                self.slice(length)?;
            }
            type_byte::OBJECT_ID => {
                self.slice(OBJECT_ID_LENGTH)?;
            }
            type_byte::DATE | type_byte::TIMESTAMP => {
                self.array::<8>()?;
            }
            type_byte::REGEX => {
                self.c_string()?;
                self.c_string()?;
            }
            type_byte::DB_POINTER => {
                let length = self.long_length()?;
                self.slice(length)?;
                self.slice(OBJECT_ID_LENGTH)?;
            }
            _ => {
                let start = self.at.saturating_sub(1);
                Number::read(type_byte, self)?
                    .ok_or_else(|| fault(start, "has an unknown type"))?;
            }
        }
        Ok(())
    }
}

/// Where a byte stands in the text of `_data`, in hex digits from 0.
pub(super) fn position(at: usize) -> usize {
    2 * at
}

pub(super) fn fault(at: usize, what: &str) -> InvalidToken {
    InvalidToken::new(format!(
        "the resume token's _data {what} at position {}",
        position(at)
    ))
}
