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
    /// Returns which of `events` may be printed when `printed` events were printed before.
    pub(super) fn apply(&self, events: &[RawDocumentBuf], printed: u64) -> Allowed {
        let mut allowed = Allowed {
            count: events.len(),
            reaches_limit: false,
        };
        if let Some(until) = &self.until {
            let in_time = events
                .iter()
                .take_while(|event| {
                    ResumeToken::of_event(event).is_none_or(|token| token.time() <= until.time)
                })
                .count();
            allowed.reaches_limit |= in_time < allowed.count;
            allowed.count = in_time;
        }
        if let Some(count) = self.count {
            let left = usize::try_from(count - printed).unwrap_or(usize::MAX);
            allowed.reaches_limit |= left <= allowed.count;
            allowed.count = allowed.count.min(left);
        }
        allowed
    }
}
