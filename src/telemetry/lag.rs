//! Lag of a stream, as three facts that are kept apart: whether the stream has caught up, how far it is behind the server, and how long
//! ago the server replied. Facts that are not known are reported as unknown, never as zero. Pure.

use std::time::Duration;

use bson::Timestamp;

/// The observations of a stream that its lag is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LagInput {
    /// Whether the last thing received was an empty reply, which proves that there were no more events; `None` before the first reply,
    /// and while the stream is closed.
    pub(super) last_was_empty: Option<bool>,
    /// Whether events that were read are not printed yet.
    pub(super) has_waiting: bool,
    /// Cluster time of the stream position: everything up to it was printed.
    pub(super) position: Option<Timestamp>,
    /// The server's cluster time, and how long ago it was asked for it.
    pub(super) cluster_time: Option<(Timestamp, Duration)>,
    /// Time since the last reply; `None` before the first.
    pub(super) time_since_reply: Option<Duration>,
    /// The longest time since the last reply for which that reply still shows whether the stream has caught up.
    pub(super) max_reply_age: Duration,
}

/// The lag of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    /// Whether all events were printed; `None` while unknown.
    pub caught_up: Option<bool>,
    /// The server's cluster time now minus that of the stream position; `None` while caught up or unknown.
    pub behind: Option<Duration>,
    /// Time since the server's last reply; `None` before the first.
    pub time_since_reply: Option<Duration>,
}

impl LagInput {
    /// Computes the lag.
    pub(super) fn lag(self) -> Lag {
        let is_replying = self
            .time_since_reply
            .is_some_and(|time_since_reply| time_since_reply <= self.max_reply_age);
        let caught_up = match self.has_waiting {
            true => Some(false),
            false => self.last_was_empty.filter(|_| is_replying),
        };
        let behind = match (caught_up, self.position, self.cluster_time) {
            (Some(true), ..) => None,
            (_, Some(position), Some((cluster_time, age))) => {
                let since_epoch = |time: Timestamp| Duration::from_secs(time.time.into());
                Some((since_epoch(cluster_time) + age).saturating_sub(since_epoch(position)))
            }
            _ => None,
        };
        Lag {
            caught_up,
            behind,
            time_since_reply: self.time_since_reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    const CATCHING_UP: LagInput = LagInput {
        last_was_empty: Some(false),
        has_waiting: false,
        position: Some(at(100)),
        cluster_time: Some((at(160), SECOND)),
        time_since_reply: Some(Duration::ZERO),
        max_reply_age: Duration::from_secs(60),
    };

    #[test]
    fn is_the_cluster_time_minus_the_position_only_while_not_caught_up() {
        let lag = CATCHING_UP.lag();
        assert_eq!(lag.caught_up, Some(false));
        assert_eq!(lag.behind, Some(61 * SECOND));
        let caught_up = LagInput {
            last_was_empty: Some(true),
            ..CATCHING_UP
        };
        assert_eq!(caught_up.lag().caught_up, Some(true));
        assert_eq!(caught_up.lag().behind, None);
    }

    #[test]
    fn is_unknown_before_the_first_reply() {
        let unreached = LagInput {
            last_was_empty: None,
            cluster_time: None,
            time_since_reply: None,
            ..CATCHING_UP
        };
        let lag = unreached.lag();
        assert_eq!(
            (lag.caught_up, lag.behind, lag.time_since_reply),
            (None, None, None)
        );
    }

    #[test]
    fn does_not_report_caught_up_when_the_last_reply_is_too_old() {
        let stale = LagInput {
            last_was_empty: Some(true),
            time_since_reply: Some(61 * SECOND),
            ..CATCHING_UP
        };
        let lag = stale.lag();
        assert_eq!(lag.caught_up, None);
        assert_eq!(lag.time_since_reply, Some(61 * SECOND));
        assert_eq!(lag.behind, Some(61 * SECOND));
    }

    #[test]
    fn is_not_caught_up_while_events_wait_to_be_written_however_old_the_last_reply_is() {
        let stalled = LagInput {
            last_was_empty: Some(true),
            has_waiting: true,
            time_since_reply: Some(61 * SECOND),
            ..CATCHING_UP
        };
        let lag = stalled.lag();
        assert_eq!(lag.caught_up, Some(false));
        assert_eq!(lag.behind, Some(61 * SECOND));
    }

    #[test]
    fn is_zero_when_the_event_is_newer_than_the_cluster_time() {
        let ahead = LagInput {
            position: Some(at(200)),
            ..CATCHING_UP
        };
        assert_eq!(ahead.lag().behind, Some(Duration::ZERO));
    }
}
