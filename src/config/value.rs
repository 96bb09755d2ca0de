//! Values in flags: mongosh syntax and Extended JSON, durations and points in time.
//! Errors name the flag, the value and the position in it.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, Timestamp};
use jiff::SpanRelativeTo;

use crate::error::Failure;
use crate::shell_syntax;

/// A point in time, as given with `--start` and `--until`. Relative ones refer to the server's clock, not this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The server's current time.
    Now,
    /// The oldest event the oplog still has.
    Earliest,
    /// This duration before the server's current time.
    Ago(Duration),
    /// This number of seconds since 1970.
    Second(u32),
    /// This cluster time.
    Timestamp(Timestamp),
}

impl When {
    /// Returns the earliest cluster time that this point in time includes, where `now` is the server's current time.
    pub(crate) fn begins_at(self, now: Timestamp) -> Timestamp {
        // Increments start at 1 in every second.
        self.at(now, 1)
    }

    /// Returns the latest cluster time that this point in time includes, where `now` is the server's current time.
    pub(crate) fn ends_at(self, now: Timestamp) -> Timestamp {
        self.at(now, u32::MAX)
    }

    fn at(self, now: Timestamp, increment: u32) -> Timestamp {
        let second = match self {
            Self::Now => return now,
            Self::Timestamp(timestamp) => return timestamp,
            Self::Earliest => 1,
            Self::Second(second) => second,
            Self::Ago(ago) => now
                .time
                .saturating_sub(u32::try_from(ago.as_secs()).unwrap_or(u32::MAX)),
        };
        Timestamp {
            time: second,
            increment,
        }
    }
}

/// Parses one value, in mongosh syntax or Extended JSON v2, canonical or relaxed. Keeps the order of keys.
///
/// # Errors
/// Exit code 2 when `text` is not a value. The message names `flag`, line and column, and the excerpt has a caret under the place.
pub(crate) fn value(flag: &str, text: &str) -> Result<Bson, Failure> {
    shell_syntax::parse(text).map_err(|error| {
        Failure::usage(format!("{flag}: {error}"))
            .excerpt(error.excerpt)
            .hint(error.hint)
    })
}

/// Parses an `_id`: 24 hex digits, which are an ObjectId, or a value.
///
/// # Errors
/// As [`value`].
pub(crate) fn id(flag: &str, text: &str) -> Result<Bson, Failure> {
    match ObjectId::parse_str(text.trim()) {
        Ok(id) => Ok(id.into()),
        Err(_) => value(flag, text),
    }
}

/// Parses a document, as [`value`].
///
/// # Errors
/// As [`value`], and when the value is not an object.
pub(crate) fn document(flag: &str, text: &str) -> Result<Document, Failure> {
    match value(flag, text)? {
        Bson::Document(document) => Ok(document),
        _ => Err(Failure::usage(format!(
            "{flag}: must be an object, not {}",
            shortened(text, 0)
        ))
        .hint("write an object in single quotes, as in '{operationType: \"insert\"}'")),
    }
}

/// Parses a duration with its unit: `500ms`, `30s`, `10m`, `1h 30m`, `2d`. `0` needs no unit.
///
/// # Errors
/// Exit code 2 when `text` is not a duration, or is negative or out of range. The message names `flag`.
pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    text.parse::<jiff::Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|signed| Duration::try_from(signed).ok())
        .ok_or_else(|| {
            Failure::usage(format!("{flag}: '{text}' is not a duration"))
                .hint("use a number and a unit, as in 500ms, 30s, 10m, 1h, 2d")
        })
}

/// Parses a point in time in one of the forms that `--start` accepts.
///
/// # Errors
/// Exit code 2 when `text` has none of these forms. The message names `flag`, and the hint lists the forms.
pub(crate) fn when(flag: &str, text: &str) -> Result<When, Failure> {
    match text {
        "now" => return Ok(When::Now),
        "earliest" => return Ok(When::Earliest),
        _ => {}
    }
    if let Some(ago) = text.strip_prefix('-') {
        return duration(flag, ago)
            .map(When::Ago)
            .map_err(|_| not_a_time(flag, text));
    }
    if text.contains(['{', '(']) {
        return match value(flag, text)? {
            Bson::Timestamp(timestamp) => Ok(When::Timestamp(timestamp)),
            Bson::DateTime(date) => u32::try_from(date.timestamp_millis().div_euclid(1000))
                .map(When::Second)
                .map_err(|_| not_a_time(flag, text)),
            _ => Err(not_a_time(flag, text)),
        };
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return u32::try_from(seconds)
            .map(When::Second)
            .map_err(|_| not_a_time(flag, text));
    }
    // A date is its midnight in UTC.
    let time: jiff::Timestamp = match text.parse() {
        Ok(time) => time,
        Err(_) if text.len() == "2026-01-31".len() => format!("{text}T00:00:00Z")
            .parse()
            .map_err(|_| not_a_time(flag, text))?,
        Err(_) => return Err(not_a_time(flag, text)),
    };
    u32::try_from(time.as_second())
        .map(When::Second)
        .map_err(|_| not_a_time(flag, text))
}

fn not_a_time(flag: &str, text: &str) -> Failure {
    let message = format!("{flag}: '{}' is not a time", shortened(text, 0));
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    let hint = if duration(flag, ago).is_ok_and(|ago| !ago.is_zero()) {
        format!("use -{} for that time ago", ago.replace(' ', ""))
    } else if text.contains('T') && format!("{text}Z").parse::<jiff::Timestamp>().is_ok() {
        format!("use {text}Z for UTC, or add an offset such as +01:00")
    } else {
        "use now, earliest, 2026-01-31 (its midnight in UTC), 2026-01-31T12:00:00Z, -1h, seconds since 1970, or {\"$timestamp\":{\"t\":1769860800,\"i\":1}}".to_owned()
    };
    Failure::usage(message).hint(hint)
}

/// Returns the part of `text` around byte `at`, short enough for a message and without control characters.
pub(crate) fn shortened(text: &str, at: usize) -> String {
    /// Maximum number of bytes on each side.
    const MAX_CONTEXT: usize = 60;
    let from = at.saturating_sub(MAX_CONTEXT);
    let to = at.max(MAX_CONTEXT) + MAX_CONTEXT;
    let shown = text
        .char_indices()
        .filter(|(index, _)| (from..to).contains(index))
        .map(|(_, c)| if c.is_control() { ' ' } else { c });
    let before = if from > 0 { "..." } else { "" };
    let after = if to < text.len() { "..." } else { "" };
    before.chars().chain(shown).chain(after.chars()).collect()
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    #[test]
    fn keeps_key_order_and_value_types() {
        let parsed = document(
            "--match",
            r#"{"z":{"$numberLong":"1"},"a":{"$date":"2020-01-01T00:00:00Z"},"n":1,"d":1.5}"#,
        )
        .unwrap();
        let keys: Vec<_> = parsed.keys().map(String::as_str).collect();
        assert_eq!(keys, ["z", "a", "n", "d"]);
        assert_eq!(parsed.get("z"), Some(&Bson::Int64(1)));
        assert_eq!(parsed.get("n"), Some(&Bson::Int32(1)));
        assert_eq!(parsed.get("d"), Some(&Bson::Double(1.5)));
    }

    #[test]
    fn keeps_query_operators() {
        for text in [
            r#"{"a":{"$regex":"^x","$options":"i"}}"#,
            r#"{"a":{"$in":[1,2]}}"#,
            r#"{"$or":[{"a":{"$type":"string"}},{"$expr":{"$eq":["$a","$b"]}}]}"#,
        ] {
            let parsed = Bson::Document(document("--match", text).unwrap());
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(text).unwrap(),
                parsed.into_relaxed_extjson()
            );
        }
    }

    #[test]
    fn names_the_flag_and_the_position_of_an_invalid_value() {
        let failure = document("--match", "{\"a\": }").unwrap_err();
        assert_eq!(failure.kind, crate::error::Kind::Usage);
        let message = "--match: expected a value, found \"}\" at line 1, column 7";
        assert_eq!(failure.message, message);
        let excerpt = ["{\"a\": }", "      ^"].map(str::to_owned);
        assert_eq!(failure.excerpt, Some(excerpt));
        assert!(document("--match", "[]").is_err());
        assert!(value("--id", r#"{"$oid":"zz"}"#).is_err());
        assert!(document("--match", "{\"a\\u0000b\":1}").is_err());
    }

    #[test]
    fn parses_doubles_to_the_last_digit() {
        assert_eq!(
            value("--id", "0.30000000000000004").unwrap(),
            bson!(0.1 + 0.2)
        );
    }

    #[test]
    fn parses_durations_only_with_a_unit() {
        assert_eq!(duration("--x", "30s").unwrap(), Duration::from_secs(30));
        assert_eq!(
            duration("--x", "500ms").unwrap(),
            Duration::from_millis(500)
        );
        assert_eq!(duration("--x", "10m").unwrap(), Duration::from_secs(600));
        assert_eq!(duration("--x", "1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("--x", "2d").unwrap(), Duration::from_secs(172_800));
        assert_eq!(duration("--x", "0").unwrap(), Duration::ZERO);
        for bad in ["", "30", "-3s", "soon", "s"] {
            assert!(duration("--x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parses_every_form_of_a_point_in_time() {
        assert_eq!(when("--start", "now").unwrap(), When::Now);
        assert_eq!(when("--start", "earliest").unwrap(), When::Earliest);
        assert_eq!(
            when("--start", "-1h").unwrap(),
            When::Ago(Duration::from_secs(3600))
        );
        assert_eq!(
            when("--start", "1769860800").unwrap(),
            When::Second(1_769_860_800)
        );
        assert_eq!(
            when("--start", "2026-01-31T12:00:00Z").unwrap(),
            When::Second(1_769_860_800)
        );
        assert_eq!(
            when("--start", "2026-01-31").unwrap(),
            When::Second(1_769_860_800 - 12 * 3600)
        );
        assert_eq!(
            when("--start", "2026-01-31T13:00:00.9+01:00").unwrap(),
            When::Second(1_769_860_800)
        );
        assert_eq!(
            when("--start", r#"{"$timestamp":{"t":5,"i":7}}"#).unwrap(),
            When::Timestamp(Timestamp {
                time: 5,
                increment: 7
            })
        );
        for typed in [
            "Timestamp(5, 7)",
            "Timestamp({ t: 5, i: 7 })",
            "{$timestamp: {t: 5, i: 7}}",
        ] {
            let timestamp = Timestamp {
                time: 5,
                increment: 7,
            };
            assert_eq!(when("--start", typed).unwrap(), When::Timestamp(timestamp));
        }
        assert_eq!(
            when("--start", r#"ISODate("2026-01-31T12:00:00.9Z")"#).unwrap(),
            When::Second(1_769_860_800)
        );
        for bad in [
            "yesterday",
            "-",
            "99999999999",
            r#"{"t":1}"#,
            "2026-13-31",
            "2026-01-3",
            "NumberLong(5)",
            "new Date(-1)",
        ] {
            assert!(when("--start", bad).is_err(), "{bad}");
        }
    }
}
