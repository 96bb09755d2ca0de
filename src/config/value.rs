//! The forms that values in flags take: Extended JSON, durations, points in time. Pure.
//! Errors name the flag, the value and the place in it.

use std::time::Duration;

use bson::error::ErrorKind;
use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use jiff::SpanRelativeTo;
use serde_json::Value;

use crate::error::Failure;

/// A point in time as `--start` and `--until` name it. Relative forms are resolved against the server's clock, not this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The server's present.
    Now,
    /// The oldest event the oplog still has.
    Earliest,
    /// This long before the server's present.
    Ago(Duration),
    /// This second since 1970.
    Second(u32),
    /// Exactly this cluster time.
    Timestamp(Timestamp),
}

impl When {
    /// The cluster time of the first event at or after this, on a server whose present is `now`.
    pub(crate) fn begins_at(self, now: Timestamp) -> Timestamp {
        // Increments of a second begin at 1.
        self.at(now, 1)
    }

    /// The cluster time of the last event at or before this, on a server whose present is `now`.
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

/// Reads one value of Extended JSON v2, canonical or relaxed, key order kept.
///
/// # Errors
/// As [`json`] and [`from_json`].
pub(crate) fn extended_json(flag: &str, text: &str) -> Result<Bson, Failure> {
    from_json(flag, &json(flag, text)?)
}

/// Reads JSON, key order kept.
///
/// # Errors
/// Names `flag` and the line and column of what is not JSON.
pub(crate) fn json(flag: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1));
        Failure::usage(format!(
            "{flag}: not JSON: {error}: {}",
            shortened(line.unwrap_or_default(), error.column())
        ))
        .hint(
            "write Extended JSON with double quotes inside single ones, as in '{\"a\":1}' or '\"text\"'",
        )
    })
}

/// The value that Extended JSON stands for.
///
/// # Errors
/// Names `flag`, and the part of the value that is not Extended JSON, with the path to it.
pub(crate) fn from_json(flag: &str, value: &Value) -> Result<Bson, Failure> {
    match into_bson(value) {
        Ok(bson) => Ok(bson),
        Err(error) => {
            let (path, part, error) = innermost(String::new(), value, error);
            let at = if path.is_empty() { "" } else { " at " };
            let reason = match &error.kind {
                ErrorKind::ObjectId { kind, .. } => kind.to_string(),
                kind => error.message.clone().unwrap_or_else(|| kind.to_string()),
            };
            Err(Failure::usage(format!(
                "{flag}: not Extended JSON{at}{}: {reason}: {}",
                shortened(&path, path.len()),
                shortened(&part.to_string(), 0)
            ))
            .hint(
                "see https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ for the form of each type",
            ))
        }
    }
}

fn into_bson(value: &Value) -> Result<Bson, bson::error::Error> {
    let value = Bson::try_from(value.clone())?;
    // A key with a NUL is JSON, but no BSON.
    RawDocumentBuf::try_from(&doc! { "": value.clone() })?;
    Ok(value)
}

/// The innermost part of `value` that is not Extended JSON, the dotted path to it, and why it is not.
fn innermost(
    path: String,
    value: &Value,
    error: bson::error::Error,
) -> (String, &Value, bson::error::Error) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| (key.clone(), field))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, part) in parts {
        if let Err(error) = into_bson(part) {
            let dot = if path.is_empty() { "" } else { "." };
            return innermost(format!("{path}{dot}{key}"), part, error);
        }
    }
    (path, value, error)
}

/// As [`extended_json`], for a flag that takes a document.
///
/// # Errors
/// As [`extended_json`], or when the value is not an object.
pub(crate) fn document(flag: &str, text: &str) -> Result<Document, Failure> {
    match extended_json(flag, text)? {
        Bson::Document(document) => Ok(document),
        _ => Err(Failure::usage(format!(
            "{flag}: must be an object such as {{\"operationType\":\"insert\"}}, not {}",
            shortened(text, 0)
        ))),
    }
}

/// Reads a duration with its unit: `500ms`, `30s`, `10m`, `1h 30m`, `2d`; `0` needs none.
///
/// # Errors
/// Names `flag` when it is not one, is negative, or too long to count in milliseconds.
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
                .hint("give a number and its unit, as in 500ms, 30s, 10m, 1h, 2d")
        })
}

/// Reads a point in time as `--start` takes it.
///
/// # Errors
/// Names `flag` and lists the forms when it is none of them.
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
    if text.starts_with('{') {
        return match extended_json(flag, text)? {
            Bson::Timestamp(timestamp) => Ok(When::Timestamp(timestamp)),
            _ => Err(not_a_time(flag, text)),
        };
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return u32::try_from(seconds)
            .map(When::Second)
            .map_err(|_| not_a_time(flag, text));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| not_a_time(flag, text))?;
    u32::try_from(time.as_second())
        .map(When::Second)
        .map_err(|_| not_a_time(flag, text))
}

fn not_a_time(flag: &str, text: &str) -> Failure {
    Failure::usage(format!("{flag}: '{}' is not a time", shortened(text, 0))).hint(
        "give now, earliest, 2026-01-31T12:00:00Z, -1h, seconds since 1970, or {\"$timestamp\":{\"t\":1769860800,\"i\":1}}",
    )
}

/// What stands around byte `at` of `text`, as far as it fits in a message of one line.
pub(crate) fn shortened(text: &str, at: usize) -> String {
    /// On each side.
    const LONGEST: usize = 60;
    let from = at.saturating_sub(LONGEST);
    let to = at.max(LONGEST) + LONGEST;
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
    fn keeps_the_order_of_keys_and_the_types_of_values() {
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
    fn leaves_query_operators_alone() {
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
    fn names_the_flag_and_the_place_of_bad_json() {
        let failure = document("--match", "{\"a\": }").unwrap_err();
        assert_eq!(failure.kind, crate::error::Kind::Usage);
        assert!(
            failure.message.starts_with("--match: not JSON: "),
            "{failure}"
        );
        assert!(failure.message.contains("line 1 column 7"), "{failure}");
        assert!(document("--match", "[]").is_err());
        assert!(extended_json("--id", r#"{"$oid":"zz"}"#).is_err());
        assert!(document("--match", "{\"a\\u0000b\":1}").is_err());
    }

    #[test]
    fn reads_doubles_to_the_last_digit() {
        assert_eq!(
            extended_json("--id", "0.30000000000000004").unwrap(),
            bson!(0.1 + 0.2)
        );
    }

    #[test]
    fn reads_durations_with_a_unit_only() {
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
    fn reads_every_form_of_a_point_in_time() {
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
        for bad in ["yesterday", "-", "99999999999", r#"{"t":1}"#, "2026-01-31"] {
            assert!(when("--start", bad).is_err(), "{bad}");
        }
    }
}
