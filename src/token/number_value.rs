//! Numbers of a key string as raw BSON, in the type that the type bits call for.

use bson::spec::ElementType;

use super::InvalidToken;
use super::decimal::{Decimal, EXPONENT_SHIFT, EXPONENT_TYPE_BITS, MAX_STORED_EXPONENT, PRECISION};
use super::number::{Magnitude, Number, Rest};
use super::type_bits::TypeBits;

/// What the two type bits of a number say it was.
mod numeric_type {
    pub(super) const INT32: u32 = 0;
    pub(super) const INT64: u32 = 1;
    pub(super) const DOUBLE: u32 = 2;
}

/// Digits that a decimal has at most when it is stored as a double alone.
const DIGITS_OF_DOUBLE: usize = 15;
/// The quiet NaN without sign or payload, which a key string does not keep.
const DOUBLE_NAN: u64 = 0x7ff8 << 48;
const DECIMAL_SIGN: u128 = 1 << 127;
const DECIMAL_NAN: u128 = 0x7c << 120;
const DECIMAL_INFINITY: u128 = 0x78 << 120;

impl Number {
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
                let bits = self.decimal_bits(type_bits)?;
                let bits = bits.ok_or_else(|| impossible("a decimal"))?;
                out.extend(bits.to_le_bytes());
                Ok(ElementType::Decimal128)
            }
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match self.magnitude {
            Magnitude::Integer(magnitude) => Some(self.with_sign(i64::try_from(magnitude).ok()?)),
            // The one int64 that has no positive counterpart is stored as a double.
            Magnitude::Double(magnitude, Rest::Nothing) => {
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
            Magnitude::Double(magnitude, Rest::Nothing) => magnitude,
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
