//! Text of numbers and dates. Doubles have the shortest digits that parse to the same bits.

/// Magnitudes of doubles that are written without an exponent, as in the official BSON corpus.
const PLAIN_DOUBLES: std::ops::Range<f64> = 1e-4..1e16;

pub(super) fn push_integer<I: itoa::Integer>(value: I, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double: `1.0`, `-0.0`, `1.2345678921232E+18`, `5E-324`, `Infinity`, or `NaN`, which has
/// no sign in Extended JSON.
pub(super) fn push_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(match value {
            f64::INFINITY => b"Infinity",
            f64::NEG_INFINITY => b"-Infinity",
            _ => b"NaN",
        });
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    if value == 0.0 || PLAIN_DOUBLES.contains(&value.abs()) {
        out.extend_from_slice(text);
        return;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if let Some([first, rest @ ..]) = digits.strip_prefix(b"0.0000") {
        if value < 0.0 {
            out.push(b'-');
        }
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(b"E-5");
    } else {
        out.extend(text.iter().map(u8::to_ascii_uppercase));
    }
}

/// Appends the UTC time `millis` after 1970 in ISO 8601, with a fraction only if it is not zero.
/// Requires a year below 10000: years have four digits.
pub(super) fn push_iso_date(millis: u64, out: &mut Vec<u8>) {
    const DAY_SECONDS: u64 = 86_400;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil_date(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (start, width, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 3, millis),
    ] {
        let mut value = value;
        for digit in text[start..start + width].iter_mut().rev() {
            *digit += (value % 10) as u8;
            value /= 10;
        }
    }
    if millis == 0 {
        out.extend_from_slice(&text[..19]);
        out.push(b'Z');
    } else {
        out.extend_from_slice(&text);
    }
}

/// Returns year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01.
///
/// Source: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil_date(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01, where the 400-year eras begin, to 1970-01-01.
    const ERA_OFFSET_DAYS: u64 = 719_468;
    const ERA_DAYS: u64 = 146_097;
    let days = days + ERA_OFFSET_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here, so that the leap day is the last day of a year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}
