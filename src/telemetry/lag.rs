//! How far behind a stream is, in three facts that are kept apart: whether it had caught up, by how much it is behind, and how long
//! the server has been silent. What is not known is said to be unknown, never zero. Pure.

use std::time::Duration;

use bson::Timestamp;

/// What is known of a stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LagInput {
    /// Whether the newest thing that came was an empty reply, which proves that there was nothing more; `None` before the first
    /// reply.
    pub(super) last_was_empty: Option<bool>,
    /// Whether events were read that are not printed yet.
    pub(super) has_waiting: bool,
    /// Cluster time of the newest position.
    pub(super) position: Option<Timestamp>,
    /// The server's cluster time, and how long ago it was asked for it.
    pub(super) present: Option<(Timestamp, Duration)>,
    /// Since the last reply; `None` before the first.
    pub(super) time_since_reply: Option<Duration>,
    /// Beyond this a time_since_reply means that nothing is known any more.
    pub(super) max_reply_age: Duration,
}

/// How far behind a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Whether nothing more was there; `None` is unknown.
    pub caught_up: Option<bool>,
    /// The server's cluster time minus the newest position's, only while not caught up; `None` is unknown or caught up.
    pub behind: Option<Duration>,
    /// Since the last reply of the server; `None` before the first.
    pub time_since_reply: Option<Duration>,
}

impl LagInput {
    /// What follows from it.
    pub(super) fn lag(self) -> Lag {
        let is_replying = self
            .time_since_reply
            .is_some_and(|time_since_reply| time_since_reply <= self.max_reply_age);
        let caught_up = match self.has_waiting {
            true => Some(false),
            false => self.last_was_empty.filter(|_| is_replying),
        };
        let behind = match (caught_up, self.position, self.present) {
            (Some(true), ..) => None,
            (_, Some(position), Some((present, age))) => {
                let since_epoch = |time: Timestamp| Duration::from_secs(time.time.into());
                Some((since_epoch(present) + age).saturating_sub(since_epoch(position)))
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

    const READING: LagInput = LagInput {
        last_was_empty: Some(false),
        has_waiting: false,
        position: Some(at(100)),
        present: Some((at(160), SECOND)),
        time_since_reply: Some(Duration::ZERO),
        max_reply_age: Duration::from_secs(60),
    };

    #[test]
    fn is_behind_by_the_servers_time_minus_the_positions_only_while_not_caught_up() {
        let lag = READING.lag();
        assert_eq!(lag.caught_up, Some(false));
        assert_eq!(lag.behind, Some(61 * SECOND));
        let caught_up = LagInput {
            last_was_empty: Some(true),
            ..READING
        };
        assert_eq!(caught_up.lag().caught_up, Some(true));
        assert_eq!(caught_up.lag().behind, None);
    }

    #[test]
    fn knows_nothing_before_the_first_reply() {
        let unheard = LagInput {
            last_was_empty: None,
            present: None,
            time_since_reply: None,
            ..READING
        };
        let lag = unheard.lag();
        assert_eq!(
            (lag.caught_up, lag.behind, lag.time_since_reply),
            (None, None, None)
        );
    }

    #[test]
    fn does_not_call_a_stream_caught_up_that_was_silent_for_too_long() {
        let silent = LagInput {
            last_was_empty: Some(true),
            time_since_reply: Some(61 * SECOND),
            ..READING
        };
        let lag = silent.lag();
        assert_eq!(lag.caught_up, None);
        assert_eq!(lag.time_since_reply, Some(61 * SECOND));
        assert_eq!(lag.behind, Some(61 * SECOND));
    }

    #[test]
    fn is_not_caught_up_while_events_wait_for_a_reader_however_silent_the_server_is() {
        let stalled = LagInput {
            last_was_empty: Some(true),
            has_waiting: true,
            time_since_reply: Some(61 * SECOND),
            ..READING
        };
        let lag = stalled.lag();
        assert_eq!(lag.caught_up, Some(false));
        assert_eq!(lag.behind, Some(61 * SECOND));
    }

    #[test]
    fn is_not_behind_a_server_that_was_asked_for_its_time_before_the_event() {
        let ahead = LagInput {
            position: Some(at(200)),
            ..READING
        };
        assert_eq!(ahead.lag().behind, Some(Duration::ZERO));
    }
}
