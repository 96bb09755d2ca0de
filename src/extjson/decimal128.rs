//! Decimal128: its layout (IEEE 754-2008, with an integer as coefficient) and its text.

use super::number::push_integer;

/// Digits of the coefficient.
pub(crate) const PRECISION: u32 = 34;
/// The smallest number that is too large for a coefficient.
pub(crate) const COEFFICIENT_END: u128 = 10_u128.pow(PRECISION);
/// Number added to an exponent to store it.
pub(crate) const EXPONENT_BIAS: i32 = 6176;
/// Position of the stored exponent in the 128 bits.
pub(crate) const EXPONENT_SHIFT: u32 = 113;

/// Appends a Decimal128 in the text form of its specification, without a sign before `NaN`.
///
/// <https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md>
pub(super) fn push(bits: u128, out: &mut Vec<u8>) {
    const EXPONENT_BITS: u32 = 14;
    /// Adjusted exponent below which the text has an exponent.
    const MIN_PLAIN: i32 = -6;

    let combination = (bits >> 122) & 0b1_1111;
    if combination == 0b1_1111 {
        out.extend_from_slice(b"NaN");
        return;
    }
    if bits >> 127 == 1 {
        out.push(b'-');
    }
    if combination == 0b1_1110 {
        out.extend_from_slice(b"Infinity");
        return;
    }
    // A coefficient in the second form is always above the maximum, and therefore zero.
    let second_form = combination >> 3 == 0b11;
    let exponent_shift = EXPONENT_SHIFT - if second_form { 2 } else { 0 };
    let exponent = (bits >> exponent_shift) & ((1 << EXPONENT_BITS) - 1);
    let exponent = i32::try_from(exponent).expect("14 bits") - EXPONENT_BIAS;
    let coefficient = bits & ((1 << EXPONENT_SHIFT) - 1);
    let coefficient = if second_form || coefficient >= COEFFICIENT_END {
        0
    } else {
        coefficient
    };

    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(coefficient).as_bytes();
    let count = i32::try_from(digits.len()).expect("at most 34 digits");
    let adjusted = exponent + count - 1;
    if exponent > 0 || adjusted < MIN_PLAIN {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'E');
        if adjusted >= 0 {
            out.push(b'+');
        }
        push_integer(adjusted, out);
        return;
    }
    let fraction = usize::try_from(-exponent).expect("not above zero here");
    if fraction == 0 {
        out.extend_from_slice(digits);
    } else if fraction < digits.len() {
        let (whole, fraction) = digits.split_at(digits.len() - fraction);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + fraction - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}
