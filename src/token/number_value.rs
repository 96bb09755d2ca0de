//! Numbers of a key string as raw BSON, in the type given by the type bits.

use bson::spec::ElementType;

use crate::extjson::decimal128::EXPONENT_SHIFT;

use super::InvalidToken;
use super::decimal::{Decimal, EXPONENT_TYPE_BITS, MAX_STORED_EXPONENT, PRECISION};
use super::number::{Magnitude, Number, Remainder};
use super::type_bits::TypeBits;

/// Values of the two type bits that hold the type of a number.
mod numeric_type {
    pub(super) const INT32: u32 = 0;
    pub(super) const INT64: u32 = 1;
    pub(super) const DOUBLE: u32 = 2;
}

/// Maximum number of digits of a decimal that is stored as a double alone.
const DIGITS_OF_DOUBLE: usize = 15;
/// The quiet NaN without sign and payload. A key string does not keep these.
const DOUBLE_NAN: u64 = 0x7ff8 << 48;
const DECIMAL_SIGN: u128 = 1 << 127;
const DECIMAL_NAN: u128 = 0x7c << 120;
const DECIMAL_INFINITY: u128 = 0x78 << 120;

impl Number {
    /// Appends the number as a BSON value of the type given by the type bits, and returns that type. Error messages name `position`.
    ///
    /// # Errors
    /// When the number cannot have that type: the type bits are missing or belong to another token.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        type_bits: &mut TypeBits<'_>,
        position: usize,
    ) -> Result<ElementType, InvalidToken> {
        if matches!(self.magnitude, Magnitude::Zero) {
            return write_zero(out, type_bits, position);
        }
        let not_representable = |name: &str| {
            InvalidToken::new(format!(
                "the resume token's number at position {position} of _data cannot be {name}: its _typeBits are missing or belong to another token; \
                 use the whole token, not only _data"
            ))
        };
        match type_bits.next(2)? {
            numeric_type::INT32 => {
                let value = self.as_i32().ok_or_else(|| not_representable("an int32"))?;
                out.extend(value.to_le_bytes());
                Ok(ElementType::Int32)
            }
            numeric_type::INT64 => {
                let value = self.as_i64().ok_or_else(|| not_representable("an int64"))?;
                out.extend(value.to_le_bytes());
                Ok(ElementType::Int64)
            }
            numeric_type::DOUBLE => {
                let bits = self
                    .double_bits()
                    .ok_or_else(|| not_representable("a double"))?;
                out.extend(bits.to_le_bytes());
                Ok(ElementType::Double)
            }
            _ => {
                let bits = self.decimal_bits(type_bits)?;
                let bits = bits.ok_or_else(|| not_representable("a decimal"))?;
                out.extend(bits.to_le_bytes());
                Ok(ElementType::Decimal128)
            }
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match self.magnitude {
            Magnitude::Integer(magnitude) => Some(self.with_sign(i64::try_from(magnitude).ok()?)),
            // The int64 without a positive counterpart is stored as a double.
            Magnitude::Double(magnitude, Remainder::Zero) => {
                (self.with_sign(magnitude) == i64::MIN as f64).then_some(i64::MIN)
            }
            _ => None,
        }
    }

    fn double_bits(&self) -> Option<u64> {
        let magnitude = match self.magnitude {
            Magnitude::NotANumber => return Some(DOUBLE_NAN),
            Magnitude::Infinity => f64::INFINITY,
            Magnitude::Integer(magnitude) => magnitude as f64,
            Magnitude::Double(magnitude, Remainder::Zero) => magnitude,
            _ => return None,
        };
        Some(self.with_sign(magnitude).to_bits())
    }

    fn decimal_bits(&self, type_bits: &mut TypeBits<'_>) -> Result<Option<u128>, InvalidToken> {
        let bits = match self.magnitude {
            Magnitude::NotANumber => Some(DECIMAL_NAN),
            Magnitude::Infinity => Some(DECIMAL_INFINITY),
            _ => {
                let exponent = type_bits.next(EXPONENT_TYPE_BITS)?;
                self.decimal()
                    .and_then(|decimal| decimal.with_exponent_ending_in(exponent))
                    .map(Decimal::bits)
            }
        };
        let sign = if self.is_negative { DECIMAL_SIGN } else { 0 };
        Ok(bits.map(|bits| bits | sign))
    }

    /// Returns the magnitude as a decimal. Its exponent is arbitrary: the type bits decide the one to write.
    fn decimal(&self) -> Option<Decimal> {
        match self.magnitude {
            Magnitude::Integer(integer) => Decimal::from_integer(integer),
            Magnitude::Double(double, Remainder::Zero) => Decimal::from_double_exactly(double),
            Magnitude::Double(double, Remainder::RoundedUp) => {
                Decimal::from_double_rounded_up(double, DIGITS_OF_DOUBLE)
            }
            Magnitude::Double(double, Remainder::Units(units)) => {
                Decimal::from_double_rounded_up(double, PRECISION)
                    .map(|decimal| decimal.plus_units_of_last_digit(units))
            }
            Magnitude::IntegerPlusUnits(integer, units) => Decimal::from_integer(integer)
                .map(|decimal| decimal.plus_units_of_last_digit(units)),
            Magnitude::SubnormalPlusUnits(scaled, units) => Decimal::from_subnormal_scaled(scaled)
                .map(|decimal| decimal.plus_units_of_last_digit(units)),
            Magnitude::Decimal(bits) => Decimal::from_bits(bits),
            Magnitude::NotANumber | Magnitude::Zero | Magnitude::Infinity => None,
        }
    }
}

/// Appends a zero. Zeros have more type bits than other numbers: a decimal zero can have any exponent, and a double can be -0.
fn write_zero(
    out: &mut Vec<u8>,
    type_bits: &mut TypeBits<'_>,
    position: usize,
) -> Result<ElementType, InvalidToken> {
    /// Values of the three bits after the type bits of a decimal zero, or of a double zero with a sign.
    const NEGATIVE_DOUBLE: u32 = 0;
    const UNUSED: u32 = 1;
    const FIRST_DECIMAL: u32 = 2;
    /// Number of bits that follow these three in a decimal zero.
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
                "the resume token's zero at position {position} of _data has invalid _typeBits"
            ))),
            high => {
                let number = ((high - FIRST_DECIMAL) << LOW_BITS) | type_bits.next(LOW_BITS)?;
                let sign = if number < STORED_EXPONENTS {
                    0
                } else {
                    DECIMAL_SIGN
                };
                let exponent = u128::from(number % STORED_EXPONENTS);
                out.extend((sign | (exponent << EXPONENT_SHIFT)).to_le_bytes());
                Ok(ElementType::Decimal128)
            }
        },
    }
}
