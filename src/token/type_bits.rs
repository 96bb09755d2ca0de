//! The `_typeBits` of a resume token: what a key string leaves out because it does not affect the order, namely which of the
//! numeric types a number had, its decimal exponent, and whether a text was a string or a symbol.

use super::InvalidToken;

/// A byte that says the data's length follows in four bytes; any other with this bit set holds the length itself.
const LENGTH_FLAG: u8 = 0x80;

/// A stream of bits in the order in which the values stand in the key string.
#[derive(Debug)]
pub(super) struct TypeBits<'a> {
    /// `None` stands for zeros without end, which the server leaves out of the token.
    data: Option<&'a [u8]>,
    next_bit: usize,
}

impl<'a> TypeBits<'a> {
    /// Reads the content of `_typeBits`; no bytes at all stand for zeros without end.
    ///
    /// # Errors
    /// When the length it states is not there.
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Result<Self, InvalidToken> {
        let data = match bytes {
            [] | [0, ..] => None,
            [LENGTH_FLAG, a, b, c, d, rest @ ..] => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]);
                Some(usize::try_from(length).ok().and_then(|n| rest.get(..n)))
            }
            [first, rest @ ..] if first & LENGTH_FLAG != 0 => {
                Some(rest.get(..usize::from(first & !LENGTH_FLAG)))
            }
            [_, ..] => Some(bytes.get(..1)),
        };
        match data {
            Some(None) => Err(InvalidToken::new(
                "the resume token's _typeBits are shorter than they say",
            )),
            Some(data) => Ok(Self { data, next_bit: 0 }),
            None => Ok(Self {
                data: None,
                next_bit: 0,
            }),
        }
    }

    /// The next bits as a number, the first of them the highest. At most 32.
    ///
    /// # Errors
    /// When the key string holds more values than the type bits do.
    pub(super) fn next(&mut self, count: u32) -> Result<u32, InvalidToken> {
        let Some(data) = self.data else {
            return Ok(0);
        };
        let mut value = 0;
        for _ in 0..count {
            let byte = data.get(self.next_bit / 8).ok_or_else(|| {
                InvalidToken::new("the resume token's _typeBits end before its _data does")
            })?;
            value = (value << 1) | u32::from((byte >> (self.next_bit % 8)) & 1);
            self.next_bit += 1;
        }
        Ok(value)
    }
}
