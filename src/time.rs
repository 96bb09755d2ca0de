//! Cluster times and durations as text, and the comparison of cluster times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::Timestamp;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// Returns a cluster time as RFC 3339 in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    instant(time).to_string()
}

/// Returns a cluster time as RFC 3339 with the offset of `zone`; `None` when that offset is zero.
pub(crate) fn rfc3339_in(zone: &TimeZone, time: Timestamp) -> Option<String> {
    let instant = instant(time);
    let offset = zone.to_offset(instant);
    (!offset.is_zero()).then(|| instant.display_with_offset(offset).to_string())
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH + i64::from(time.time).seconds()
}

/// How far a cluster time may be ahead of the server's, in seconds: after a failover, the members of a replica set may differ by this
/// much.
const CLOCK_SLACK_SECONDS: u32 = 60;

/// Returns whether `time` is further ahead of the server's `now` than the members of a replica set may differ. A stream that starts there
/// silently skips all events up to it (measured on MongoDB 6.0.27).
pub(crate) fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time.time > now.time.saturating_add(CLOCK_SLACK_SECONDS)
}

/// Returns the clause of an error message that says by which times `time` is ahead of the server's `now`.
pub(crate) fn ahead_of_server(time: Timestamp, now: Timestamp) -> String {
    format!(
        "{} is ahead of the server's time, {}",
        rfc3339(time),
        rfc3339(now)
    )
}

/// Returns a duration in whole seconds, or in whole minutes if it is an hour or longer: `9s`, `3m 12s`, `9h 12m`.
pub(crate) fn readable(duration: Duration) -> String {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let rounded = if seconds < HOUR {
        seconds
    } else {
        seconds - seconds % MINUTE
    };
    format!("{:#}", SignedDuration::from_secs(rounded))
}

/// Returns the time since 1970; zero for a clock that is set to an earlier time.
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_a_cluster_time_in_utc() {
        let time = Timestamp {
            time: 1_769_860_800,
            increment: 3,
        };
        assert_eq!(rfc3339(time), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn prints_a_duration_in_its_two_largest_units() {
        let durations =
            [0, 9, 192, 33_151, 400_000].map(|seconds| readable(Duration::from_secs(seconds)));
        assert_eq!(durations, ["0s", "9s", "3m 12s", "9h 12m", "111h 6m"]);
    }
}
