//! Limits of a bounded watch: a number of events, or a time.

use bson::{RawDocumentBuf, Timestamp};

use crate::token::ResumeToken;

/// When the writer ends without being asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// After this many events.
    pub(crate) count: Option<u64>,
    /// After the last event at or before this time.
    pub(crate) until: Option<Until>,
}

/// The end of a watch that is bounded by time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// The last time whose events are printed.
    pub(crate) time: Timestamp,
    /// Whether an empty reply that has reached `time` proves that no event of that time can follow. With a mongos, another shard may
    /// still have one.
    pub(crate) reached_is_passed: bool,
}

/// The leading events of a batch that the limits allow.
pub(super) struct Allowed {
    /// How many.
    pub(super) count: usize,
    /// Whether a limit is reached with them.
    pub(super) reached: bool,
}

impl Limits {
    /// Returns which of `events` may be printed when `printed` events were printed before.
    pub(super) fn apply(&self, events: &[RawDocumentBuf], printed: u64) -> Allowed {
        let mut allowed = Allowed {
            count: events.len(),
            reached: false,
        };
        if let Some(until) = self.until {
            let in_time = events
                .iter()
                .take_while(|event| {
                    ResumeToken::of_event(event).is_none_or(|token| token.time() <= until.time)
                })
                .count();
            allowed.reached |= in_time < allowed.count;
            allowed.count = in_time;
        }
        if let Some(count) = self.count {
            let left = usize::try_from(count - printed).unwrap_or(usize::MAX);
            allowed.reached |= left <= allowed.count;
            allowed.count = allowed.count.min(left);
        }
        allowed
    }
}
