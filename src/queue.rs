//! The queue between the reading task and the writing thread. It is bounded in bytes, and empty replies that wait are joined, so that
//! memory grows neither with a backlog nor with a stalled reader. While every message sent before was written, events may bypass it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::RawDocumentBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::coalesce::{Coalescer, Waiting};
use crate::snapshot::SnapshotChunk;
use crate::token::ResumeToken;

/// Bytes of events that may wait in the queue. Enough for the server to prepare a reply of 1000 events of 1 KB while another one is
/// written. A batch that is larger passes alone.
const CAPACITY: u32 = 2 * 1024 * 1024;

/// A message from the source to the writer.
#[derive(Debug)]
pub(crate) enum Message {
    /// Events in stream order; each carries its resume token as `_id`.
    Events(Vec<RawDocumentBuf>),
    /// An empty reply: nothing else happened up to this token. Sent even if the token did not move, because it proves that the stream
    /// had caught up. Of several in a row that wait, only the newest is received.
    CaughtUp(ResumeToken),
    /// Lines of the snapshot, and how far it has come with them. They never bypass the queue.
    Snapshot(Box<SnapshotChunk>),
    /// A request to reopen the output file by its name, after everything that was sent before.
    Reopen,
}

/// Takes events without waiting and returns true, or leaves them to the queue and returns false.
type Bypass = Box<dyn Fn(&[RawDocumentBuf]) -> bool>;

/// Creates a queue. While every message sent before was written, events are offered to `bypass` first.
pub(crate) fn channel(bypass: impl Fn(&[RawDocumentBuf]) -> bool + 'static) -> (Sender, Receiver) {
    // Bounded by the budget.
    let (sender, receiver) = mpsc::unbounded_channel();
    let sender = Sender {
        sender,
        budget: ByteBudget::new(CAPACITY),
        unwritten: Arc::default(),
        caught_up: RefCell::default(),
        bypass: Box::new(bypass),
    };
    (sender, Receiver { receiver })
}

/// A limit in bytes on events that wait.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    /// Bytes in total, free and acquired.
    capacity: Arc<watch::Sender<u32>>,
    free: Arc<Semaphore>,
}

/// Bytes acquired from a [`ByteBudget`]; dropping it returns them.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    budget: ByteBudget,
}

impl ByteBudget {
    /// Creates a budget of `capacity` bytes. Events that are larger get all of it.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity: Arc::new(watch::Sender::new(capacity)),
            free: Arc::new(Semaphore::new(capacity as usize)),
        }
    }

    /// Returns the number of bytes acquired.
    pub(crate) fn used(&self) -> u64 {
        let free = self.free.available_permits() as u64;
        u64::from(*self.capacity.borrow()).saturating_sub(free)
    }

    /// Waits until this many bytes are free, and acquires them.
    pub(crate) async fn acquire(&self, bytes: usize) -> Permit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut capacity = self.capacity.subscribe();
        let permit = loop {
            let bytes = bytes.min(*capacity.borrow_and_update());
            tokio::select! {
                permit = Arc::clone(&self.free).acquire_many_owned(bytes) => break permit,
                // The budget shrank: the bytes requested may never be free again.
                Ok(()) = capacity.changed() => {}
            }
        };
        // The semaphore is never closed. Without a permit the limit would be looser, but nothing would be lost.
        Permit {
            permit: permit.ok(),
            budget: self.clone(),
        }
    }
}

impl Permit {
    /// Returns the number of bytes it holds.
    pub(crate) fn bytes(&self) -> u32 {
        let permits = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    /// Shrinks the budget by these bytes instead of returning them.
    pub(crate) fn forget(self) {
        let bytes = self.bytes();
        if let Some(permit) = self.permit {
            permit.forget();
            self.budget
                .capacity
                .send_modify(|capacity| *capacity -= bytes);
        }
    }
}

/// Returns the number of bytes of events.
pub(crate) fn bytes_of(events: &[RawDocumentBuf]) -> usize {
    events.iter().map(|event| event.as_bytes().len()).sum()
}

/// A message in the queue.
#[derive(Debug)]
enum Queued {
    CaughtUp(Waiting<ResumeToken>),
    Other(Message),
}

/// The reading task's end of the queue.
pub(crate) struct Sender {
    sender: mpsc::UnboundedSender<(Queued, InFlight)>,
    budget: ByteBudget,
    /// Messages that were sent and not written yet.
    unwritten: Arc<AtomicUsize>,
    /// The empty reply that was sent last.
    caught_up: RefCell<Coalescer<ResumeToken>>,
    bypass: Bypass,
}

/// A message's share of the queue. To be dropped when the message was written, not when it was received.
#[derive(Debug)]
pub(crate) struct InFlight {
    _permit: Permit,
    unwritten: Arc<AtomicUsize>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.unwritten.fetch_sub(1, Ordering::Release);
    }
}

/// The error of a queue whose receiver is gone: the writing thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Sender {
    /// Returns the budget that limits the queue.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Sends `message` as soon as the budget allows it.
    ///
    /// # Errors
    /// [`Closed`] when the writing thread has ended.
    pub(crate) async fn send(&self, message: Message) -> Result<(), Closed> {
        let bytes = match &message {
            Message::Events(events) => {
                let may_bypass = !events.is_empty() && self.unwritten.load(Ordering::Acquire) == 0;
                if may_bypass && (self.bypass)(events) {
                    return Ok(());
                }
                bytes_of(events)
            }
            Message::Snapshot(chunk) => chunk.lines.bytes(),
            Message::CaughtUp(_) | Message::Reopen => 0,
        };
        let permit = self.budget.acquire(bytes).await;
        let Some(queued) = self.queued(message) else {
            return Ok(());
        };
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight {
            _permit: permit,
            unwritten: Arc::clone(&self.unwritten),
        };
        self.sender.send((queued, in_flight)).map_err(|_| Closed)
    }

    /// Returns `message` as it is queued; `None` for an empty reply that joined one that waits.
    fn queued(&self, message: Message) -> Option<Queued> {
        let mut caught_up = self.caught_up.borrow_mut();
        match message {
            Message::CaughtUp(token) => {
                caught_up.add(token, |_, newer| newer).map(Queued::CaughtUp)
            }
            message => {
                caught_up.seal();
                Some(Queued::Other(message))
            }
        }
    }
}

/// The writing thread's end of the queue.
#[derive(Debug)]
pub(crate) struct Receiver {
    receiver: mpsc::UnboundedReceiver<(Queued, InFlight)>,
}

impl Receiver {
    /// Waits for the next message, on a thread without a runtime; `None` when the sender is gone and the queue is empty.
    pub(crate) fn receive(&mut self) -> Option<(Message, InFlight)> {
        loop {
            let (queued, in_flight) = self.receiver.blocking_recv()?;
            if let Some(message) = queued.take() {
                return Some((message, in_flight));
            }
        }
    }

    /// Waits for the next message, as [`Self::receive`] does. Loses nothing when it is dropped.
    #[cfg_attr(not(feature = "nats"), cfg(test))]
    pub(crate) async fn next(&mut self) -> Option<(Message, InFlight)> {
        loop {
            let (queued, in_flight) = self.receiver.recv().await?;
            if let Some(message) = queued.take() {
                return Some((message, in_flight));
            }
        }
    }
}

impl Queued {
    /// Returns the message. Only the receiver takes it, once, so there is always one.
    fn take(self) -> Option<Message> {
        match self {
            Self::CaughtUp(token) => token.take().map(Message::CaughtUp),
            Self::Other(message) => Some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use bson::rawdoc;

    use super::*;

    #[tokio::test]
    async fn lets_events_bypass_only_while_every_message_before_was_written() {
        let bypassed = Rc::new(RefCell::new(Vec::new()));
        let accepts = Rc::new(Cell::new(true));
        let (sender, mut receiver) = channel({
            let (bypassed, accepts) = (Rc::clone(&bypassed), Rc::clone(&accepts));
            move |events| {
                if accepts.get() {
                    bypassed.borrow_mut().extend_from_slice(events);
                }
                accepts.get()
            }
        });
        let send = async |number: i32| {
            let events = Message::Events(vec![rawdoc! { "number": number }]);
            sender.send(events).await.unwrap();
        };
        send(1).await;
        assert!(receiver.receiver.try_recv().is_err());
        accepts.set(false);
        send(2).await;
        accepts.set(true);
        send(3).await;
        let (_, second) = receiver.next().await.unwrap();
        let (_, third) = receiver.next().await.unwrap();
        drop(second);
        // The third was received, but not written.
        send(4).await;
        let (_, fourth) = receiver.next().await.unwrap();
        drop((third, fourth));
        send(5).await;
        assert!(receiver.receiver.try_recv().is_err());
        assert_eq!(
            *bypassed.borrow(),
            [rawdoc! { "number": 1 }, rawdoc! { "number": 5 }]
        );
    }

    #[tokio::test]
    async fn holds_one_empty_reply_however_many_are_sent_in_a_row() {
        let token = |number: u32| {
            ResumeToken::parse(&format!("82{number:08X}000000022B0229296E04")).unwrap()
        };
        let (sender, mut receiver) = channel(|_| false);
        let send_many = async |numbers: std::ops::Range<u32>| {
            for number in numbers {
                let caught_up = Message::CaughtUp(token(number));
                sender.send(caught_up).await.unwrap();
            }
        };
        send_many(1..1000).await;
        let events = Message::Events(vec![rawdoc! {}]);
        sender.send(events).await.unwrap();
        send_many(1000..2000).await;
        assert_eq!(sender.unwritten.load(Ordering::Relaxed), 3);
        let mut newest = Vec::new();
        for _ in 0..3 {
            if let Message::CaughtUp(token) = receiver.next().await.unwrap().0 {
                newest.push(token);
            }
        }
        assert_eq!(newest, [token(999), token(1999)]);
        send_many(2000..2001).await;
        let (received, _) = receiver.next().await.unwrap();
        assert!(matches!(received, Message::CaughtUp(newest) if newest == token(2000)));
        drop(receiver);
        let caught_up = Message::CaughtUp(token(2001));
        assert_eq!(sender.send(caught_up).await, Err(Closed));
    }

    #[tokio::test]
    async fn does_not_let_events_bypass_a_request_to_reopen() {
        let (sender, mut receiver) = channel(|_| true);
        sender.send(Message::Reopen).await.unwrap();
        let events = Message::Events(vec![rawdoc! {}]);
        sender.send(events).await.unwrap();
        let received = receiver.next().await.unwrap().0;
        assert!(matches!(received, Message::Reopen));
        let received = receiver.next().await.unwrap().0;
        assert!(matches!(received, Message::Events(_)));
    }

    #[tokio::test]
    async fn gives_events_above_a_budget_that_shrank_all_of_it() {
        let budget = ByteBudget::new(10_000);
        let first = budget.acquire(4_000).await;
        let second = budget.acquire(4_000).await;
        // It waits for bytes that the first permit then takes out of the budget, and has to notice that.
        let acquiring = budget.acquire(9_000);
        let releasing = async {
            tokio::task::yield_now().await;
            first.forget();
            tokio::task::yield_now().await;
            drop(second);
        };
        let (large, ()) = futures::join!(acquiring, releasing);
        assert_eq!(large.bytes(), 6_000);
        // Nothing is left for another one.
        let waiting = std::pin::pin!(budget.acquire(1));
        assert!(futures::poll!(waiting).is_pending());
    }
}
