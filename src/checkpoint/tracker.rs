//! The newest checkpoint whose lines were accepted by the output, and the times at which it is saved. Shared between those who print, the
//! writing thread and the reading task, and the saving thread.

use std::cmp::Ordering;
use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Failure;

use crate::snapshot::SnapshotProgress;
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::resume_file::save_failure;
use super::{OutputMark, ResumeFile};

/// How often the checkpoint is saved while no event comes, if its token moves: the token of a filter that matches nothing must never
/// age out of the oplog.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest wait after a save that failed: a disk stays full for longer than a save interval, and events are printed meanwhile.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
struct State {
    /// The newest token.
    token: ResumeToken,
    /// How far the snapshot has come, if there is one.
    snapshot: Option<SnapshotProgress>,
    /// The token that the stream starts after, until the first reply.
    start: Option<ResumeToken>,
    /// Whether the token differs from the file's, or from the one that the file will have when the current save succeeds.
    is_unsaved: bool,
    /// Whether events were printed since the last save.
    has_printed: bool,
    /// Whether the stream has caught up since the last event.
    is_caught_up: bool,
    /// Whether the token moved since the last save.
    has_moved: bool,
    /// Whether no move of the token was saved since the start.
    is_first_move: bool,
    /// Whether no printed event was saved since the start.
    is_first_print: bool,
    /// When the last save began.
    saved_at: Instant,
    /// Saves begun so far.
    begun: u64,
    /// Saves that have begun and not ended.
    under_way: u32,
    /// Whether the last checkpoint is to be saved.
    is_closed: bool,
    /// Whether the save under way takes longer than printing waits for it.
    is_slow: bool,
    /// The error of the last save, if it failed.
    last_error: Option<io::Error>,
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
            state: Mutex::new(State {
                token: saved.unwrap_or_else(|| start.clone()),
                snapshot,
                start: Some(start),
                is_unsaved: false,
                has_printed: false,
                is_caught_up: false,
                has_moved: false,
                is_first_move: true,
                is_first_print: true,
                saved_at: Instant::now(),
                begun: 0,
                under_way: 0,
                is_closed: false,
                is_slow: false,
                last_error: None,
            }),
            changed: Condvar::new(),
            telemetry,
        }
    }

    /// Records that the output accepted everything up to the event of `token`.
    pub(crate) fn record_printed(&self, token: &ResumeToken) {
        self.change(|state| {
            state.advance(token);
            state.has_printed = true;
            state.is_caught_up = false;
        });
    }

    /// Records that the output accepted the lines of a snapshot up to `progress`, read when the stream was at `token`.
    pub(crate) fn record_snapshot(&self, token: &ResumeToken, progress: SnapshotProgress) {
        self.change(|state| {
            state.advance(token);
            state.snapshot = Some(progress);
            state.is_unsaved = true;
            state.has_printed = true;
            state.is_caught_up = false;
        });
    }

    /// Records that nothing else happened up to `token`.
    pub(crate) fn record_caught_up(&self, token: &ResumeToken) {
        self.change(|state| {
            state.advance(token);
            state.is_caught_up = true;
        });
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
        let before = self.save_interval(&state);
        change(&mut state);
        let after = self.save_interval(&state);
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
        let interval = self.save_interval(state)?;
        Some(interval.saturating_sub(state.saved_at.elapsed()))
    }

    /// Returns the time between the last save and the next; `None` if everything is saved.
    fn save_interval(&self, state: &State) -> Option<Duration> {
        if self.file.is_none() || !state.is_unsaved {
            return None;
        }
        let mut interval = match (state.has_printed, state.is_caught_up) {
            // A watch that is killed soon after each start must still make progress.
            (true, _) if state.is_first_print => Duration::ZERO,
            (false, _) if state.is_first_move => Duration::ZERO,
            (true, false) => self.save_interval,
            (true, true) => self.save_interval.min(IDLE_SAVE_INTERVAL),
            (false, _) => IDLE_SAVE_INTERVAL,
        };
        if state.last_error.is_some() {
            interval = interval.max(MIN_RETRY_INTERVAL);
        }
        Some(interval)
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
            self.state().under_way -= 1;
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

/// A checkpoint that is being saved.
#[derive(Debug)]
pub(crate) struct PendingSave {
    /// Saves are numbered in the order of their checkpoints.
    number: u64,
    token: ResumeToken,
    snapshot: Option<SnapshotProgress>,
    mark: Option<OutputMark>,
    has_moved: bool,
    has_printed: bool,
}

impl State {
    /// Returns whether printed lines wait for a save that is due or under way.
    fn is_awaiting_save(&self) -> bool {
        let is_due = self.is_unsaved && self.has_printed && self.last_error.is_none();
        !self.is_closed && (is_due || self.under_way > 0)
    }

    /// Moves the checkpoint to where the stream started, with its first reply.
    fn start(&mut self) {
        if let Some(start) = self.start.take()
            && start != self.token
        {
            self.token = start;
            self.is_unsaved = true;
            self.has_moved = true;
        }
    }

    /// Moves the checkpoint to `token`, but never back: a server that sends events out of order must not make the next run repeat others.
    fn advance(&mut self, token: &ResumeToken) {
        self.start();
        if self.token == *token {
            return;
        }
        if token.compare(&self.token) != Some(Ordering::Less) {
            self.token = token.clone();
        }
        self.is_unsaved = true;
        self.has_moved = true;
    }

    fn begin_save(&mut self, mark: Option<OutputMark>) -> Option<PendingSave> {
        self.saved_at = Instant::now();
        if !std::mem::take(&mut self.is_unsaved) {
            return None;
        }
        self.begun += 1;
        self.under_way += 1;
        Some(PendingSave {
            number: self.begun,
            token: self.token.clone(),
            snapshot: self.snapshot.clone(),
            mark,
            has_moved: std::mem::take(&mut self.has_moved),
            has_printed: std::mem::take(&mut self.has_printed),
        })
    }

    /// Ends a save that succeeded, and returns the error of the save before it.
    fn finish_save(&mut self, pending: &PendingSave) -> Option<io::Error> {
        self.under_way -= 1;
        self.is_first_move &= !pending.has_moved;
        self.is_first_print &= !pending.has_printed;
        self.last_error.take()
    }

    /// Ends a save that failed, and returns the error of the save before it.
    fn fail_save(&mut self, pending: &PendingSave, error: io::Error) -> Option<io::Error> {
        self.under_way -= 1;
        self.is_unsaved = true;
        self.has_moved |= pending.has_moved;
        self.has_printed |= pending.has_printed;
        self.last_error.replace(error)
    }
}

/// Locks `mutex`, even if a thread panicked while it held the lock: that left at worst an older checkpoint.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crate::config::{Namespaces, Scope, StreamSpec};

    use super::*;

    /// High-water marks recorded on MongoDB 6.0.27.
    const EARLIER: &str = "826B032CA2000000022B0229296E04";
    const LATER: &str = "826B032CA2000000072B0229296E04";
    const LATEST: &str = "826B032CA2000000082B0229296E04";

    fn token(data: &str) -> ResumeToken {
        ResumeToken::parse(data).unwrap()
    }

    fn tracker(file: Option<ResumeFile>) -> CheckpointTracker {
        let telemetry = Telemetry::new(Duration::ZERO);
        CheckpointTracker::new(file, Duration::ZERO, None, token(EARLIER), None, telemetry)
    }

    fn resume_file(directory: &tempfile::TempDir) -> ResumeFile {
        let spec = StreamSpec {
            scope: Scope::Deployment,
            namespaces: Namespaces::default(),
            pipeline: Vec::new(),
            origins: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            batch_size: 1,
            max_await: Duration::ZERO,
        };
        let path = directory.path().join("resume.json");
        ResumeFile::open(&path, &spec).unwrap().0
    }

    #[test]
    fn never_moves_back() {
        let tracker = tracker(None);
        tracker.record_printed(&token(LATER));
        tracker.record_printed(&token(EARLIER));
        tracker.record_caught_up(&token(EARLIER));
        assert_eq!(tracker.state().token, token(LATER));
    }

    #[test]
    fn moves_from_the_saved_token_to_an_earlier_start_with_the_first_reply() {
        let (saved, start) = (Some(token(LATEST)), token(EARLIER));
        let telemetry = Telemetry::new(Duration::ZERO);
        let tracker = CheckpointTracker::new(None, Duration::ZERO, saved, start, None, telemetry);
        assert_eq!(tracker.state().token, token(LATEST));
        tracker.record_printed(&token(LATER));
        assert_eq!(tracker.state().token, token(LATER));
    }

    #[test]
    fn makes_a_save_due_from_a_printed_event_until_it_is_saved() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        assert_eq!(tracker.time_until_save(), None);
        // The first move since the start is saved at once; the next one later than a printed event allows.
        tracker.record_caught_up(&token(LATER));
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
        tracker.save(None);
        tracker.record_caught_up(&token(LATEST));
        assert!(tracker.time_until_save().unwrap() > Duration::ZERO);
        tracker.record_printed(&token(LATEST));
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
        assert!(tracker.wait_until_due());
        tracker.save(None);
        assert_eq!(tracker.time_until_save(), None);
    }

    #[test]
    fn saves_the_first_printed_events_at_once_and_the_next_after_the_interval() {
        let directory = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new(Duration::ZERO);
        let interval = Duration::from_secs(3600);
        let file = Some(resume_file(&directory));
        let tracker = CheckpointTracker::new(file, interval, None, token(EARLIER), None, telemetry);
        // The first checkpoint of a run, before any event.
        tracker.mark_unsaved();
        tracker.save(None);
        tracker.record_printed(&token(LATER));
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
        tracker.save(None);
        tracker.record_printed(&token(LATEST));
        assert!(tracker.time_until_save().unwrap() > interval / 2);
    }

    #[test]
    fn wakes_a_waiting_thread_when_a_save_becomes_due_and_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| tracker.wait_until_due());
            tracker.record_printed(&token(LATER));
            assert!(waiting.join().unwrap());
            tracker.save(None);
            let waiting = scope.spawn(|| tracker.wait_until_due());
            tracker.close();
            assert!(!waiting.join().unwrap());
        });
    }

    #[test]
    fn waits_for_the_save_of_each_flush_but_only_once_for_a_disk_that_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.record_printed(&token(LATER));
        let pending = tracker.begin_save(None).unwrap();
        let started = Instant::now();
        tracker.wait_for_save();
        assert!(started.elapsed() >= MAX_SAVE_WAIT);
        let started = Instant::now();
        tracker.wait_for_save();
        assert!(started.elapsed() < MAX_SAVE_WAIT);
        tracker.complete_save(pending);
        tracker.record_printed(&token(LATEST));
        std::thread::scope(|scope| {
            let saving = scope.spawn(|| {
                assert!(tracker.wait_until_due());
                tracker.save(None);
            });
            tracker.wait_for_save();
            assert_eq!(tracker.time_until_save(), None);
            saving.join().unwrap();
        });
    }

    #[test]
    fn leaves_what_is_printed_during_a_save_to_the_next_save() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.mark_unsaved();
        let pending = tracker.begin_save(None).unwrap();
        assert_eq!(pending.token, token(EARLIER));
        assert!(tracker.is_saving());
        tracker.record_printed(&token(LATER));
        tracker.complete_save(pending);
        assert!(!tracker.is_saving());
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
    }

    #[test]
    fn never_replaces_a_newer_checkpoint_with_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.mark_unsaved();
        let older = tracker.begin_save(None).unwrap();
        tracker.record_printed(&token(LATER));
        tracker.save(None);
        tracker.complete_save(older);
        assert!(!tracker.is_saving());
        let text = std::fs::read_to_string(directory.path().join("resume.json")).unwrap();
        assert!(text.contains(LATER), "{text}");
    }

    #[test]
    fn makes_a_save_that_failed_due_again() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.record_printed(&token(LATER));
        directory.close().unwrap();
        tracker.save(None);
        let time = tracker.time_until_save().unwrap();
        assert!(time > Duration::ZERO && time <= MIN_RETRY_INTERVAL);
        assert!(tracker.ensure_saved().is_err());
    }

    #[test]
    fn saves_nothing_without_a_file() {
        let tracker = tracker(None);
        tracker.record_printed(&token(LATER));
        assert_eq!(tracker.time_until_save(), None);
        tracker.save(None);
        assert!(tracker.ensure_saved().is_ok());
    }
}
