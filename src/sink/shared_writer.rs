//! Who writes when: a thread of its own; and in its place the task that reads, while nothing waits to be written and the output takes
//! the lines at once. That saves waking the thread, which takes longer than an event does. Never both at a time, always in order.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bson::RawDocumentBuf;

use crate::error::Failure;
use crate::queue::Receiver;

use super::Ended;
use super::writer::{Halt, Writer};

/// A writer, and whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct SharedWriter(Arc<Mutex<Writer>>);

impl SharedWriter {
    /// Shares `writer`.
    pub(crate) fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Writes what `queue` gives, until it has no more or a limit is reached, and saves the position of the last whole line. The
    /// writing thread.
    ///
    /// # Errors
    /// Exit code 6 when lines cannot be written, 5 when the position cannot be saved at the end.
    pub(crate) fn run(&self, queue: &Receiver) -> Result<Ended, Failure> {
        let halt = loop {
            if let Err(halt) = self.step(queue) {
                break halt;
            }
        };
        let saved = self.lock().finish();
        match halt {
            Halt::Failed(failure) => Err(failure),
            Halt::Ended(ended) => saved.map(|()| ended),
        }
    }

    fn step(&self, queue: &Receiver) -> Result<(), Halt> {
        // Not while an event is being printed at once, which may be the first that is to be saved.
        let due = self.lock().due();
        if due.is_some_and(|due| due.is_zero()) {
            return Ok(self.save()?);
        }
        match queue.receive(due) {
            Ok((delivery, _waiting)) => self.lock().take(&delivery),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Halt::Ended(Ended::Drained)),
        }
    }

    /// Saves the position, and lines are printed at once meanwhile: a disk may take its time.
    fn save(&self) -> Result<(), Failure> {
        let (tracker, mark) = {
            let mut writer = self.lock();
            // To a file this thread alone writes: where it stands now is where it stands in the tracker.
            (Arc::clone(&writer.tracker), writer.mark()?)
        };
        tracker.save(mark);
        Ok(())
    }

    /// Prints `events`, before which nothing waits, without any wait. Answers false when that is not possible: they are the writing
    /// thread's then, untouched.
    pub(crate) fn print_at_once(&self, events: &[RawDocumentBuf]) -> bool {
        match self.0.try_lock() {
            Ok(mut writer) => writer.print_at_once(events),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
