//! The newest checkpoint whose lines were accepted by the output, and the times at which it is saved. Shared between the writing thread and
//! the reading task, which saves the last checkpoint if the thread is stuck in a write.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Failure;
use crate::telemetry::Telemetry;
use crate::time::readable;
use crate::token::ResumeToken;

use super::resume_file::save_failure;
use super::{OutputMark, ResumeFile};

/// How often the checkpoint is saved while no event comes, if its token moves: the token of a filter that matches nothing must never
/// age out of the oplog.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest wait after a save that failed: a disk stays full for longer than a save interval, and events are printed meanwhile.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The newest checkpoint, and the file that it is saved to.
#[derive(Debug)]
pub(crate) struct CheckpointTracker {
    /// Locked while the file is written: one save at a time, so that an older checkpoint never replaces a newer one. Only saves lock it,
    /// because a disk may keep a save for as long as it likes.
    file: Option<Mutex<ResumeFile>>,
    /// The path of that file; empty without one.
    path: PathBuf,
    /// How often to save while events are printed.
    save_interval: Duration,
    /// Never locked while the file is written: printing continues while a disk takes its time.
    state: Mutex<State>,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct State {
    /// The newest token.
    token: ResumeToken,
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
    saved_at: Instant,
    is_saving: bool,
    /// The error of the last save, if it failed.
    last_error: Option<io::Error>,
}

impl CheckpointTracker {
    /// Creates a tracker that saves to `file`; with `None` it saves nothing. `token` is the token in the file, or the first one to save if
    /// the file has none yet.
    pub(crate) fn new(
        file: Option<ResumeFile>,
        save_interval: Duration,
        token: ResumeToken,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            path: (file.as_ref()).map_or_else(PathBuf::new, |file| file.path().to_owned()),
            file: file.map(Mutex::new),
            save_interval,
            state: Mutex::new(State {
                token,
                is_unsaved: false,
                has_printed: false,
                is_caught_up: false,
                has_moved: false,
                is_first_move: true,
                is_first_print: true,
                saved_at: Instant::now(),
                is_saving: false,
                last_error: None,
            }),
            telemetry,
        }
    }

    /// Records that the output accepted everything up to the event of `token`.
    pub(crate) fn record_printed(&self, token: &ResumeToken) {
        let mut state = self.state();
        state.advance(token);
        state.has_printed = true;
        state.is_caught_up = false;
    }

    /// Records that nothing else happened up to `token`.
    pub(crate) fn record_caught_up(&self, token: &ResumeToken) {
        let mut state = self.state();
        state.advance(token);
        state.is_caught_up = true;
    }

    /// Marks the checkpoint as unsaved although its token did not move: the file holds no checkpoint yet, or one with another output file.
    pub(crate) fn mark_unsaved(&self) {
        self.state().is_unsaved = true;
    }

    /// Returns how long to wait before the next save; `None` if everything is saved.
    pub(crate) fn time_until_save(&self) -> Option<Duration> {
        let state = self.state();
        if self.file.is_none() || !state.is_unsaved {
            return None;
        }
        let mut interval = match (state.has_printed, state.is_caught_up) {
            // A watch that is killed soon after each start must still get ahead.
            (true, _) if state.is_first_print => Duration::ZERO,
            (false, _) if state.is_first_move => Duration::ZERO,
            (true, false) => self.save_interval,
            (true, true) => self.save_interval.min(IDLE_SAVE_INTERVAL),
            (false, _) => IDLE_SAVE_INTERVAL,
        };
        if state.last_error.is_some() {
            interval = interval.max(MIN_RETRY_INTERVAL);
        }
        Some(interval.saturating_sub(state.saved_at.elapsed()))
    }

    /// Returns whether the next printed event is the first since the start for which a checkpoint can be saved.
    pub(crate) fn is_first_print(&self) -> bool {
        self.file.is_some() && self.state().is_first_print
    }

    /// Returns whether the thread that saves knows of a save that also covers the next printed event, so that it need not be woken: it
    /// waits for a time that is early enough, or is saving now and checks [`Self::time_until_save`] afterwards. Also true if nothing is
    /// ever saved.
    pub(crate) fn is_save_scheduled(&self) -> bool {
        let state = self.state();
        self.file.is_none() || state.is_saving || (state.is_unsaved && state.has_printed)
    }

    /// Saves the newest checkpoint if it is not saved yet, with `mark` as the state of the output file.
    ///
    /// A failure is a warning, and the watch continues: the file still holds the last checkpoint, and the next save tries again.
    pub(crate) fn save(&self, mark: Option<OutputMark>) {
        let Some(file) = self.file.as_ref().map(lock) else {
            return;
        };
        let Some(pending) = self.state().begin_save() else {
            return;
        };
        let saved = file.save(&pending.token, mark);
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
            }
        }
    }

    /// Saves the newest checkpoint, of a watch without an output file, and checks that this succeeded. Runs on a thread of its own, which
    /// is left behind if the disk has not taken the checkpoint after `limit`.
    ///
    /// # Errors
    /// Exit code 5 when it could not be saved, or not in time.
    pub(crate) async fn save_within(self: &Arc<Self>, limit: Duration) -> Result<(), Failure> {
        let (done_sender, done) = oneshot::channel();
        let tracker = Arc::clone(self);
        let saving = std::thread::Builder::new()
            .name("last save".to_owned())
            .spawn(move || {
                tracker.save(None);
                // The receiver is gone if it took too long.
                let _ = done_sender.send(());
            });
        match saving {
            Ok(_) if tokio::time::timeout(limit, done).await.is_ok() => self.ensure_saved(),
            Ok(_) => Err(save_failure(
                &self.path,
                &io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the disk did not take it within {}", readable(limit)),
                ),
            )),
            Err(error) => Err(save_failure(&self.path, &error)),
        }
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
struct PendingSave {
    token: ResumeToken,
    has_moved: bool,
    has_printed: bool,
}

impl State {
    fn advance(&mut self, token: &ResumeToken) {
        if self.token != *token {
            self.token = token.clone();
            self.is_unsaved = true;
            self.has_moved = true;
        }
    }

    fn begin_save(&mut self) -> Option<PendingSave> {
        self.saved_at = Instant::now();
        self.is_saving = std::mem::take(&mut self.is_unsaved);
        self.is_saving.then(|| PendingSave {
            token: self.token.clone(),
            has_moved: std::mem::take(&mut self.has_moved),
            has_printed: std::mem::take(&mut self.has_printed),
        })
    }

    /// Ends a save that succeeded, and returns the error of the save before it.
    fn finish_save(&mut self, pending: &PendingSave) -> Option<io::Error> {
        self.is_saving = false;
        self.is_first_move &= !pending.has_moved;
        self.is_first_print &= !pending.has_printed;
        self.last_error.take()
    }

    /// Ends a save that failed, and returns the error of the save before it.
    fn fail_save(&mut self, pending: &PendingSave, error: io::Error) -> Option<io::Error> {
        self.is_saving = false;
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
    use crate::config::{ResumePath, Scope, StreamSpec};

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
        CheckpointTracker::new(file, Duration::ZERO, token(EARLIER), telemetry)
    }

    fn resume_file(directory: &tempfile::TempDir) -> ResumeFile {
        let spec = StreamSpec {
            scope: Scope::Deployment,
            pipeline: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            batch_size: 1,
            max_await: Duration::ZERO,
        };
        let path = ResumePath::Named(directory.path().join("resume.json"));
        ResumeFile::open(&path, &spec).unwrap().0
    }

    #[test]
    fn schedules_a_save_from_the_first_printed_event_until_it_is_saved() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        assert!(!tracker.is_save_scheduled());
        // The first move since the start is saved at once; the next one later than a printed event allows.
        tracker.record_caught_up(&token(LATER));
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
        tracker.save(None);
        tracker.record_caught_up(&token(LATEST));
        assert!(tracker.time_until_save().unwrap() > Duration::ZERO);
        assert!(!tracker.is_save_scheduled());
        tracker.record_printed(&token(LATEST));
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
        assert!(tracker.is_save_scheduled());
        tracker.save(None);
        assert_eq!(tracker.time_until_save(), None);
        assert!(!tracker.is_save_scheduled());
    }

    #[test]
    fn saves_the_first_printed_events_at_once_and_the_next_after_the_interval() {
        let directory = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new(Duration::ZERO);
        let interval = Duration::from_secs(3600);
        let file = Some(resume_file(&directory));
        let tracker = CheckpointTracker::new(file, interval, token(EARLIER), telemetry);
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
    fn leaves_what_is_printed_during_a_save_to_the_next_save() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.mark_unsaved();
        let saving = tracker.state().begin_save().unwrap();
        assert_eq!(saving.token, token(EARLIER));
        assert!(tracker.is_save_scheduled());
        tracker.record_printed(&token(LATER));
        assert!(tracker.state().finish_save(&saving).is_none());
        assert_eq!(tracker.time_until_save(), Some(Duration::ZERO));
    }

    #[test]
    fn schedules_a_save_that_failed_again() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(resume_file(&directory)));
        tracker.record_printed(&token(LATER));
        directory.close().unwrap();
        tracker.save(None);
        let time = tracker.time_until_save().unwrap();
        assert!(time > Duration::ZERO && time <= MIN_RETRY_INTERVAL);
        assert!(tracker.is_save_scheduled());
        assert!(tracker.ensure_saved().is_err());
    }

    #[test]
    fn saves_nothing_without_a_file() {
        let tracker = tracker(None);
        assert!(tracker.is_save_scheduled());
        tracker.record_printed(&token(LATER));
        assert_eq!(tracker.time_until_save(), None);
        tracker.save(None);
        assert!(tracker.ensure_saved().is_ok());
    }
}
