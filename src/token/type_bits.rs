//! The `_typeBits` of a resume token: details that a key string leaves out because they do not affect the order. These are the type of a
//! number, its decimal exponent, and whether a value was a string or a symbol.

use super::InvalidToken;

/// First byte when the length of the data follows in four bytes. Any other first byte with this bit set holds the length itself.
const LENGTH_FLAG: u8 = 0x80;

/// A reader of type bits, which have the order of the values in the key string.
#[derive(Debug)]
pub(super) struct TypeBits<'a> {
    /// `None` stands for an unlimited number of zeros, which the server leaves out of the token.
    data: Option<&'a [u8]>,
    next_bit: usize,
}

impl<'a> TypeBits<'a> {
    /// Creates a reader of the content of `_typeBits`. No bytes stand for an unlimited number of zeros.
    ///
    /// # Errors
    /// When the content is shorter than the length it begins with.
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
                "the resume token's _typeBits are truncated",
            )),
            Some(data) => Ok(Self { data, next_bit: 0 }),
            None => Ok(Self {
                data: None,
                next_bit: 0,
            }),
        }
    }

    /// Reads the next `count` bits, at most 32, as a number. The first bit is the highest.
    ///
    /// # Errors
    /// When there are type bits for fewer values than the key string holds.
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
