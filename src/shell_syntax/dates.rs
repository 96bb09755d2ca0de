//! Dates in the arguments of `ISODate` and `new Date`.

use bson::DateTime;

/// A date as text, and whether it names its time zone.
pub(super) struct Date {
    pub(super) value: DateTime,
    pub(super) is_local: bool,
}

/// Parses a date in the forms of mongosh's `ISODate`: `YYYY-MM-DD`, then optionally `T` or a space and `hh:mm:ss.fff`, then `Z` or an
/// offset. Hyphens, colons and what follows the hour may be missing. Without a time zone it is UTC.
///
/// Unlike mongosh, refuses a day that the month does not have.
pub(super) fn parse(text: &str) -> Option<Date> {
    let mut rest = Rest(text);
    let year = rest.digits(4)?;
    rest.skip('-');
    let month = rest.digits(2)?;
    rest.skip('-');
    let day = rest.digits(2)?;
    let mut time = [0; 3];
    let mut millisecond = 0;
    let has_time = rest.skip('T') || rest.skip(' ');
    if has_time {
        time[0] = rest.digits(2)?;
        for part in &mut time[1..] {
            if rest.skip(':') || rest.starts_with_digit() {
                *part = rest.digits(2)?;
            }
        }
        if rest.skip('.') {
            let digits = rest.0.len()
                - rest
                    .0
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            let (fraction, after) = rest.0.split_at(digits);
            millisecond = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
            (digits > 0).then_some(())?;
            rest.0 = after;
        }
    }
    let is_local = has_time && rest.0.is_empty();
    let offset_minutes = match rest.0 {
        "" => 0,
        "Z" | "z" if has_time => 0,
        _ if has_time => {
            let sign = if rest.skip('+') {
                1
            } else if rest.skip('-') {
                -1
            } else {
                return None;
            };
            let hours = rest.digits(2)?;
            rest.skip(':');
            let minutes = rest.digits(2)?;
            (hours < 24 && minutes < 60 && rest.0.is_empty())
                .then_some(sign * (hours * 60 + minutes))?
        }
        _ => return None,
    };
    let [hour, minute, second] = time.map(|part| u8::try_from(part).ok());
    let at = DateTime::builder()
        .year(year)
        .month(u8::try_from(month).ok()?)
        .day(u8::try_from(day).ok()?)
        .hour(hour?)
        .minute(minute?)
        .second(second?)
        .millisecond(millisecond)
        .build()
        .ok()?;
    let millis = at.timestamp_millis() - i64::from(offset_minutes) * 60_000;
    Some(Date {
        value: DateTime::from_millis(millis),
        is_local,
    })
}

/// The part of a date that was not read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// Reads a number of exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        self.0 = rest;
        digits.parse().ok().filter(|_| is_number)
    }

    fn starts_with_digit(&self) -> bool {
        self.0.starts_with(|c: char| c.is_ascii_digit())
    }

    fn skip(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}
