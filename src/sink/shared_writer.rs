//! Turns at the writer between the writing thread, the reading task and the saving thread.
//!
//! The writing thread writes what is queued. The reading task prints a few small events itself, while every message before was written and
//! stdout accepts the lines without waiting: waking the thread takes longer than an event does. The saving thread saves checkpoints, so
//! that a disk that hangs stops neither of them; it takes a turn only to sync an output file. A mutex keeps them apart, and the queue keeps
//! the order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bson::RawDocumentBuf;

use crate::checkpoint::CheckpointTracker;
use crate::error::Failure;
use crate::queue::Receiver;

use super::Ended;
use super::stdout::StdoutFile;
use super::writer::{Halt, Writer};

/// A writer that the writing thread, the reading task and the saving thread share.
#[derive(Debug, Clone)]
pub(crate) struct SharedWriter {
    writer: Arc<Mutex<Writer>>,
    tracker: Arc<CheckpointTracker>,
    /// Whether lines go to a file, which is synced before a checkpoint is saved.
    has_file: bool,
    /// Stdout, if it is a regular file.
    stdout: Option<Arc<StdoutFile>>,
}

impl SharedWriter {
    /// Shares `writer`.
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            tracker: Arc::clone(&writer.tracker),
            has_file: writer.has_file(),
            stdout: writer.stdout_file(),
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Writes what `queue` holds until its sender is gone or a limit is reached. Runs on the writing thread.
    ///
    /// # Errors
    /// Exit code 6 when lines cannot be written.
    pub(crate) fn write_all(&self, mut queue: Receiver) -> Result<Ended, Failure> {
        while let Some((message, _in_flight)) = queue.receive() {
            match self.lock().handle(&message) {
                // Before the message counts as written: until then the reading task prints nothing.
                Ok(()) => self.tracker.wait_for_save(),
                Err(Halt::Ended(ended)) => return Ok(ended),
                Err(Halt::Failed(failure)) => return Err(failure),
            }
        }
        Ok(Ended::Drained)
    }

    /// Saves a checkpoint whenever one is due, and the last one when the tracker is closed. Runs on the saving thread.
    ///
    /// # Errors
    /// Exit code 6 when the output file cannot be synced, 5 when the last checkpoint cannot be saved.
    pub(crate) fn save_all(&self) -> Result<(), Failure> {
        while self.tracker.wait_until_due() {
            self.save()?;
        }
        self.save()?;
        self.tracker.ensure_saved()
    }

    /// Saves the checkpoint if it is not saved yet. Holds the lock while an output file is synced, which is what the checkpoint describes,
    /// and not while the resume file is written.
    fn save(&self) -> Result<(), Failure> {
        if self.tracker.time_until_save().is_none() {
            return Ok(());
        }
        let pending = if self.has_file {
            let mut writer = self.lock();
            let mark = writer.sync_and_mark()?;
            self.tracker.begin_save(mark)
        } else {
            self.tracker.begin_save(None)
        };
        if let Some(pending) = pending {
            // After the token was taken: everything up to it was printed while the file had a name.
            self.stdout
                .as_ref()
                .map_or(Ok(()), |file| file.ensure_linked())?;
            self.tracker.complete_save(pending);
        }
        Ok(())
    }

    /// Prints `events` and returns true if that takes no waiting. Otherwise returns false and has done nothing: they are for the writing
    /// thread. The caller makes sure that every event before was written.
    pub(crate) fn try_print_now(&self, events: &[RawDocumentBuf]) -> bool {
        match self.writer.try_lock() {
            Ok(mut writer) => writer.try_print_now(events),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
