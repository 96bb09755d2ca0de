//! The window of messages that were published and not acknowledged yet, in order: which come next, which are stored, and whether the
//! stream still continues where this writer left it. Knows no server.

use std::collections::VecDeque;
use std::time::Instant;

use crate::snapshot::SnapshotProgress;
use crate::token::ResumeToken;

use super::log::{Newest, Tail};
use super::message::{Message, without_sequence};

/// Bytes of messages that may be in flight. More than a connection with a delay of 50 ms needs for 1 Gbit/s.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Messages that may be in flight.
pub(super) const MAX_MESSAGES: usize = 4000;

/// The messages that are kept until they are acknowledged.
#[derive(Debug)]
pub(super) struct Window {
    /// Sequence of the last message that is known to be stored.
    stored: u64,
    /// The ID of the newest message that is known to be stored, and its sequence; `None` for a stream without messages.
    newest: Option<(u64, String)>,
    kept: VecDeque<Kept>,
    /// The number of kept messages that were sent since the last doubt.
    sent: usize,
    /// The number of kept messages that were sent at any time.
    ever_sent: usize,
    bytes: usize,
}

/// A message that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: Message,
    /// Nothing else happened up to this token, after the event.
    pub(super) caught_up: Option<ResumeToken>,
    /// How far the snapshot has come after this message, if that is more than the message says.
    pub(super) progress: Option<SnapshotProgress>,
    /// When it was sent last.
    pub(super) sent_at: Instant,
}

/// What the end of the stream means for the messages that are kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The first ones, this many, are stored.
    Stored(usize),
    /// The stream lost messages that were acknowledged.
    Lost,
    /// Another writer stored messages.
    OtherWriter,
}

impl Window {
    /// Creates a window for messages that follow the end of a stream.
    pub(super) fn after(tail: &Tail) -> Self {
        Self {
            stored: tail.last_sequence,
            newest: (tail.newest.as_ref()).map(|newest| (newest.sequence, newest.id.clone())),
            kept: VecDeque::new(),
            sent: 0,
            ever_sent: 0,
            bytes: 0,
        }
    }

    /// Returns whether another message may be added.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES && self.kept.len() < MAX_MESSAGES
    }

    /// Returns whether every message is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the number of messages that are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Returns the bytes of the messages that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the sequence of the last message that is known to be stored.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Adds a message, to be sent after all others.
    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.bytes();
        self.kept.push_back(Kept {
            message,
            caught_up: None,
            progress: None,
            sent_at: Instant::now(),
        });
    }

    /// Records how far the snapshot has come after the last message, and returns true; false if there is none.
    pub(super) fn add_progress(&mut self, progress: &SnapshotProgress) -> bool {
        match self.kept.back_mut() {
            Some(last) => {
                last.progress = Some(progress.clone());
                true
            }
            None => false,
        }
    }

    /// Records that nothing else happened up to `token` after the last message, and returns true; false if there is none.
    pub(super) fn add_caught_up(&mut self, token: &ResumeToken) -> bool {
        match self.kept.back_mut() {
            Some(last) => {
                last.caught_up = Some(token.clone());
                true
            }
            None => false,
        }
    }

    /// Returns the next message to send and its sequence, and counts it as sent; `None` if all were.
    pub(super) fn next_unsent(&mut self) -> Option<(u64, &Message)> {
        let index = self.sent;
        let kept = self.kept.get_mut(index)?;
        kept.sent_at = Instant::now();
        self.sent += 1;
        self.ever_sent = self.ever_sent.max(self.sent);
        Some((self.stored + 1 + index as u64, &kept.message))
    }

    /// Returns whether a message with this sequence was sent and is not acknowledged.
    pub(super) fn is_in_flight(&self, sequence: u64) -> bool {
        (self.stored + 1..=self.stored + self.sent as u64).contains(&sequence)
    }

    /// Returns the sequence that the last message is to get.
    pub(super) fn end(&self) -> u64 {
        self.stored + self.kept.len() as u64
    }

    /// Returns the message that has or is to get this sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<&Message> {
        let index = usize::try_from(sequence.checked_sub(self.stored + 1)?).ok()?;
        self.kept.get(index).map(|kept| &kept.message)
    }

    /// Removes the first message, which is stored.
    pub(super) fn pop_stored(&mut self) -> Option<Kept> {
        let kept = self.kept.pop_front()?;
        self.stored += 1;
        self.sent = self.sent.saturating_sub(1);
        self.ever_sent = self.ever_sent.saturating_sub(1);
        self.bytes -= kept.message.bytes();
        self.newest = Some((self.stored, kept.message.id.clone()));
        Some(kept)
    }

    /// Returns whether a message is not sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.kept.len()
    }

    /// Removes the message with this sequence and all after it.
    pub(super) fn truncate(&mut self, sequence: u64) {
        let index = sequence.saturating_sub(self.stored + 1);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let removed = self.kept.drain(index.min(self.kept.len())..);
        self.bytes -= removed.map(|kept| kept.message.bytes()).sum::<usize>();
        self.sent = self.sent.min(self.kept.len());
        self.ever_sent = self.ever_sent.min(self.kept.len());
    }

    /// Makes all messages unsent, to be sent again. Returns the number of those that were sent.
    pub(super) fn rewind(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }

    /// Compares the messages that were sent at any time with the end of the stream: a server that was slow may store those that were sent
    /// before the last doubt only now.
    pub(super) fn compare(&self, tail: &Tail) -> Comparison {
        let Some(more) = tail.last_sequence.checked_sub(self.stored) else {
            return Comparison::Lost;
        };
        let is_newest = |newest: &Newest| match &self.newest {
            Some((sequence, id)) => {
                newest.sequence < *sequence || without_sequence(&newest.id) == without_sequence(id)
            }
            None => false,
        };
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        match (more, &tail.newest) {
            // The last message may have been removed, by a limit or by a person: that does not concern the order.
            (0, None) => Comparison::Stored(0),
            (0, Some(newest)) if is_newest(newest) => Comparison::Stored(0),
            (0, Some(_)) => Comparison::OtherWriter,
            (more, Some(newest)) if newest.sequence == tail.last_sequence => {
                match self.kept.get(more - 1).filter(|_| more <= self.ever_sent) {
                    Some(kept) if kept.message.has_id(&newest.id) => Comparison::Stored(more),
                    _ => Comparison::OtherWriter,
                }
            }
            // Messages were stored and removed: whose they were is unknown.
            _ => Comparison::OtherWriter,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::CountedType;

    use super::*;

    const TOKENS: [&str; 4] = [
        "826B032CA2000000022B0229296E04",
        "826B032CA2000000072B0229296E04",
        "826B032CA2000000082B0229296E04",
        "826B032CA2000000092B0229296E04",
    ];

    fn message(number: usize) -> Message {
        Message {
            subject: "p.d.c.insert".into(),
            id: TOKENS[number].to_owned(),
            payload: "{}".into(),
            token: ResumeToken::parse(TOKENS[number]).unwrap(),
            counted: CountedType::of_event(None),
            progress: None,
        }
    }

    fn tail(last_sequence: u64, newest: Option<(u64, usize)>) -> Tail {
        Tail {
            last_sequence,
            created: 0,
            newest: newest.map(|(sequence, number)| Newest {
                sequence,
                id: TOKENS[number].to_owned(),
                token: ResumeToken::parse(TOKENS[number]).unwrap(),
                snapshot: None,
            }),
        }
    }

    /// A window after message 0, which has the sequence 7, with messages 1 and 2 in flight and message 3 unsent.
    fn window() -> Window {
        let mut window = Window::after(&tail(7, Some((7, 0))));
        for number in 1..4 {
            window.push(message(number));
        }
        for sequence in [8, 9] {
            assert_eq!(window.next_unsent().unwrap().0, sequence);
        }
        window
    }

    #[test]
    fn keeps_messages_until_they_are_stored() {
        let mut window = window();
        assert!(!window.is_in_flight(7) && window.is_in_flight(8) && !window.is_in_flight(10));
        assert_eq!(window.get(9).unwrap().id, TOKENS[2]);
        assert_eq!(window.pop_stored().unwrap().message.id, TOKENS[1]);
        assert_eq!(window.stored(), 8);
        assert_eq!(window.next_unsent().unwrap().0, 10);
        window.rewind();
        assert_eq!(window.next_unsent().unwrap().0, 9);
        assert_eq!(window.len(), 2);
        window.pop_stored();
        window.pop_stored();
        assert!(window.is_empty() && window.bytes() == 0 && window.pop_stored().is_none());
    }

    #[test]
    fn removes_a_message_and_all_after_it() {
        let mut window = window();
        window.truncate(9);
        assert!(window.is_in_flight(8) && !window.is_in_flight(9) && !window.has_unsent());
        assert_eq!(window.pop_stored().unwrap().message.id, TOKENS[1]);
        assert!(window.is_empty() && window.bytes() == 0);
    }

    #[test]
    fn finds_out_which_messages_are_stored() {
        let window = window();
        for (tail, expected) in [
            (tail(7, Some((7, 0))), Comparison::Stored(0)),
            (tail(8, Some((8, 1))), Comparison::Stored(1)),
            (tail(9, Some((9, 2))), Comparison::Stored(2)),
            // The last one was removed.
            (tail(7, None), Comparison::Stored(0)),
            (tail(7, Some((5, 3))), Comparison::Stored(0)),
        ] {
            assert_eq!(window.compare(&tail), expected, "{tail:?}");
        }
    }

    #[test]
    fn recognizes_messages_that_a_slow_server_stores_after_they_were_found_missing() {
        let mut window = window();
        window.rewind();
        assert_eq!(
            window.compare(&tail(9, Some((9, 2)))),
            Comparison::Stored(2)
        );
        window.next_unsent();
        assert_eq!(
            window.compare(&tail(9, Some((9, 2)))),
            Comparison::Stored(2)
        );
        assert_eq!(
            window.compare(&tail(10, Some((10, 3)))),
            Comparison::OtherWriter
        );
    }

    #[test]
    fn notices_lost_messages_and_other_writers() {
        let window = window();
        for (tail, expected) in [
            (tail(6, Some((6, 3))), Comparison::Lost),
            (tail(0, None), Comparison::Lost),
            (tail(7, Some((7, 3))), Comparison::OtherWriter),
            (tail(8, Some((8, 2))), Comparison::OtherWriter),
            // Message 3 was never sent.
            (tail(10, Some((10, 3))), Comparison::OtherWriter),
            (tail(8, Some((7, 0))), Comparison::OtherWriter),
            (tail(8, None), Comparison::OtherWriter),
        ] {
            assert_eq!(window.compare(&tail), expected, "{tail:?}");
        }
    }
}
