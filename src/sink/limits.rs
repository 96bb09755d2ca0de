//! Limits of a bounded watch: a number of events, or a time.

use std::cmp::Ordering;

use bson::{RawDocumentBuf, Timestamp};

use crate::token::ResumeToken;

/// Limits after which the writer ends by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// The number of events to print.
    pub(crate) count: Option<u64>,
    /// The time of the last events to print.
    pub(crate) until: Option<Until>,
    /// The token that the stream started after, while a snapshot is being read. Events after the last time are then printed too: the
    /// documents of the snapshot may be newer.
    pub(crate) scanning_since: Option<ResumeToken>,
}

/// The end of a watch that is bounded by time.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    /// The last time whose events are printed.
    pub(crate) time: Timestamp,
    /// What an empty reply with a token of exactly `time` proves.
    pub(crate) proof: Proof,
}

/// Whether an empty reply with a token of exactly the last time proves that no event of that time follows.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// It does.
    Always,
    /// It does unless its token is this one, at which the stream started. A token that moved proves that the server has read everything up
    /// to it. At this one, an event of the same time may still be waiting for a majority, or for a member that lags behind.
    UnlessAt(ResumeToken),
    /// It does not: through a mongos, another shard may still have an event of that time.
    Never,
}

impl Until {
    /// Returns whether an empty reply with `token` proves that no event up to `time` follows.
    pub(super) fn is_reached_at(&self, token: &ResumeToken) -> bool {
        match token.time().cmp(&self.time) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => match &self.proof {
                Proof::Always => true,
                Proof::UnlessAt(start) => token != start,
                Proof::Never => false,
            },
        }
    }
}

/// The leading events of a batch that the limits allow.
pub(super) struct Allowed {
    /// The number of events.
    pub(super) count: usize,
    /// Whether they reach a limit.
    pub(super) reaches_limit: bool,
}

impl Limits {
    /// Returns the end of the watch; `None` while it has none yet.
    pub(super) fn until(&self) -> Option<&Until> {
        self.until.as_ref().filter(|_| !self.is_scanning())
    }

    /// Records that the snapshot was read, its last documents at `time`. Events up to that time are printed even if the watch ends earlier:
    /// without them, older events of the documents would be the last ones.
    pub(super) fn end_snapshot(&mut self, time: Timestamp) {
        let start = self.scanning_since.take();
        if let (Some(until), Some(start)) = (&mut self.until, start)
            && until.time < time
        {
            until.time = time;
            if !matches!(until.proof, Proof::Never) {
                until.proof = Proof::UnlessAt(start);
            }
        }
    }

    /// Returns whether a snapshot is being read.
    pub(super) fn is_scanning(&self) -> bool {
        self.scanning_since.is_some()
    }

    /// Returns which of `lines` lines may be printed when `printed` were printed before, whatever their times.
    pub(super) fn apply_count(&self, lines: usize, printed: u64) -> Allowed {
        let left = self.count.map_or(usize::MAX, |count| {
            usize::try_from(count - printed).unwrap_or(usize::MAX)
        });
        Allowed {
            count: lines.min(left),
            reaches_limit: left <= lines,
        }
    }

    /// Returns which of `events` may be printed when `printed` events were printed before.
    pub(super) fn apply(&self, events: &[RawDocumentBuf], printed: u64) -> Allowed {
        let in_time = match self.until() {
            Some(until) => events
                .iter()
                .take_while(|event| {
                    ResumeToken::of_event(event).is_none_or(|token| token.time() <= until.time)
                })
                .count(),
            None => events.len(),
        };
        let mut allowed = self.apply_count(in_time, printed);
        allowed.reaches_limit |= in_time < events.len();
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(time: u32) -> ResumeToken {
        ResumeToken::parse(&format!("82{time:08X}000000012B0229296E04")).unwrap()
    }

    #[test]
    fn ends_after_a_snapshot_and_not_before_its_time() {
        let mut limits = Limits {
            count: None,
            until: Some(Until {
                time: token(5).time(),
                proof: Proof::Always,
            }),
            scanning_since: Some(token(7)),
        };
        assert!(limits.until().is_none());
        limits.end_snapshot(token(7).time());
        let until = limits.until().unwrap();
        assert!(!until.is_reached_at(&token(6)));
        // The event of the time at which the stream started may follow.
        assert!(!until.is_reached_at(&token(7)));
        assert!(until.is_reached_at(&token(8)));
    }

    #[test]
    fn keeps_a_later_end_after_a_snapshot() {
        let mut limits = Limits {
            count: None,
            until: Some(Until {
                time: token(9).time(),
                proof: Proof::Always,
            }),
            scanning_since: Some(token(1)),
        };
        limits.end_snapshot(token(7).time());
        let until = limits.until().unwrap();
        assert!(!until.is_reached_at(&token(8)));
        assert!(until.is_reached_at(&token(9)));
    }
}
