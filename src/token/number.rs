//! Numbers in a key string. One sortable form stands for all four numeric types; the type bits tell which one it was.
//! A decimal that is no double is stored as the double below it and what is missing in the 34th digit.

use bson::spec::ElementType;

use super::InvalidToken;
use super::decimal::{Decimal, EXPONENT_SHIFT, EXPONENT_TYPE_BITS, MAX_STORED_EXPONENT, PRECISION};
use super::key_string::KeyString;
use super::type_bits::TypeBits;

/// Type bytes of numbers, in the order of their values.
mod type_byte {
    pub(super) const NAN: u8 = 30;
    pub(super) const NEGATIVE_LARGE: u8 = 31;
    pub(super) const NEGATIVE_8_BYTES: u8 = 32;
    pub(super) const NEGATIVE_1_BYTE: u8 = 39;
    pub(super) const NEGATIVE_SMALL: u8 = 40;
    pub(super) const ZERO: u8 = 41;
    pub(super) const POSITIVE_SMALL: u8 = 42;
    pub(super) const POSITIVE_1_BYTE: u8 = 43;
    pub(super) const POSITIVE_8_BYTES: u8 = 50;
    pub(super) const POSITIVE_LARGE: u8 = 51;
}

/// What the two type bits of a number say it was.
mod numeric_type {
    pub(super) const INT32: u32 = 0;
    pub(super) const INT64: u32 = 1;
    pub(super) const DOUBLE: u32 = 2;
}

/// Digits that a decimal has at most when it is stored as a double alone.
const DIGITS_OF_DOUBLE: usize = 15;
/// 2^-256. The smallest doubles are stored 2^256 times as large, so that subnormal ones keep all their bits.
const TINY_SCALE: f64 = f64::from_bits((1023 - 256) << 52);
/// The quiet NaN without sign or payload, which a key string does not keep.
const DOUBLE_NAN: u64 = 0x7ff8 << 48;
const DECIMAL_SIGN: u128 = 1 << 127;
const DECIMAL_NAN: u128 = 0x7c << 120;
const DECIMAL_INFINITY: u128 = 0x78 << 120;

/// A number as it is stored, before the type bits are known.
#[derive(Debug)]
pub(super) struct Number {
    is_negative: bool,
    magnitude: Magnitude,
}

#[derive(Debug)]
enum Magnitude {
    NotANumber,
    Zero,
    Infinity,
    Integer(u64),
    /// A double, or a decimal near it.
    Double(f64, Rest),
    /// A decimal between two integers beyond 2^53: its integer part, and units of its 34th digit.
    IntegerAndRest(u64, u64),
    /// A decimal among the subnormal doubles: the double below it times 2^256, and units of its 34th digit.
    SubnormalAndRest(f64, u64),
    /// A decimal outside the range of doubles, as its own bits without the sign.
    Decimal(u128),
}

/// How a decimal differs from the double that is stored for it.
#[derive(Debug)]
enum Rest {
    Nothing,
    /// It is the double rounded up to 15 digits.
    RoundedUp,
    /// It is the double rounded up to 34 digits, and so many units of the last.
    Units(u64),
}

impl Number {
    /// Reads a number whose type byte was read before; `None` when that byte is not one of a number.
    ///
    /// # Errors
    /// When the bytes end inside it.
    pub(super) fn read(
        type_byte: u8,
        source: &mut KeyString<'_>,
    ) -> Result<Option<Self>, InvalidToken> {
        use type_byte::{
            NAN, NEGATIVE_1_BYTE, NEGATIVE_8_BYTES, NEGATIVE_LARGE, NEGATIVE_SMALL,
            POSITIVE_1_BYTE, POSITIVE_8_BYTES, POSITIVE_LARGE, POSITIVE_SMALL, ZERO,
        };
        let is_negative = type_byte < ZERO;
        let mut bytes = Bytes {
            source,
            is_negative,
        };
        let magnitude = match type_byte {
            NAN => Magnitude::NotANumber,
            ZERO => Magnitude::Zero,
            NEGATIVE_LARGE | POSITIVE_LARGE => Magnitude::read_large(&mut bytes)?,
            NEGATIVE_SMALL | POSITIVE_SMALL => Magnitude::read_small(&mut bytes)?,
            NEGATIVE_8_BYTES..=NEGATIVE_1_BYTE => {
                Magnitude::read_integer(&mut bytes, u32::from(NEGATIVE_1_BYTE - type_byte) + 1)?
            }
            POSITIVE_1_BYTE..=POSITIVE_8_BYTES => {
                Magnitude::read_integer(&mut bytes, u32::from(type_byte - POSITIVE_1_BYTE) + 1)?
            }
            _ => return Ok(None),
        };
        Ok(Some(Self {
            is_negative,
            magnitude,
        }))
    }

    /// The number if it is an integer of 32 bits, whatever its type bits say.
    pub(super) fn as_i32(&self) -> Option<i32> {
        let magnitude = match self.magnitude {
            Magnitude::Zero => 0,
            Magnitude::Integer(magnitude) => i64::try_from(magnitude).ok()?,
            _ => return None,
        };
        i32::try_from(if self.is_negative {
            -magnitude
        } else {
            magnitude
        })
        .ok()
    }

    /// Appends the BSON value that the type bits call for, and tells its type.
    ///
    /// # Errors
    /// When the number cannot be of that type: the type bits are missing or another token's.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        position: usize,
    ) -> Result<ElementType, InvalidToken> {
        if matches!(self.magnitude, Magnitude::Zero) {
            return write_zero(out, type_bits, position);
        }
        let impossible = |name: &str| {
            InvalidToken::new(format!(
                "the resume token's number at position {position} of _data cannot be {name}: its _typeBits are missing or not its own; \
                 the whole token is needed, not only _data"
            ))
        };
        match type_bits.next(2)? {
            numeric_type::INT32 => {
                let value = self.as_i32().ok_or_else(|| impossible("an int32"))?;
                out.extend(value.to_le_bytes());
                Ok(ElementType::Int32)
            }
            numeric_type::INT64 => {
                let value = self.as_i64().ok_or_else(|| impossible("an int64"))?;
                out.extend(value.to_le_bytes());
                Ok(ElementType::Int64)
            }
            numeric_type::DOUBLE => {
                let bits = self.double_bits().ok_or_else(|| impossible("a double"))?;
                out.extend(bits.to_le_bytes());
                Ok(ElementType::Double)
            }
            _ => {
                let bits = match self.magnitude {
                    Magnitude::NotANumber => DECIMAL_NAN,
                    Magnitude::Infinity => DECIMAL_INFINITY,
                    _ => self
                        .decimal()
                        .zip(Some(type_bits.next(EXPONENT_TYPE_BITS)?))
                        .and_then(|(decimal, exponent)| decimal.with_exponent_ending_in(exponent))
                        .ok_or_else(|| impossible("a decimal"))?
                        .bits(),
                };
                let has_sign = self.is_negative && bits != DECIMAL_NAN;
                let sign = if has_sign { DECIMAL_SIGN } else { 0 };
                out.extend((bits | sign).to_le_bytes());
                Ok(ElementType::Decimal128)
            }
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match self.magnitude {
            Magnitude::Integer(magnitude) => {
                let value = i64::try_from(magnitude).ok()?;
                Some(if self.is_negative { -value } else { value })
            }
            // The one int64 whose magnitude is none.
            Magnitude::Double(value, Rest::Nothing) => {
                (self.is_negative && -value == i64::MIN as f64).then_some(i64::MIN)
            }
            _ => None,
        }
    }

    fn double_bits(&self) -> Option<u64> {
        let magnitude = match self.magnitude {
            Magnitude::NotANumber => return Some(DOUBLE_NAN),
            Magnitude::Infinity => f64::INFINITY,
            Magnitude::Integer(magnitude) => magnitude as f64,
            Magnitude::Double(magnitude, Rest::Nothing) => magnitude,
            _ => return None,
        };
        Some(
            if self.is_negative {
                -magnitude
            } else {
                magnitude
            }
            .to_bits(),
        )
    }

    /// The magnitude as a decimal with some exponent; which one, the type bits decide.
    fn decimal(&self) -> Option<Decimal> {
        match self.magnitude {
            Magnitude::Integer(integer) => Decimal::from_integer(integer),
            Magnitude::Double(double, Rest::Nothing) => Decimal::from_double_exactly(double),
            Magnitude::Double(double, Rest::RoundedUp) => {
                Decimal::from_double_rounded_up(double, DIGITS_OF_DOUBLE)
            }
            Magnitude::Double(double, Rest::Units(units)) => {
                Decimal::from_double_rounded_up(double, PRECISION)
                    .map(|decimal| decimal.plus_units_of_last_digit(units))
            }
            Magnitude::IntegerAndRest(integer, units) => Decimal::from_integer(integer)
                .map(|decimal| decimal.plus_units_of_last_digit(units)),
            Magnitude::SubnormalAndRest(scaled, units) => Decimal::from_subnormal_scaled(scaled)
                .map(|decimal| decimal.plus_units_of_last_digit(units)),
            Magnitude::Decimal(bits) => Decimal::from_bits(bits),
            Magnitude::NotANumber | Magnitude::Zero | Magnitude::Infinity => None,
        }
    }
}

impl Magnitude {
    /// An integer part in so many bytes; its last bit says that a fraction follows, which fills up to 8 bytes.
    fn read_integer(bytes: &mut Bytes<'_, '_>, length: u32) -> Result<Self, InvalidToken> {
        /// Beyond it a double may lose digits of the integer part, so that part is stored as an integer.
        const EXACT_DOUBLE_END: u64 = 1 << 53;
        let mut encoded = 0;
        for _ in 0..length {
            encoded = (encoded << 8) | u64::from(bytes.u8()?);
        }
        let integer = encoded >> 1;
        if encoded & 1 == 0 {
            return Ok(Self::Integer(integer));
        }
        let fraction_bytes = 8 - length;
        let mut scaled = integer;
        for _ in 0..fraction_bytes {
            scaled = (scaled << 8) | u64::from(bytes.u8()?);
        }
        let has_units = fraction_bytes == 0 || scaled & 1 == 1;
        if has_units && integer > EXACT_DOUBLE_END {
            return Ok(Self::IntegerAndRest(integer, bytes.u64()?));
        }
        let scale = (1u64 << (8 * fraction_bytes)) as f64;
        let double = (scaled & !0b11) as f64 / scale;
        Ok(Self::Double(double, Rest::read(scaled, bytes)?))
    }

    /// Less than 1. The two highest bits tell the ranges apart.
    fn read_small(bytes: &mut Bytes<'_, '_>) -> Result<Self, InvalidToken> {
        const RANGE_SHIFT: u32 = 62;
        let encoded = bytes.u64()?;
        match encoded >> RANGE_SHIFT {
            0b00 => Ok(Self::Decimal(bytes.u128_after(encoded)?)),
            0b11 => {
                let double = f64::from_bits(encoded >> 2);
                Ok(Self::Double(double, Rest::read(encoded, bytes)?))
            }
            _ => {
                let scaled = f64::from_bits((encoded - (1 << RANGE_SHIFT)) >> 1);
                let double = scaled * TINY_SCALE;
                if encoded & 1 == 0 {
                    Ok(Self::Double(double, Rest::Nothing))
                } else if scaled < f64::MIN_POSITIVE / TINY_SCALE {
                    Ok(Self::SubnormalAndRest(scaled, bytes.u64()?))
                } else {
                    Ok(Self::Double(double, Rest::Units(bytes.u64()?)))
                }
            }
        }
    }

    /// 2^63 or more.
    fn read_large(bytes: &mut Bytes<'_, '_>) -> Result<Self, InvalidToken> {
        const BEYOND_DOUBLES: u64 = 1 << 63;
        const EXPONENT_HIGH_BIT: u64 = 1 << 62;
        let encoded = bytes.u64()?;
        if encoded == u64::MAX {
            Ok(Self::Infinity)
        } else if encoded & BEYOND_DOUBLES != 0 {
            Ok(Self::Decimal(bytes.u128_after(encoded & !BEYOND_DOUBLES)?))
        } else {
            let double = f64::from_bits((encoded >> 1) | EXPONENT_HIGH_BIT);
            let rest = if encoded & 1 == 0 {
                Rest::Nothing
            } else {
                Rest::Units(bytes.u64()?)
            };
            Ok(Self::Double(double, rest))
        }
    }
}

impl Rest {
    /// From the two lowest bits of an encoded double, and the 8 bytes after it where they announce them.
    fn read(encoded: u64, bytes: &mut Bytes<'_, '_>) -> Result<Self, InvalidToken> {
        Ok(match encoded & 0b11 {
            0b00 => Self::Nothing,
            0b10 => Self::RoundedUp,
            _ => Self::Units(bytes.u64()?),
        })
    }
}

/// The bytes of one number, inverted when it is negative so that they sort the other way round.
struct Bytes<'s, 'a> {
    source: &'s mut KeyString<'a>,
    is_negative: bool,
}

impl Bytes<'_, '_> {
    fn u8(&mut self) -> Result<u8, InvalidToken> {
        let byte = self.source.byte()?;
        Ok(if self.is_negative { !byte } else { byte })
    }

    fn u64(&mut self) -> Result<u64, InvalidToken> {
        let value = u64::from_be_bytes(self.source.array()?);
        Ok(if self.is_negative { !value } else { value })
    }

    fn u128_after(&mut self, high: u64) -> Result<u128, InvalidToken> {
        Ok((u128::from(high) << 64) | u128::from(self.u64()?))
    }
}

/// Zeros have more type bits than other numbers: decimal ones come with every exponent, and a double may be -0.
fn write_zero(
    out: &mut Vec<u8>,
    type_bits: &mut TypeBits<'_>,
    position: usize,
) -> Result<ElementType, InvalidToken> {
    /// Of the three bits after the type of a double or decimal zero with a sign or an exponent.
    const NEGATIVE_DOUBLE: u32 = 0;
    const UNUSED: u32 = 1;
    const FIRST_DECIMAL: u32 = 2;
    /// How many bits of a decimal zero's number follow those three.
    const LOW_BITS: u32 = 12;
    const STORED_EXPONENTS: u32 = MAX_STORED_EXPONENT.unsigned_abs() + 1;
    match type_bits.next(2)? {
        numeric_type::INT32 => {
            out.extend(0i32.to_le_bytes());
            Ok(ElementType::Int32)
        }
        numeric_type::INT64 => {
            out.extend(0i64.to_le_bytes());
            Ok(ElementType::Int64)
        }
        numeric_type::DOUBLE => {
            out.extend(0f64.to_le_bytes());
            Ok(ElementType::Double)
        }
        _ => match type_bits.next(3)? {
            NEGATIVE_DOUBLE => {
                out.extend((-0f64).to_le_bytes());
                Ok(ElementType::Double)
            }
            UNUSED => Err(InvalidToken::new(format!(
                "the resume token's zero at position {position} of _data has _typeBits that no number has"
            ))),
            high => {
                let which = ((high - FIRST_DECIMAL) << LOW_BITS) | type_bits.next(LOW_BITS)?;
                let sign = if which < STORED_EXPONENTS {
                    0
                } else {
                    DECIMAL_SIGN
                };
                let exponent = u128::from(which % STORED_EXPONENTS);
                out.extend((sign | (exponent << EXPONENT_SHIFT)).to_le_bytes());
                Ok(ElementType::Decimal128)
            }
        },
    }
}
