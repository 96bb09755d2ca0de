//! Numbers in a key string: one sortable form for all four numeric types. The type bits hold the type.
//! A decimal that is not exactly a double is stored as the double below it and the difference in units of its 34th digit.

use std::ops::Neg;

use super::InvalidToken;
use super::key_string::KeyString;

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

/// 2^-256. The smallest doubles are stored multiplied by 2^256, so that subnormal ones keep all their bits.
const TINY_SCALE: f64 = f64::from_bits((1023 - 256) << 52);

/// A number as stored, without the type bits.
#[derive(Debug)]
pub(super) struct Number {
    pub(super) is_negative: bool,
    pub(super) magnitude: Magnitude,
}

#[derive(Debug)]
pub(super) enum Magnitude {
    NotANumber,
    Zero,
    Infinity,
    Integer(u64),
    /// A double, or a decimal near it.
    Double(f64, Remainder),
    /// A decimal between two integers beyond 2^53: its integer part, and units of its 34th digit.
    IntegerPlusUnits(u64, u64),
    /// A decimal in the range of subnormal doubles: the double below it times 2^256, and units of its 34th digit.
    SubnormalPlusUnits(f64, u64),
    /// A decimal outside the range of doubles: its bits without the sign.
    Decimal(u128),
}

/// Difference between a decimal and the double that is stored for it.
#[derive(Debug)]
pub(super) enum Remainder {
    /// The number equals the double.
    Zero,
    /// The number is the double rounded up to 15 digits.
    RoundedUp,
    /// The number is the double rounded up to 34 digits, plus a number of units of the last digit.
    Units(u64),
}

impl Number {
    /// Reads a number after its type byte. Returns `None` when `type_byte` is not the type of a number.
    ///
    /// # Errors
    /// When the key string is truncated.
    pub(super) fn read(
        type_byte: u8,
        source: &mut KeyString<'_>,
    ) -> Result<Option<Self>, InvalidToken> {
        let is_negative =
            (type_byte::NEGATIVE_LARGE..=type_byte::NEGATIVE_SMALL).contains(&type_byte);
        let mut bytes = Bytes {
            source,
            is_negative,
        };
        let magnitude = match type_byte {
            type_byte::NAN => Magnitude::NotANumber,
            type_byte::ZERO => Magnitude::Zero,
            type_byte::NEGATIVE_LARGE | type_byte::POSITIVE_LARGE => {
                Magnitude::read_large(&mut bytes)?
            }
            type_byte::NEGATIVE_SMALL | type_byte::POSITIVE_SMALL => {
                Magnitude::read_small(&mut bytes)?
            }
            type_byte::NEGATIVE_8_BYTES..=type_byte::NEGATIVE_1_BYTE => {
                let length = u32::from(type_byte::NEGATIVE_1_BYTE - type_byte) + 1;
                Magnitude::read_integer(&mut bytes, length)?
            }
            type_byte::POSITIVE_1_BYTE..=type_byte::POSITIVE_8_BYTES => {
                let length = u32::from(type_byte - type_byte::POSITIVE_1_BYTE) + 1;
                Magnitude::read_integer(&mut bytes, length)?
            }
            _ => return Ok(None),
        };
        Ok(Some(Self {
            is_negative,
            magnitude,
        }))
    }

    /// Returns the number if it is an integer of 32 bits, without regard to its type bits.
    pub(super) fn as_i32(&self) -> Option<i32> {
        match self.magnitude {
            Magnitude::Zero => Some(0),
            Magnitude::Integer(magnitude) => {
                let magnitude = i64::try_from(magnitude).ok()?;
                i32::try_from(self.with_sign(magnitude)).ok()
            }
            _ => None,
        }
    }

    /// Returns `magnitude`, negated if the number is negative.
    pub(super) fn with_sign<T: Neg<Output = T>>(&self, magnitude: T) -> T {
        if self.is_negative {
            -magnitude
        } else {
            magnitude
        }
    }
}

impl Magnitude {
    /// Reads an integer part of `length` bytes. If its last bit is set, a fraction follows that extends it to 8 bytes.
    fn read_integer(bytes: &mut Bytes<'_, '_>, length: u32) -> Result<Self, InvalidToken> {
        /// Above this limit a double may lose digits of the integer part, so the integer part is stored as an integer.
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
            return Ok(Self::IntegerPlusUnits(integer, bytes.u64()?));
        }
        let scale = (1u64 << (8 * fraction_bytes)) as f64;
        let double = (scaled & !0b11) as f64 / scale;
        Ok(Self::Double(double, Remainder::read(scaled, bytes)?))
    }

    /// Reads a magnitude below 1. The two highest bits distinguish the ranges.
    fn read_small(bytes: &mut Bytes<'_, '_>) -> Result<Self, InvalidToken> {
        const RANGE_SHIFT: u32 = 62;
        let encoded = bytes.u64()?;
        match encoded >> RANGE_SHIFT {
            0b00 => Ok(Self::Decimal(bytes.u128_after(encoded)?)),
            0b11 => {
                let double = f64::from_bits(encoded >> 2);
                Ok(Self::Double(double, Remainder::read(encoded, bytes)?))
            }
            _ => {
                let scaled = f64::from_bits((encoded - (1 << RANGE_SHIFT)) >> 1);
                let double = scaled * TINY_SCALE;
                if encoded & 1 == 0 {
                    Ok(Self::Double(double, Remainder::Zero))
                } else if scaled < f64::MIN_POSITIVE / TINY_SCALE {
                    Ok(Self::SubnormalPlusUnits(scaled, bytes.u64()?))
                } else {
                    Ok(Self::Double(double, Remainder::Units(bytes.u64()?)))
                }
            }
        }
    }

    /// Reads a magnitude of 2^63 or more.
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
            let remainder = if encoded & 1 == 0 {
                Remainder::Zero
            } else {
                Remainder::Units(bytes.u64()?)
            };
            Ok(Self::Double(double, remainder))
        }
    }
}

impl Remainder {
    /// Reads the remainder from the two lowest bits of an encoded double and, where these require it, from the 8 bytes after it.
    fn read(encoded: u64, bytes: &mut Bytes<'_, '_>) -> Result<Self, InvalidToken> {
        Ok(match encoded & 0b11 {
            0b00 => Self::Zero,
            0b10 => Self::RoundedUp,
            _ => Self::Units(bytes.u64()?),
        })
    }
}

/// The bytes of one number. Those of a negative number are inverted, which reverses their order.
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
