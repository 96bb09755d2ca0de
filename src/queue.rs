//! The queue between the task that reads and the thread that writes. Bounded in bytes, whatever the events weigh, so that
//! memory does not grow with a backlog or a stalled reader.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::token::ResumeToken;

/// Bytes of events that may wait. Enough for the server to prepare a reply of 1000 events of 1 KB while another is written;
/// one batch above it passes alone.
const CAPACITY: usize = 4 * 1024 * 1024;

/// What the source hands on.
#[derive(Debug)]
pub enum Delivery {
    /// Events in stream order; each carries its resume token as `_id`.
    Events(Vec<RawDocumentBuf>),
    /// An empty reply: nothing more happened up to here. Also sent when the token did not move, for it proves that the stream had
    /// caught up.
    CaughtUp(ResumeToken),
    /// Reopen the output by its name, behind what was handed on before.
    Reopen,
}

/// Makes a queue.
pub fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel();
    let room = Arc::new(Semaphore::new(CAPACITY));
    (Sender { sender, room }, Receiver { receiver })
}

/// The end of the task that reads.
#[derive(Debug, Clone)]
pub struct Sender {
    sender: mpsc::Sender<(Delivery, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The other end is gone: whoever wrote has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Sender {
    /// Hands `delivery` on as soon as there is room for it.
    ///
    /// # Errors
    /// [`Closed`] when nobody takes it any more.
    pub async fn send(&self, delivery: Delivery) -> Result<(), Closed> {
        let bytes = match &delivery {
            Delivery::Events(events) => events.iter().map(|event| event.as_bytes().len()).sum(),
            Delivery::CaughtUp(token) => token.as_raw().as_bytes().len(),
            Delivery::Reopen => 0,
        };
        let permits = u32::try_from(bytes.min(CAPACITY)).map_err(|_| Closed)?;
        let room = Arc::clone(&self.room);
        let permit = room.acquire_many_owned(permits).await.map_err(|_| Closed)?;
        self.sender.send((delivery, permit)).map_err(|_| Closed)
    }
}

/// The end of the thread that writes.
#[derive(Debug)]
pub struct Receiver {
    receiver: mpsc::Receiver<(Delivery, OwnedSemaphorePermit)>,
}

/// A delivery that still takes up its room in the queue; the room is free when this is dropped.
#[derive(Debug)]
pub struct Taken {
    /// What was handed on.
    pub delivery: Delivery,
    _room: OwnedSemaphorePermit,
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// Not within the time given.
    Yet,
    /// Never again: the reading task has ended.
    More,
}

impl Receiver {
    /// The next delivery; waits for it at most `wait`, for ever when that is `None`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn receive(&self, wait: Option<Duration>) -> Result<Taken, Nothing> {
        let received = match wait {
            None => self.receiver.recv().map_err(|_| Nothing::More),
            Some(wait) => self
                .receiver
                .recv_timeout(wait)
                .map_err(|error| match error {
                    mpsc::RecvTimeoutError::Timeout => Nothing::Yet,
                    mpsc::RecvTimeoutError::Disconnected => Nothing::More,
                }),
        };
        received.map(|(delivery, room)| Taken {
            delivery,
            _room: room,
        })
    }
}
