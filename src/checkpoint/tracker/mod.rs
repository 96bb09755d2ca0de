//! The newest checkpoint whose lines were accepted by the output, and the times at which it is saved. Shared between those who print, the
//! writing thread and the reading task, and the saving thread.

mod state;

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::snapshot::SnapshotProgress;
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::resume_file::save_failure;
use super::{OutputMark, ResumeFile};

use self::state::State;

pub(crate) use self::state::PendingSave;

/// How long printing waits for a save where each flush is saved: longer than a disk takes that works.
const MAX_SAVE_WAIT: Duration = Duration::from_secs(1);

/// The newest checkpoint, and the file that it is saved to.
#[derive(Debug)]
pub(crate) struct CheckpointTracker {
    /// Locked while the file is written: one save at a time.
    file: Option<Mutex<SaveFile>>,
    /// The path of that file; empty without one. Kept apart, because a disk may keep the file locked for as long as it likes.
    path: PathBuf,
    /// How often to save while events are printed.
    save_interval: Duration,
    /// Never locked while the file is written: printing continues while a disk takes its time.
    state: Mutex<State>,
    /// Notified when the next save is due earlier than before, when a save has ended, and when the tracker is closed.
    changed: Condvar,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct SaveFile {
    file: ResumeFile,
    /// Number of the newest save that the file holds: an older checkpoint never replaces a newer one.
    number: u64,
}

impl CheckpointTracker {
    /// Creates a tracker that saves to `file`; with `None` it saves nothing. `saved` is the token in the file, `start` the one that the stream
    /// starts after, which is the first to save if the file has none yet. `start` may be before `saved`, and may turn out to be invalid:
    /// it replaces `saved` with the first reply. `snapshot` is how far a snapshot has come.
    pub(crate) fn new(
        file: Option<ResumeFile>,
        save_interval: Duration,
        saved: Option<ResumeToken>,
        start: ResumeToken,
        snapshot: Option<SnapshotProgress>,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            path: (file.as_ref()).map_or_else(PathBuf::new, |file| file.path().to_owned()),
            file: file.map(|file| Mutex::new(SaveFile { file, number: 0 })),
            save_interval,
            state: Mutex::new(State::new(saved, start, snapshot)),
            changed: Condvar::new(),
            telemetry,
        }
    }

    /// Records that the output accepted everything up to the event of `token`.
    pub(crate) fn record_printed(&self, token: &ResumeToken) {
        self.change(|state| state.record_printed(token));
    }

    /// Records that the output accepted the lines of a snapshot up to `progress`, read when the stream was at `token`.
    pub(crate) fn record_snapshot(&self, token: &ResumeToken, progress: SnapshotProgress) {
        self.change(|state| state.record_snapshot(token, progress));
    }

    /// Records that nothing else happened up to `token`.
    pub(crate) fn record_caught_up(&self, token: &ResumeToken) {
        self.change(|state| state.record_caught_up(token));
    }

    /// Records that the server accepted the start of the stream.
    pub(crate) fn record_start(&self) {
        self.change(State::start);
    }

    /// Marks the checkpoint as unsaved although its token did not move: the file holds no checkpoint yet, or one with another output file.
    pub(crate) fn mark_unsaved(&self) {
        self.change(|state| state.is_unsaved = true);
    }

    /// Changes the state. Wakes the saving thread only if that makes a save due earlier, about once for each save: most events are printed
    /// without waking a thread.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let before = self.interval(&state);
        change(&mut state);
        let after = self.interval(&state);
        drop(state);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.changed.notify_all();
        }
    }

    /// Returns how long to wait before the next save; `None` if everything is saved.
    pub(crate) fn time_until_save(&self) -> Option<Duration> {
        self.until_save(&self.state())
    }

    fn until_save(&self, state: &State) -> Option<Duration> {
        let interval = self.interval(state)?;
        Some(interval.saturating_sub(state.saved_at.elapsed()))
    }

    /// Returns the time between the last save and the next; `None` if everything is saved, or nothing ever is.
    fn interval(&self, state: &State) -> Option<Duration> {
        self.file.as_ref()?;
        state.interval(self.save_interval)
    }

    /// Returns whether the next printed event is the first since the start for which a checkpoint can be saved.
    pub(crate) fn is_first_print(&self) -> bool {
        self.file.is_some() && self.state().is_first_print
    }

    /// Waits until a save is due, and returns true; false once the tracker is closed.
    pub(crate) fn wait_until_due(&self) -> bool {
        let mut state = self.state();
        while !state.is_closed {
            state = match self.until_save(&state) {
                Some(Duration::ZERO) => return true,
                Some(time) => match self.changed.wait_timeout(state, time) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    /// Returns whether each flush is saved before the next lines are printed: with `--save-interval 0`.
    pub(crate) fn saves_each_flush(&self) -> bool {
        self.file.is_some() && self.save_interval.is_zero()
    }

    /// Where each flush is saved, waits until what was printed is saved or its save has failed. Waits for at most a second, and not again
    /// before that save has ended: a disk that hangs must not stop printing.
    pub(crate) fn wait_for_save(&self) {
        if !self.saves_each_flush() {
            return;
        }
        let deadline = Instant::now() + MAX_SAVE_WAIT;
        let mut state = self.state();
        while state.is_awaiting_save() && !state.is_slow {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.is_slow = true;
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Ends [`Self::wait_until_due`]: everything is printed, and the last checkpoint is to be saved.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Returns whether the resume file is being written.
    pub(crate) fn is_saving(&self) -> bool {
        self.state().under_way > 0
    }

    /// Takes the newest checkpoint, to be saved with `mark` as the state of the output file; `None` if it is saved already.
    pub(crate) fn begin_save(&self, mark: Option<OutputMark>) -> Option<PendingSave> {
        self.file.as_ref()?;
        self.state().begin_save(mark)
    }

    /// Saves the newest checkpoint if it is not saved yet, with `mark` as the state of the output file. See [`Self::complete_save`].
    pub(crate) fn save(&self, mark: Option<OutputMark>) {
        if let Some(pending) = self.begin_save(mark) {
            self.complete_save(pending);
        }
    }

    /// Writes a checkpoint to the resume file, unless that holds a newer one by now. Takes as long as the disk does.
    ///
    /// A failure is a warning, and the watch continues: the file still holds the last checkpoint, and the next save tries again.
    pub(crate) fn complete_save(&self, pending: PendingSave) {
        self.write_file(pending);
        self.state().is_slow = false;
        self.changed.notify_all();
    }

    fn write_file(&self, mut pending: PendingSave) {
        let Some(mut file) = self.file.as_ref().map(lock) else {
            return;
        };
        if pending.number < file.number {
            self.state().abandon_save();
            return;
        }
        let saved = file
            .file
            .save(&pending.token, pending.snapshot.take(), pending.mark.take());
        self.telemetry.saved(saved.is_ok());
        let path = self.path.display();
        match saved {
            Ok(()) => {
                let last_error = self.state().finish_save(&pending);
                if last_error.is_some() {
                    tracing::info!("resume file {path} can be written again");
                }
            }
            Err(error) => {
                let kind = error.kind();
                let warning = format!("cannot write resume file {path}, retrying: {error}");
                let last_error = self.state().fail_save(&pending, error);
                // Compared by kind: the text names a temporary file, which has another name each time.
                if last_error.is_none_or(|last_error| last_error.kind() != kind) {
                    tracing::warn!("{warning}");
                }
                return;
            }
        }
        file.number = pending.number;
    }

    /// Checks that the last save succeeded.
    ///
    /// # Errors
    /// Exit code 5 when it failed.
    pub(crate) fn ensure_saved(&self) -> Result<(), Failure> {
        match &self.state().last_error {
            Some(error) => Err(save_failure(&self.path, error)),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Locks `mutex`, even if a thread panicked while it held the lock: that left at worst an older checkpoint.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
