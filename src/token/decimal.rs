//! Positive decimal numbers of up to 34 digits: conversions that key strings need, from doubles and to the bits of a Decimal128.
//! Knows no signs, zeros or special values.

use crate::extjson::decimal128::{self, COEFFICIENT_END, EXPONENT_BIAS, EXPONENT_SHIFT};

/// Digits of a Decimal128 coefficient.
pub(super) const PRECISION: usize = decimal128::PRECISION as usize;
/// Largest stored exponent.
pub(super) const MAX_STORED_EXPONENT: i32 = 12287;
/// Number of low bits of the stored exponent in the type bits.
pub(super) const EXPONENT_TYPE_BITS: u32 = 6;
/// Maximum number of significant decimal digits of a double after the first one.
const DOUBLE_DIGITS_AFTER_FIRST: usize = 766;
/// Ten to the power of half the [`PRECISION`]. A product of two numbers below it fits into 128 bits.
const HALF: u128 = 10u128.pow(17);
/// The first 34 digits of 2^-256.
const TWO_TO_MINUS_256: Decimal = Decimal {
    coefficient: 8_636_168_555_094_444_625_386_351_862_800_399,
    exponent: -111,
};

/// `coefficient * 10^exponent`, greater than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    coefficient: u128,
    exponent: i32,
}

impl Decimal {
    /// Converts an integer. Returns `None` for zero, whose exponent cannot be restored from its value.
    pub(super) fn from_integer(integer: u64) -> Option<Self> {
        (integer != 0).then_some(Self {
            coefficient: integer.into(),
            exponent: 0,
        })
    }

    /// Converts the bits of a Decimal128 without its sign. Returns `None` for zero, for a special value, and when the coefficient is too
    /// large.
    pub(super) fn from_bits(bits: u128) -> Option<Self> {
        let stored_exponent = i32::try_from(bits >> EXPONENT_SHIFT).ok()?;
        let coefficient = bits & ((1 << EXPONENT_SHIFT) - 1);
        let in_range = (1..COEFFICIENT_END).contains(&coefficient)
            && (0..=MAX_STORED_EXPONENT).contains(&stored_exponent);
        in_range.then_some(Self {
            coefficient,
            exponent: stored_exponent - EXPONENT_BIAS,
        })
    }

    /// Converts a double exactly. Returns `None` when its value has more than 34 digits, or is not finite and positive.
    pub(super) fn from_double_exactly(double: f64) -> Option<Self> {
        let (number, is_exact) = Self::leading_digits(double, PRECISION)?;
        is_exact.then_some(number)
    }

    /// Rounds a double up to `digits` digits. Returns `None` when it is not finite and positive.
    pub(super) fn from_double_rounded_up(double: f64, digits: usize) -> Option<Self> {
        let (mut number, is_exact) = Self::leading_digits(double, digits)?;
        if !is_exact {
            number.coefficient += 1;
        }
        Some(number)
    }

    /// Converts a double below the normal range. `scaled` is the double times 2^256, so that no bit is lost.
    ///
    /// Multiplies the first 34 digits of `scaled` by those of 2^-256 and truncates the product to 34 digits. The result is slightly below
    /// the double, like the value that the server's encoder computes.
    pub(super) fn from_subnormal_scaled(scaled: f64) -> Option<Self> {
        let (number, _) = Self::leading_digits(scaled, PRECISION)?;
        let number = number.padded();
        let (high, low) = (number.coefficient / HALF, number.coefficient % HALF);
        let factor = TWO_TO_MINUS_256.coefficient;
        let (factor_high, factor_low) = (factor / HALF, factor % HALF);
        let middle = high * factor_low + low * factor_high;
        let lower = (middle % HALF) * HALF + low * factor_low;
        let upper = high * factor_high + middle / HALF + lower / COEFFICIENT_END;
        let lower = lower % COEFFICIENT_END;
        let exponent = number.exponent + TWO_TO_MINUS_256.exponent + PRECISION as i32;
        let product = if upper >= COEFFICIENT_END / 10 {
            Self {
                coefficient: upper,
                exponent,
            }
        } else {
            Self {
                coefficient: upper * 10 + lower / (COEFFICIENT_END / 10),
                exponent: exponent - 1,
            }
        };
        Some(product)
    }

    /// Adds `units` to the last of the number's 34 digits.
    pub(super) fn plus_units_of_last_digit(self, units: u64) -> Self {
        let padded = self.padded();
        Self {
            coefficient: padded.coefficient + u128::from(units),
            ..padded
        }
    }

    /// Returns the same value with the exponent whose stored form ends in `low_bits`, or `None` when there is none. A value has at most
    /// 34 consecutive exponents, so no two of them have the same 6 low bits.
    pub(super) fn with_exponent_ending_in(self, low_bits: u32) -> Option<Self> {
        let mut number = self;
        while number.coefficient.is_multiple_of(10) && number.coefficient > 0 {
            number.coefficient /= 10;
            number.exponent += 1;
        }
        let stored = number.exponent + EXPONENT_BIAS;
        let low_bits = i32::try_from(low_bits).ok()?;
        let zeros = (stored - low_bits).rem_euclid(1 << EXPONENT_TYPE_BITS);
        let factor = 10u128.checked_pow(u32::try_from(zeros).ok()?)?;
        let coefficient = number.coefficient.checked_mul(factor)?;
        let in_range = (1..COEFFICIENT_END).contains(&coefficient)
            && (0..=MAX_STORED_EXPONENT).contains(&(stored - zeros));
        in_range.then_some(Self {
            coefficient,
            exponent: number.exponent - zeros,
        })
    }

    /// Returns the 128 bits without the sign. Requires a number from [`Self::with_exponent_ending_in`], which is in range.
    pub(super) fn bits(self) -> u128 {
        let stored = u128::from((self.exponent + EXPONENT_BIAS).unsigned_abs());
        (stored << EXPONENT_SHIFT) | self.coefficient
    }

    /// Returns the same value with zeros appended up to 34 digits.
    fn padded(self) -> Self {
        let mut number = self;
        while number.coefficient < COEFFICIENT_END / 10 && number.coefficient > 0 {
            number.coefficient *= 10;
            number.exponent -= 1;
        }
        number
    }

    /// Returns the first `digits` digits of a double's exact value, and whether the digits after them are zeros. Returns `None` when the
    /// double is not finite and positive.
    fn leading_digits(double: f64, digits: usize) -> Option<(Self, bool)> {
        if !(double.is_finite() && double > 0.0) {
            return None;
        }
        let text = format!("{double:.DOUBLE_DIGITS_AFTER_FIRST$e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let mut all_digits = mantissa.bytes().filter(u8::is_ascii_digit);
        let coefficient = all_digits
            .by_ref()
            .take(digits)
            .fold(0, |sum: u128, digit| sum * 10 + u128::from(digit - b'0'));
        let number = Self {
            coefficient,
            exponent: exponent - i32::try_from(digits).ok()? + 1,
        };
        Some((number, all_digits.all(|digit| digit == b'0')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(coefficient: u128, exponent: i32) -> Decimal {
        Decimal {
            coefficient,
            exponent,
        }
    }

    #[test]
    fn converts_doubles_exactly_or_rounded_up() {
        let half = decimal(5 * 10u128.pow(33), -34);
        assert_eq!(Decimal::from_double_exactly(0.5), Some(half));
        // The double 0.1 has 55 digits: 0.1000000000000000055...
        assert_eq!(Decimal::from_double_exactly(0.1), None);
        let rounded_up = |double| Decimal::from_double_rounded_up(double, 15);
        assert_eq!(rounded_up(0.1), Some(decimal(100_000_000_000_001, -15)));
        assert_eq!(rounded_up(0.5), Some(decimal(500_000_000_000_000, -15)));
        let one = 1.0 - f64::EPSILON / 2.0;
        assert_eq!(rounded_up(one), Some(decimal(10u128.pow(15), -15)));
        assert_eq!(rounded_up(f64::NAN), None);
        assert_eq!(rounded_up(0.0), None);
    }

    #[test]
    fn finds_the_exponent_by_its_low_bits() {
        let with_exponent = |exponent: i32| {
            let low_bits = (exponent + EXPONENT_BIAS).unsigned_abs() % 64;
            decimal(50, 0).with_exponent_ending_in(low_bits)
        };
        for (exponent, coefficient) in [(1, 5), (0, 50), (-2, 5_000), (-32, 5 * 10u128.pow(33))] {
            assert_eq!(
                with_exponent(exponent),
                Some(decimal(coefficient, exponent))
            );
        }
        assert_eq!(with_exponent(2), None);
        assert_eq!(with_exponent(-33), None);
    }
}
