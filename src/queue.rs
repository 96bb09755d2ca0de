//! The queue between the task that reads and the thread that writes. Bounded in bytes, whatever the events weigh, so that
//! memory does not grow with a backlog or a stalled reader. Knows when nothing is in it and nothing is being written: then events may
//! pass it by.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::token::ResumeToken;

/// Bytes of events that may wait. Enough for the server to prepare a reply of 1000 events of 1 KB while another is written;
/// one batch above it passes alone.
const CAPACITY: u32 = 2 * 1024 * 1024;

/// What the source hands on.
#[derive(Debug)]
pub(crate) enum Message {
    /// Events in stream order; each carries its resume token as `_id`.
    Events(Vec<RawDocumentBuf>),
    /// An empty reply: nothing more happened up to here. Also sent when the token did not move, for it proves that the stream had
    /// caught up.
    CaughtUp(ResumeToken),
    /// Reopen the output by its name, behind what was handed on before.
    Reopen,
}

/// Takes events without any wait, or answers false and leaves them to the queue.
type AtOnce = Box<dyn Fn(&[RawDocumentBuf]) -> bool>;

/// Makes a queue. While nothing waits to be written, events are offered to `at_once` first.
pub(crate) fn channel(at_once: impl Fn(&[RawDocumentBuf]) -> bool + 'static) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel();
    let sender = Sender {
        sender,
        budget: ByteBudget::new(CAPACITY),
        waiting: Arc::default(),
        at_once: Box::new(at_once),
    };
    (sender, Receiver { receiver })
}

/// A bound in bytes on events that wait.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    /// What is free and what is taken.
    capacity: Arc<watch::Sender<u32>>,
    free: Arc<Semaphore>,
}

/// The room that events take up until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    budget: ByteBudget,
}

impl ByteBudget {
    /// ByteBudget for `capacity` bytes of events. Events above it enter when there are no others.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity: Arc::new(watch::Sender::new(capacity)),
            free: Arc::new(Semaphore::new(capacity as usize)),
        }
    }

    /// Bytes of events that are in it.
    pub(crate) fn used(&self) -> u64 {
        let free = self.free.available_permits() as u64;
        u64::from(*self.capacity.borrow()).saturating_sub(free)
    }

    /// Waits until there is room for `events`.
    pub(crate) async fn acquire(&self, events: &[RawDocumentBuf]) -> Permit {
        let bytes: usize = events.iter().map(|event| event.as_bytes().len()).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut capacity = self.capacity.subscribe();
        let permit = loop {
            let bytes = bytes.min(*capacity.borrow_and_update());
            tokio::select! {
                permit = Arc::clone(&self.free).acquire_many_owned(bytes) => break permit,
                // As much as was asked for may never be free again.
                Ok(()) = capacity.changed() => {}
            }
        };
        // Never closed; without a permit the bound would be looser, nothing lost.
        Permit {
            permit: permit.ok(),
            budget: self.clone(),
        }
    }
}

impl Permit {
    /// How much room.
    pub(crate) fn bytes(&self) -> u32 {
        let permits = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    /// Makes the whole room smaller by this, instead of giving it back.
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

/// The end of the task that reads.
pub(crate) struct Sender {
    sender: mpsc::Sender<(Message, Waiting)>,
    budget: ByteBudget,
    /// Deliveries that were not written yet.
    waiting: Arc<AtomicUsize>,
    at_once: AtOnce,
}

/// Counts a delivery as waiting, and takes up its room, until this is dropped: when it was written, not when it was received.
#[derive(Debug)]
pub(crate) struct Waiting {
    _taken: Permit,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Release);
    }
}

/// The other end is gone: whoever wrote has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Sender {
    /// What bounds it.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Hands `delivery` on as soon as there is room for it.
    ///
    /// # Errors
    /// [`Closed`] when nobody takes it any more.
    pub(crate) async fn send(&self, message: Message) -> Result<(), Closed> {
        let events = match &message {
            Message::Events(events) => events.as_slice(),
            Message::CaughtUp(_) | Message::Reopen => &[],
        };
        let may_pass = !events.is_empty() && self.waiting.load(Ordering::Acquire) == 0;
        if may_pass && (self.at_once)(events) {
            return Ok(());
        }
        let taken = self.budget.acquire(events).await;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting {
            _taken: taken,
            waiting: Arc::clone(&self.waiting),
        };
        self.sender.send((message, waiting)).map_err(|_| Closed)
    }
}

/// The end of the thread that writes.
#[derive(Debug)]
pub(crate) struct Receiver {
    receiver: mpsc::Receiver<(Message, Waiting)>,
}

impl Receiver {
    /// The next delivery, and what is to be dropped when it is written; waits for it at most `wait`, for ever when that is `None`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn receive(
        &self,
        wait: Option<Duration>,
    ) -> Result<(Message, Waiting), RecvTimeoutError> {
        match wait {
            None => self.receiver.recv().map_err(RecvTimeoutError::from),
            Some(wait) => self.receiver.recv_timeout(wait),
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
    async fn events_pass_by_the_queue_only_while_nothing_waits_to_be_written() {
        let passed = Rc::new(RefCell::new(Vec::new()));
        let is_taken = Rc::new(Cell::new(true));
        let (passing, taking) = (Rc::clone(&passed), Rc::clone(&is_taken));
        let (sender, receiver) = channel(move |events| {
            if taking.get() {
                passing.borrow_mut().extend_from_slice(events);
            }
            taking.get()
        });
        let send = async |number: i32| {
            let events = Message::Events(vec![rawdoc! { "number": number }]);
            sender.send(events).await.unwrap();
        };
        let none = Some(Duration::ZERO);
        send(1).await;
        assert_eq!(
            receiver.receive(none).unwrap_err(),
            RecvTimeoutError::Timeout
        );
        is_taken.set(false);
        send(2).await;
        is_taken.set(true);
        send(3).await;
        let (_, second) = receiver.receive(none).unwrap();
        let (_, third) = receiver.receive(none).unwrap();
        drop(second);
        // Received, but not written.
        send(4).await;
        let (_, fourth) = receiver.receive(none).unwrap();
        drop((third, fourth));
        send(5).await;
        assert_eq!(
            receiver.receive(none).unwrap_err(),
            RecvTimeoutError::Timeout
        );
        assert_eq!(
            *passed.borrow(),
            [rawdoc! { "number": 1 }, rawdoc! { "number": 5 }]
        );
    }

    #[tokio::test]
    async fn events_do_not_pass_by_what_is_no_event() {
        let (sender, receiver) = channel(|_| true);
        sender.send(Message::Reopen).await.unwrap();
        let events = Message::Events(vec![rawdoc! {}]);
        sender.send(events).await.unwrap();
        let received = [(); 2].map(|()| receiver.receive(None).unwrap().0);
        assert!(matches!(received, [Message::Reopen, Message::Events(_)]));
    }

    #[tokio::test]
    async fn events_above_a_room_that_became_smaller_enter_alone() {
        let event = |bytes: usize| vec![rawdoc! { "text": "x".repeat(bytes) }];
        let budget = ByteBudget::new(10_000);
        let first = budget.acquire(&event(4_000)).await;
        let second = budget.acquire(&event(4_000)).await;
        // It waits for what is free now and will be given up, and has to notice that.
        let large = event(9_000);
        let entering = budget.acquire(&large);
        let leaving = async {
            tokio::task::yield_now().await;
            first.forget();
            tokio::task::yield_now().await;
            drop(second);
        };
        let (large, ()) = futures::join!(entering, leaving);
        assert!(large.bytes() < 6_000);
        // Nobody else beside it.
        let small = event(1);
        let waiting = std::pin::pin!(budget.acquire(&small));
        assert!(futures::poll!(waiting).is_pending());
    }
}
