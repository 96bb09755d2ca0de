//! Limits of a bounded watch: a number of events, or a time.

use bson::{RawDocumentBuf, Timestamp};

use crate::token::ResumeToken;

/// Limits after which the writer ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// The number of events to print.
    pub(crate) count: Option<u64>,
    /// The time of the last events to print.
    pub(crate) until: Option<Until>,
}

/// The end of a watch that is bounded by time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// The last time whose events are printed.
    pub(crate) time: Timestamp,
    /// Whether an empty reply at exactly `time` proves that no further event of that time can follow. Behind a mongos, another shard
    /// may still have one.
    pub(crate) is_final_when_reached: bool,
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
        if let Some(until) = self.until {
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
