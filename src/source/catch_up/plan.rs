//! Where slices of a backlog begin. Pure: from what was seen of the last slice, a guess at how far ahead the next one is worth
//! opening. A bad guess costs time, never order: a slice ends where the next one begins.

use bson::{RawDocument, RawDocumentBuf, Timestamp};

use crate::token::ResumeToken;

use super::MAX_BATCH;

/// Bytes of oplog entries that a server's cursor reads ahead in one piece (`internalDocumentSourceCursorBatchSizeBytes`). What it has
/// read beyond the end of a slice was read in vain, up to 20 ms of its time: so a slice ends with a piece (measured on MongoDB 6.0.27:
/// one reply in thousands of events takes so long, at even distances).
const READ_AHEAD_BYTES: usize = 4 * 1024 * 1024;

/// In a slice. Its opening costs the server some 2 ms, and a larger slice is more to hold.
const PIECES: usize = 2;

/// Bytes of events that a slice may hold while those before it are handed on: about what a slice has.
pub(super) const SLICE_BYTES: u32 = (PIECES * READ_AHEAD_BYTES) as u32;

/// What an oplog entry counts there beyond the bytes of its event, for an insert within a session (measured on MongoDB 6.0.27:
/// 112 bytes beyond its own, which are some 30 fewer). Entries of updates and of inserts outside of one count less.
const ENTRY_BYTES_BEYOND_EVENT: usize = 83;

/// Events of a slice's last reply that come behind its end. One tells that the end is there; a few more because seconds begin with
/// the server's own entries.
const BEYOND_END: usize = 20;

/// A batch below this says that events come slowly or match rarely: then one cursor is as fast as several, which would only scan the
/// same oplog several times.
const DENSE_BYTES: usize = 64 * 1024;

/// Events above this on average fill a reply by themselves: the network decides then, and several cursors would only take memory.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// The slices of a backlog so far.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where the slices after the first begin, in order.
    starts: Vec<Timestamp>,
    /// What was seen of the last slice.
    seen: Option<Seen>,
    /// Events of the last slice so far.
    read: usize,
    /// No slice begins at or after this.
    present: Timestamp,
}

/// What the batches of a slice say about the events to come.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The newest batch that says how dense events are: not each one does, the end of a reply is one too.
    batch: Dense,
    /// The time of the newest event.
    last: Timestamp,
}

/// A batch of many events.
#[derive(Debug, Clone, Copy)]
struct Dense {
    first: Timestamp,
    last: Timestamp,
    events: usize,
    bytes: usize,
}

/// Whether another slice can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The slice of this number, at this time.
    Slice(usize, Timestamp),
    /// Not before more of the last slice is seen.
    Unknown,
    /// It would begin in the present or after it.
    Present,
}

impl Plan {
    /// One slice, open towards `present`.
    pub(super) fn new(present: Timestamp) -> Self {
        Self {
            starts: Vec::new(),
            seen: None,
            read: 0,
            present,
        }
    }

    /// Where slice `number` ends: the first time that is the next slice's. `None` while there is no next one.
    pub(super) fn end(&self, number: usize) -> Option<Timestamp> {
        self.starts.get(number).copied()
    }

    /// State a batch of slice `number` that is handed on. Answers whether a next slice can now be planned.
    pub(super) fn saw(&mut self, number: usize, events: &[RawDocumentBuf]) -> bool {
        let is_last = number == self.starts.len();
        let (true, Some(first), Some(last)) = (is_last, events.first(), events.last()) else {
            return false;
        };
        let (Some(first), Some(last)) = (time_of(first), time_of(last)) else {
            return false;
        };
        let batch = Dense {
            first,
            last,
            events: events.len(),
            bytes: events.iter().map(|event| event.as_bytes().len()).sum(),
        };
        self.read += batch.events;
        let newest = batch.is_dense().then_some(batch);
        let before = self.seen.map(|seen| seen.batch);
        self.seen = newest.or(before).map(|batch| Seen { batch, last });
        self.seen.is_some()
    }

    /// The present has moved on.
    pub(super) fn set_present(&mut self, present: Timestamp) {
        self.present = present;
    }

    /// Adds the next slice, where one is worth it.
    pub(super) fn add_next(&mut self) -> Next {
        let Some(start) = self.seen.and_then(|seen| seen.start_ahead(self.read)) else {
            return Next::Unknown;
        };
        if start >= self.present {
            return Next::Present;
        }
        self.starts.push(start);
        self.seen = None;
        self.read = 0;
        Next::Slice(self.starts.len(), start)
    }
}

impl Dense {
    fn event_bytes(self) -> usize {
        self.bytes / self.events.max(1)
    }

    /// Behind `read` events of a slice, how many more make whole replies, and about what the server's cursor reads ahead in its pieces, but
    /// for a few in the last reply that come behind the end.
    fn left_of_slice(self, read: usize) -> usize {
        let entries = PIECES * READ_AHEAD_BYTES / (self.event_bytes() + ENTRY_BYTES_BEYOND_EVENT);
        let reply = entries.min(MAX_BATCH as usize);
        // Where more than one slice was read already, it ends as another one would.
        let end = (read + 2 * reply).next_multiple_of(entries);
        end - end % reply - read - BEYOND_END
    }

    /// Whether events like these pay for another slice.
    fn is_dense(self) -> bool {
        self.bytes >= DENSE_BYTES && self.event_bytes() <= MAX_EVENT_BYTES
    }
}

impl Seen {
    /// A time after every event seen, before which the server's cursor has read about all that it read ahead, when the slice has
    /// given `read` events.
    fn start_ahead(self, read: usize) -> Option<Timestamp> {
        let Dense {
            first,
            last,
            events,
            ..
        } = self.batch;
        let ahead = self.batch.left_of_slice(read) as f64;
        // Increments count from 1 in each second: the larger one is the least number of operations that a second of these has.
        let in_second = f64::from(first.increment.max(last.increment).max(1));
        let steps = f64::from(last.increment) - f64::from(first.increment);
        let whole_seconds = f64::from(last.time.saturating_sub(first.time));
        let times = ahead / events as f64;
        let seconds = match last.time == first.time {
            // How many there are of these, nobody knows.
            true => 0.0,
            false => (whole_seconds + steps / in_second) * times,
        };
        let Timestamp { time, increment } = self.last;
        let start = if seconds >= 1.0 {
            Timestamp {
                time: time.saturating_add(seconds as u32),
                increment: 1,
            }
        } else {
            // Within the second. Beyond its last increment this is the same as the second after it.
            let steps = (steps * times).max(in_second * seconds).max(ahead);
            Timestamp {
                time,
                increment: increment.saturating_add(steps as u32),
            }
        };
        (start > self.last).then_some(start)
    }
}

/// The cluster time of an event.
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

    /// Events of a kilobyte at these cluster times.
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
        plan.saw(0, &events(times));
        plan.add_next()
    }

    #[test]
    fn begins_a_slice_some_seconds_ahead_where_events_are_spread_over_seconds() {
        // 25 events a second, a kilobyte each: a slice of 8 MB is some 280 seconds.
        let Next::Slice(1, start) = next_after((0..500).map(|n| (100 + n / 25, n % 25 + 1))) else {
            panic!("no slice");
        };
        assert!((340..400).contains(&start.time), "{start:?}");
    }

    #[test]
    fn begins_a_slice_within_a_second_that_holds_very_many_events() {
        let Next::Slice(1, start) = next_after((1..=500).map(|n| (100, n))) else {
            panic!("no slice");
        };
        assert_eq!(start.time, 100);
        assert!((6000..8000).contains(&start.increment), "{start:?}");
    }

    #[test]
    fn ends_a_slice_with_a_reply_and_with_what_the_server_reads_ahead_whenever_it_is_planned() {
        for read in [500, 3000, 6400, 20_000] {
            let mut plan = Plan::new(PRESENT);
            let seen: Vec<u32> = (1..=read).collect();
            for batch in seen.chunks(250) {
                plan.saw(0, &events(batch.iter().map(|n| (100, *n))));
            }
            let Next::Slice(1, start) = plan.add_next() else {
                panic!("no slice");
            };
            let length = start.increment as usize - 1;
            let (reply, slice) = (MAX_BATCH as usize, PIECES * READ_AHEAD_BYTES);
            assert!(start.increment > read, "{start:?}");
            assert_eq!((length + BEYOND_END) % reply, reply - 1, "{start:?}");
            let bytes =
                length * (events([(100, 1)])[0].as_bytes().len() + ENTRY_BYTES_BEYOND_EVENT);
            assert!(
                bytes.next_multiple_of(slice) - bytes < slice / 10,
                "{start:?}"
            );
        }
    }

    #[test]
    fn begins_a_slice_behind_a_transaction_whose_events_share_one_time() {
        let Next::Slice(1, start) = next_after((0..500).map(|_| (100, 7))) else {
            panic!("no slice");
        };
        assert!(start > at(100, 7), "{start:?}");
    }

    #[test]
    fn is_not_misled_by_a_batch_that_reaches_into_the_next_second() {
        // 90,000 events in the second before: six thousand more are far less than a second.
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
        assert!(plan.saw(0, &events((1..=400).map(|n| (100, n)))));
        plan.saw(0, &events((401..=450).map(|n| (100, n))));
        let Next::Slice(1, start) = plan.add_next() else {
            panic!("no slice");
        };
        assert!(start > at(100, 6000), "{start:?}");
    }

    #[test]
    fn begins_no_slice_where_events_are_few_or_huge_or_present() {
        assert_eq!(next_after([]), Next::Unknown);
        assert_eq!(next_after((1..=10).map(|n| (100, n))), Next::Unknown);
        assert_eq!(next_after((1..=500).map(|n| (1000, n))), Next::Present);
        let mut plan = Plan::new(PRESENT);
        let huge = rawdoc! { "_id": { "_data": "820000006400000001" }, "pad": "x".repeat(100_000) };
        plan.saw(0, &[huge]);
        assert_eq!(plan.add_next(), Next::Unknown);
    }

    #[test]
    fn ends_a_slice_where_the_next_begins_and_waits_to_see_that_one() {
        let mut plan = Plan::new(PRESENT);
        assert_eq!(plan.end(0), None);
        plan.saw(0, &events((1..=500).map(|n| (100, n))));
        let Next::Slice(1, start) = plan.add_next() else {
            panic!("no slice");
        };
        assert_eq!(plan.end(0), Some(start));
        assert_eq!(plan.end(1), None);
        assert_eq!(plan.add_next(), Next::Unknown);
        assert!(!plan.saw(0, &events([(100, 501)])));
        assert_eq!(plan.add_next(), Next::Unknown);
    }
}
