//! Turns at the queue. The scan keeps its turn from before it sends a command until the documents are in the queue, and the stream waits
//! for its turn to send events. So no event that is newer than a document comes before it, while the stream's own request stays open.

use std::time::{Duration, Instant};

use bson::Timestamp;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::token::ResumeToken;

use super::last_event_time;

/// The turns of one stream and one scan.
#[derive(Debug)]
pub(in crate::source) struct Turns {
    /// Fair: the one that has waited longest is next.
    turn: Mutex<()>,
    stream: watch::Sender<StreamState>,
    /// The token that the stream starts after.
    start: ResumeToken,
    /// How far the stream may be behind the deployment while the scan reads: longer than the server waits for an event.
    tolerance: Duration,
}

/// How far the stream is.
#[derive(Debug, Clone)]
struct StreamState {
    /// The newest token that was sent to the queue.
    token: ResumeToken,
    /// The time up to which the last empty reply has shown that there is nothing more, and when it came: a server whose shards are idle
    /// sends old times in new replies.
    caught_up: Option<(Timestamp, Instant)>,
    is_open: bool,
}

/// What the scan waits for before it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The time of the deployment, which the stream must not be far behind: a scan could take so much of the time that the oplog overtakes
    /// the stream.
    pub(super) now: Timestamp,
    /// A time whose events must be in the queue: the names of collections that are read are those after a rename then.
    pub(super) passed: Timestamp,
}

/// A turn at the queue.
pub(in crate::source) type Turn<'a> = MutexGuard<'a, ()>;

impl Turns {
    /// Creates the turns of a stream that starts after `token`, whose server waits for events for `max_await`.
    pub(in crate::source) fn new(token: ResumeToken, max_await: Duration) -> Self {
        Self {
            turn: Mutex::new(()),
            start: token.clone(),
            stream: watch::Sender::new(StreamState {
                token,
                caught_up: None,
                is_open: false,
            }),
            tolerance: max_await + Duration::from_secs(1),
        }
    }

    /// Waits for the turn.
    pub(in crate::source) async fn take(&self) -> Turn<'_> {
        self.turn.lock().await
    }

    /// Records that everything up to `token` was sent to the queue. `is_caught_up` is whether an empty reply has shown that there is no more.
    pub(in crate::source) fn stream_moved(&self, token: &ResumeToken, is_caught_up: bool) {
        self.stream.send_modify(|stream| {
            stream.token.clone_from(token);
            if is_caught_up {
                // The start of a stream that starts now is the time of the next event, whenever that comes: an empty reply that does not
                // move it has shown only that there is nothing before.
                let time = match *token == self.start {
                    true => last_event_time(token),
                    false => token.time(),
                };
                stream.caught_up = Some((time, Instant::now()));
            }
            stream.is_open = true;
        });
    }

    /// Records that the stream ended, and has to be opened again.
    pub(in crate::source) fn stream_ended(&self) {
        self.stream.send_modify(|stream| {
            stream.is_open = false;
            stream.caught_up = None;
        });
    }

    /// Returns the newest token that was sent to the queue.
    pub(super) fn token(&self) -> ResumeToken {
        self.stream.borrow().token.clone()
    }

    /// Waits until the stream is open and as far as `wanted`, and then for the turn.
    pub(super) async fn take_when(&self, wanted: Wanted) -> Turn<'_> {
        loop {
            let mut stream = self.stream.subscribe();
            // Fails only without a sender, which is `self`.
            let _ = stream.wait_for(|stream| self.is_as(stream, wanted)).await;
            let turn = self.take().await;
            if self.is_as(&self.stream.borrow(), wanted) {
                return turn;
            }
        }
    }

    fn is_as(&self, stream: &StreamState, Wanted { now, passed }: Wanted) -> bool {
        let time = stream.token.time();
        let behind = Duration::from_secs(now.time.saturating_sub(time.time).into());
        let (caught_up_to, caught_up_at) = stream.caught_up.unzip();
        stream.is_open
            && (behind <= self.tolerance
                || caught_up_at.is_some_and(|at| at.elapsed() <= self.tolerance))
            && (time > passed || caught_up_to >= Some(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(time: u32) -> ResumeToken {
        ResumeToken::parse(&format!("82{time:08X}000000012B0229296E04")).unwrap()
    }

    fn wanted(now: u32, passed: u32) -> Wanted {
        Wanted {
            now: token(now).time(),
            passed: token(passed).time(),
        }
    }

    #[tokio::test]
    async fn waits_until_the_stream_has_passed_a_time() {
        let turns = Turns::new(token(5), Duration::from_secs(1));
        let is_given = async || {
            let mut taking = std::pin::pin!(turns.take_when(wanted(5, 5)));
            futures::poll!(taking.as_mut()).is_ready()
        };
        // The event of this time may follow, also after an empty reply.
        turns.stream_moved(&token(5), true);
        assert!(!is_given().await);
        turns.stream_ended();
        let turns = Turns::new(token(4), Duration::from_secs(1));
        let is_given = async || {
            let mut taking = std::pin::pin!(turns.take_when(wanted(5, 5)));
            futures::poll!(taking.as_mut()).is_ready()
        };
        turns.stream_moved(&token(5), false);
        assert!(!is_given().await);
        turns.stream_moved(&token(5), true);
        assert!(is_given().await);
        turns.stream_ended();
        turns.stream_moved(&token(6), false);
        assert!(is_given().await);
    }

    #[tokio::test]
    async fn gives_the_scan_its_turn_only_while_the_stream_is_open_and_current() {
        let turns = Turns::new(token(100), Duration::from_secs(1));
        let is_given = async || {
            let mut taking = std::pin::pin!(turns.take_when(wanted(100, 1)));
            futures::poll!(taking.as_mut()).is_ready()
        };
        assert!(!is_given().await);
        turns.stream_moved(&token(90), false);
        assert!(!is_given().await);
        // An empty reply shows that there is nothing newer.
        turns.stream_moved(&token(90), true);
        assert!(is_given().await);
        turns.stream_ended();
        assert!(!is_given().await);
        turns.stream_moved(&token(98), false);
        assert!(is_given().await);
        assert_eq!(turns.token(), token(98));
    }

    #[tokio::test]
    async fn lets_the_stream_wait_for_the_end_of_the_turn_of_the_scan() {
        let turns = Turns::new(token(1), Duration::from_secs(1));
        turns.stream_moved(&token(1), false);
        let scanning = turns.take_when(wanted(1, 0)).await;
        let mut streaming = std::pin::pin!(turns.take());
        assert!(futures::poll!(streaming.as_mut()).is_pending());
        // The scan asks again at once, and is second.
        drop(scanning);
        let mut scanning = std::pin::pin!(turns.take_when(wanted(1, 0)));
        assert!(futures::poll!(scanning.as_mut()).is_pending());
        assert!(futures::poll!(streaming.as_mut()).is_ready());
    }
}
