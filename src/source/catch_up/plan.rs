//! The plan of a catch-up: the start times of the slices. Pure: estimates the next start from the events of the last slice. A bad estimate
//! costs time, never the order, because a slice ends exactly where the next one starts.

use bson::{RawDocument, RawDocumentBuf, Timestamp};

use crate::token::ResumeToken;

use super::MAX_BATCH;

/// Bytes of oplog entries that a cursor of the server reads ahead in one chunk (`internalDocumentSourceCursorBatchSizeBytes`). A chunk that
/// reaches beyond the end of a slice wastes up to 20 ms of the server's time, so a slice ends with a chunk (measured on MongoDB 6.0.27:
/// every few thousand events, at even intervals, one reply takes that long).
const READ_AHEAD_BYTES: usize = 4 * 1024 * 1024;

/// Number of chunks in a slice. To open a slice costs the server about 2 ms, and a larger slice takes more memory.
const CHUNKS: usize = 2;

/// Bytes of events that a slice may hold until its turn: about the size of a whole slice.
pub(super) const SLICE_BYTES: u32 = (CHUNKS * READ_AHEAD_BYTES) as u32;

/// Difference between the size at which the chunk counts an oplog entry and the size of its event, for an insert within a session (measured
/// on MongoDB 6.0.27: the entry counts as 112 bytes more than its own size, which is about 30 less than the event's). Entries of updates,
/// and of inserts outside a session, count less.
const ENTRY_OVERHEAD_BYTES: usize = 83;

/// Number of events in a slice's last reply that come after its end. One is needed to see the end; the others are a margin, because a
/// second may begin with the server's own entries.
const EVENTS_BEYOND_END: usize = 20;

/// Smallest batch that is worth parallel reading. Smaller ones mean that events are few or rarely match: one cursor is as fast then, and
/// several would only scan the same oplog several times.
const MIN_DENSE_BYTES: usize = 64 * 1024;

/// Largest average event that is worth parallel reading. Larger ones fill a reply with few events: the network is the limit then, and
/// several cursors would only take memory.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// The slices of a backlog that are planned so far.
#[derive(Debug)]
pub(super) struct Plan {
    /// Start times of the slices after the first one, in order.
    starts: Vec<Timestamp>,
    /// The sample from the last slice.
    sample: Option<Sample>,
    /// Number of events of the last slice so far.
    read: usize,
    /// The server's operation time; no slice starts at or after it.
    present: Timestamp,
}

/// A sample of a slice's events, to estimate those to come.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// The newest dense batch. Not every batch is dense: the few events at the end of a reply are a batch too.
    batch: BatchStats,
    /// The time of the newest event.
    last: Timestamp,
}

/// Times and size of a batch of events.
#[derive(Debug, Clone, Copy)]
struct BatchStats {
    first: Timestamp,
    last: Timestamp,
    events: usize,
    bytes: usize,
}

/// The answer to whether another slice can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Yes: a slice with this number, at this time.
    Slice(usize, Timestamp),
    /// Not before the last slice has more events.
    Unknown,
    /// No: it would start in the present or later.
    Present,
}

impl Plan {
    /// Creates a plan of one slice without an end.
    pub(super) fn new(present: Timestamp) -> Self {
        Self {
            starts: Vec::new(),
            sample: None,
            read: 0,
            present,
        }
    }

    /// Returns the end of slice `number`, which is the start of the next one; `None` while there is no next one.
    pub(super) fn end(&self, number: usize) -> Option<Timestamp> {
        self.starts.get(number).copied()
    }

    /// Records a batch of slice `number`. Returns whether the next slice can now be planned.
    pub(super) fn record_batch(&mut self, number: usize, events: &[RawDocumentBuf]) -> bool {
        let is_last = number == self.starts.len();
        let (true, Some(first), Some(last)) = (is_last, events.first(), events.last()) else {
            return false;
        };
        let (Some(first), Some(last)) = (time_of(first), time_of(last)) else {
            return false;
        };
        let batch = BatchStats {
            first,
            last,
            events: events.len(),
            bytes: events.iter().map(|event| event.as_bytes().len()).sum(),
        };
        self.read += batch.events;
        let newest = batch.is_dense().then_some(batch);
        let previous = self.sample.map(|sample| sample.batch);
        self.sample = newest.or(previous).map(|batch| Sample { batch, last });
        self.sample.is_some()
    }

    /// Returns the server's operation time, when it was asked last.
    pub(super) fn present(&self) -> Timestamp {
        self.present
    }

    /// Sets the server's operation time.
    pub(super) fn set_present(&mut self, present: Timestamp) {
        self.present = present;
    }

    /// Adds the next slice, if its start is known and before the present.
    pub(super) fn add_next(&mut self) -> Next {
        let Some(start) = self.sample.and_then(|sample| sample.next_start(self.read)) else {
            return Next::Unknown;
        };
        if start >= self.present {
            return Next::Present;
        }
        self.starts.push(start);
        self.sample = None;
        self.read = 0;
        Next::Slice(self.starts.len(), start)
    }
}

impl BatchStats {
    /// Returns the average size of an event.
    fn event_bytes(self) -> usize {
        self.bytes / self.events.max(1)
    }

    /// Returns the number of events left in a slice that has given `read` events. The slice then ends with a whole reply, except for
    /// [`EVENTS_BEYOND_END`], and about where the server's cursor ends a chunk.
    fn left_of_slice(self, read: usize) -> usize {
        let entries = CHUNKS * READ_AHEAD_BYTES / (self.event_bytes() + ENTRY_OVERHEAD_BYTES);
        let reply = entries.min(MAX_BATCH as usize);
        // A slice that is already longer than planned ends where a later one would.
        let end = (read + 2 * reply).next_multiple_of(entries);
        end - end % reply - read - EVENTS_BEYOND_END
    }

    /// Returns whether events like these are worth another slice.
    fn is_dense(self) -> bool {
        self.bytes >= MIN_DENSE_BYTES && self.event_bytes() <= MAX_EVENT_BYTES
    }
}

impl Sample {
    /// Returns the estimated start of the next slice when this one has given `read` events: a time after all of them, about where the
    /// server's cursor ends a chunk.
    fn next_start(self, read: usize) -> Option<Timestamp> {
        let BatchStats {
            first,
            last,
            events,
            ..
        } = self.batch;
        let left = self.batch.left_of_slice(read) as f64;
        // Increments count from 1 in each second, so the larger one is a lower bound of the operations in a second.
        let in_second = f64::from(first.increment.max(last.increment).max(1));
        let steps = f64::from(last.increment) - f64::from(first.increment);
        let whole_seconds = f64::from(last.time.saturating_sub(first.time));
        let batches = left / events as f64;
        let seconds = match last.time == first.time {
            // The number of operations in this second is unknown.
            true => 0.0,
            false => (whole_seconds + steps / in_second) * batches,
        };
        let Timestamp { time, increment } = self.last;
        let start = if seconds >= 1.0 {
            Timestamp {
                time: time.saturating_add(seconds as u32),
                increment: 1,
            }
        } else {
            // Within the second. An increment beyond the last one is the same as the next second.
            let steps = (steps * batches).max(in_second * seconds).max(left);
            Timestamp {
                time,
                increment: increment.saturating_add(steps as u32),
            }
        };
        (start > self.last).then_some(start)
    }
}

/// Returns the cluster time of an event.
pub(super) fn time_of(event: &RawDocument) -> Option<Timestamp> {
    ResumeToken::time_of(event.get_document("_id").ok()?)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    const PRESENT: Timestamp = at(1000, 1);

    const fn at(time: u32, increment: u32) -> Timestamp {
        Timestamp { time, increment }
    }

    /// Returns events of a kilobyte at these cluster times.
    fn events(times: impl IntoIterator<Item = (u32, u32)>) -> Vec<RawDocumentBuf> {
        times
            .into_iter()
            .map(|(time, increment)| {
                rawdoc! {
                    "_id": { "_data": format!("82{time:08X}{increment:08X}2B") },
                    "pad": "x".repeat(1000),
                }
            })
            .collect()
    }

    fn next_after(times: impl IntoIterator<Item = (u32, u32)>) -> Next {
        let mut plan = Plan::new(PRESENT);
        plan.record_batch(0, &events(times));
        plan.add_next()
    }

    #[test]
    fn starts_the_next_slice_seconds_later_when_events_are_spread_over_seconds() {
        // 25 events a second, a kilobyte each: a slice of 8 MB takes about 280 seconds.
        let Next::Slice(1, start) = next_after((0..500).map(|n| (100 + n / 25, n % 25 + 1))) else {
            panic!("no slice");
        };
        assert!((340..400).contains(&start.time), "{start:?}");
    }

    #[test]
    fn starts_the_next_slice_within_a_second_that_holds_very_many_events() {
        let Next::Slice(1, start) = next_after((1..=500).map(|n| (100, n))) else {
            panic!("no slice");
        };
        assert_eq!(start.time, 100);
        assert!((6000..8000).contains(&start.increment), "{start:?}");
    }

    #[test]
    fn ends_a_slice_with_a_reply_and_a_chunk_no_matter_when_it_is_planned() {
        for read in [500, 3000, 6400, 20_000] {
            let mut plan = Plan::new(PRESENT);
            let increments: Vec<u32> = (1..=read).collect();
            for batch in increments.chunks(250) {
                plan.record_batch(0, &events(batch.iter().map(|n| (100, *n))));
            }
            let Next::Slice(1, start) = plan.add_next() else {
                panic!("no slice");
            };
            let length = start.increment as usize - 1;
            let (reply, slice) = (MAX_BATCH as usize, CHUNKS * READ_AHEAD_BYTES);
            assert!(start.increment > read, "{start:?}");
            assert_eq!((length + EVENTS_BEYOND_END) % reply, reply - 1, "{start:?}");
            let bytes = length * (events([(100, 1)])[0].as_bytes().len() + ENTRY_OVERHEAD_BYTES);
            assert!(
                bytes.next_multiple_of(slice) - bytes < slice / 10,
                "{start:?}"
            );
        }
    }

    #[test]
    fn starts_the_next_slice_after_a_transaction_whose_events_share_one_time() {
        let Next::Slice(1, start) = next_after((0..500).map(|_| (100, 7))) else {
            panic!("no slice");
        };
        assert!(start > at(100, 7), "{start:?}");
    }

    #[test]
    fn is_not_misled_by_a_batch_that_reaches_into_the_next_second() {
        // The second before has 90,000 events, so that six thousand more take far less than a second.
        let times = (1..=500).map(|n| {
            if n <= 300 {
                (100, 89_700 + n)
            } else {
                (101, n - 300)
            }
        });
        let Next::Slice(1, start) = next_after(times) else {
            panic!("no slice");
        };
        assert_eq!(start.time, 101, "{start:?}");
    }

    #[test]
    fn is_not_misled_by_the_few_events_at_the_end_of_a_reply() {
        let mut plan = Plan::new(PRESENT);
        assert!(plan.record_batch(0, &events((1..=400).map(|n| (100, n)))));
        plan.record_batch(0, &events((401..=450).map(|n| (100, n))));
        let Next::Slice(1, start) = plan.add_next() else {
            panic!("no slice");
        };
        assert!(start > at(100, 6000), "{start:?}");
    }

    #[test]
    fn starts_no_slice_when_events_are_few_or_huge_or_present() {
        assert_eq!(next_after([]), Next::Unknown);
        assert_eq!(next_after((1..=10).map(|n| (100, n))), Next::Unknown);
        assert_eq!(next_after((1..=500).map(|n| (1000, n))), Next::Present);
        let mut plan = Plan::new(PRESENT);
        let huge = rawdoc! { "_id": { "_data": "820000006400000001" }, "pad": "x".repeat(100_000) };
        plan.record_batch(0, &[huge]);
        assert_eq!(plan.add_next(), Next::Unknown);
    }

    #[test]
    fn ends_a_slice_where_the_next_starts_and_waits_for_events_of_that_one() {
        let mut plan = Plan::new(PRESENT);
        assert_eq!(plan.end(0), None);
        plan.record_batch(0, &events((1..=500).map(|n| (100, n))));
        let Next::Slice(1, start) = plan.add_next() else {
            panic!("no slice");
        };
        assert_eq!(plan.end(0), Some(start));
        assert_eq!(plan.end(1), None);
        assert_eq!(plan.add_next(), Next::Unknown);
        assert!(!plan.record_batch(0, &events([(100, 501)])));
        assert_eq!(plan.add_next(), Next::Unknown);
    }
}
