//! Turns at the writer between the writing thread and the reading task.
//!
//! The thread writes what is queued. The reading task prints a few small events itself, while every message before was written and stdout
//! accepts the lines without waiting: waking the thread takes longer than an event does. A mutex keeps the two apart, and the queue keeps
//! the order.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bson::RawDocumentBuf;

use crate::error::Failure;
use crate::queue::Receiver;

use super::Ended;
use super::writer::{Halt, Writer};

/// A writer that the writing thread and the reading task share.
#[derive(Debug, Clone)]
pub(crate) struct SharedWriter(Arc<Mutex<Writer>>);

impl SharedWriter {
    /// Shares `writer`.
    pub(crate) fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Writes what `queue` holds until its sender is gone or a limit is reached, and saves the checkpoint of the last whole line. Runs on
    /// the writing thread.
    ///
    /// # Errors
    /// Exit code 6 when lines cannot be written, 5 when the checkpoint cannot be saved at the end.
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
        // Under the lock: the reading task may be printing the first event that has to be saved.
        let time_until_save = self.lock().time_until_save();
        if time_until_save.is_some_and(|time| time.is_zero()) {
            return Ok(self.save()?);
        }
        match queue.receive(time_until_save) {
            Ok((message, _in_flight)) => self.lock().handle(&message),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Halt::Ended(Ended::Drained)),
        }
    }

    /// Saves the checkpoint without the lock, because a disk may take its time: the reading task can print meanwhile.
    fn save(&self) -> Result<(), Failure> {
        let (tracker, mark) = {
            let mut writer = self.lock();
            // Only this thread writes to an output file, so the mark still fits the tracker's token when it is saved.
            (Arc::clone(&writer.tracker), writer.sync_and_mark()?)
        };
        tracker.save(mark);
        Ok(())
    }

    /// Prints `events` and returns true if that takes no waiting. Otherwise returns false and has done nothing: they are for the writing
    /// thread. The caller makes sure that every event before was written.
    pub(crate) fn try_print_now(&self, events: &[RawDocumentBuf]) -> bool {
        match self.0.try_lock() {
            Ok(mut writer) => writer.try_print_now(events),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
