//! The newest position whose lines are out, and when it goes to its file. Shared between the writer and whoever must save when the
//! writer is stuck in a write.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Failure, Kind};

use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::{OutputMark, ResumeFile};

/// How often the position is saved while no event comes, when its token moves: a quiet filter must never age out of the oplog.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait after a save that failed: a disk stays full for longer than a flush takes, and events go on meanwhile.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The newest position, and its file.
#[derive(Debug)]
pub(crate) struct CheckpointTracker {
    /// Held while it is written: one save at a time, so that an older position never replaces a newer one.
    file: Option<Mutex<ResumeFile>>,
    /// How often to save while events flow.
    save_interval: Duration,
    /// Never held while the file is written: lines go on while a disk takes its time.
    entry: Mutex<Entry>,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct Entry {
    /// The newest position.
    token: ResumeToken,
    /// Whether it differs from what the file holds, or will hold when the save that is under way succeeds.
    unsaved: bool,
    /// Whether events were printed since the last save.
    printed: bool,
    /// Whether the stream had caught up since the last event.
    caught_up: bool,
    saved_at: Instant,
    /// Whether a save is under way.
    saving: bool,
    /// What the last save failed with.
    trouble: Option<io::Error>,
}

impl CheckpointTracker {
    /// A tracker of a watch whose saved position is `token`, or will be when it has none yet. Saves to `file`; `None` saves nothing.
    pub(crate) fn new(
        file: Option<ResumeFile>,
        save_interval: Duration,
        token: ResumeToken,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            file: file.map(Mutex::new),
            save_interval,
            entry: Mutex::new(Entry {
                token,
                unsaved: false,
                printed: false,
                caught_up: false,
                saved_at: Instant::now(),
                saving: false,
                trouble: None,
            }),
            telemetry,
        }
    }

    /// Everything up to the event of `token` was accepted by the output.
    pub(crate) fn printed(&self, token: &ResumeToken) {
        let mut entry = self.entry();
        entry.advance(token);
        entry.printed = true;
        entry.caught_up = false;
    }

    /// Nothing more happened up to `token`.
    pub(crate) fn caught_up(&self, token: &ResumeToken) {
        let mut entry = self.entry();
        entry.advance(token);
        entry.caught_up = true;
    }

    /// The file does not hold this position yet, or not with this output.
    pub(crate) fn must_save(&self) {
        self.entry().unsaved = true;
    }

    /// How long until the position is to be saved; `None` when it is saved already.
    pub(crate) fn due(&self) -> Option<Duration> {
        let entry = self.entry();
        if self.file.is_none() || !entry.unsaved {
            return None;
        }
        let mut interval = match (entry.printed, entry.caught_up) {
            (true, false) => self.save_interval,
            (true, true) => self.save_interval.min(IDLE_SAVE_INTERVAL),
            (false, _) => IDLE_SAVE_INTERVAL,
        };
        if entry.trouble.is_some() {
            interval = interval.max(RETRY_INTERVAL);
        }
        Some(interval.saturating_sub(entry.saved_at.elapsed()))
    }

    /// Whether one more printed event changes nothing for whoever asks [`Self::due`] and saves: it waits for a time that is not later,
    /// or saves right now and asks again then. Also when nothing is ever saved.
    pub(crate) fn is_save_awaited(&self) -> bool {
        let entry = self.entry();
        self.file.is_none() || entry.saving || (entry.unsaved && entry.printed)
    }

    /// Saves the newest position, when it is not saved yet, together with where the output file stands.
    ///
    /// A failure is a warning while the watch goes on: what was saved before is whole, and the next save tries again.
    pub(crate) fn save(&self, mark: Option<OutputMark>) {
        let Some(file) = self.file.as_ref().map(lock) else {
            return;
        };
        let Some(unsaved) = self.entry().begin_save() else {
            return;
        };
        let saved = file.save(&unsaved.token, mark);
        self.telemetry.saved(saved.is_ok());
        let path = file.path().display();
        match saved {
            Ok(()) => {
                let trouble = self.entry().end_save();
                if trouble.is_some() {
                    tracing::info!("position file {path} can be written again");
                }
            }
            Err(error) => {
                let kind = error.kind();
                let warning =
                    format!("position file {path} cannot be written, trying again: {error}");
                let trouble = self.entry().fail_save(&unsaved, error);
                // Its text names a temporary file, another one each time.
                if trouble.is_none_or(|trouble| trouble.kind() != kind) {
                    tracing::warn!("{warning}");
                }
            }
        }
    }

    /// Whether all is saved, after the last save.
    ///
    /// # Errors
    /// Exit code 5 when the newest position could not be saved.
    pub(crate) fn ensure_saved(&self) -> Result<(), Failure> {
        let Some(file) = self.file.as_ref().map(lock) else {
            return Ok(());
        };
        let entry = self.entry();
        let Some(trouble) = &entry.trouble else {
            return Ok(());
        };
        Err(Failure::new(
            Kind::ResumeFile,
            format!(
                "position file {} cannot be written: {trouble}",
                file.path().display()
            ),
        )
        .hint("make room there or mend its permissions; the next run prints again what came after the last save"))
    }

    fn entry(&self) -> MutexGuard<'_, Entry> {
        lock(&self.entry)
    }
}

/// What is being saved.
struct Unsaved {
    token: ResumeToken,
    printed: bool,
}

impl Entry {
    fn advance(&mut self, token: &ResumeToken) {
        if self.token != *token {
            self.token = token.clone();
            self.unsaved = true;
        }
    }

    fn begin_save(&mut self) -> Option<Unsaved> {
        self.saved_at = Instant::now();
        self.saving = std::mem::take(&mut self.unsaved);
        self.saving.then(|| Unsaved {
            token: self.token.clone(),
            printed: std::mem::take(&mut self.printed),
        })
    }

    /// Answers what the save before failed with.
    fn end_save(&mut self) -> Option<io::Error> {
        self.saving = false;
        self.trouble.take()
    }

    /// As [`Self::end_save`], when `unsaved` still is.
    fn fail_save(&mut self, unsaved: &Unsaved, error: io::Error) -> Option<io::Error> {
        self.saving = false;
        self.unsaved = true;
        self.printed |= unsaved.printed;
        self.trouble.replace(error)
    }
}

/// What is behind `mutex`, whatever happened to the thread that held it last: it left at worst an older position.
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

    fn token(data: &str) -> ResumeToken {
        ResumeToken::parse(data).unwrap()
    }

    fn tracker(file: Option<ResumeFile>) -> CheckpointTracker {
        let telemetry = Telemetry::new(Duration::ZERO);
        CheckpointTracker::new(file, Duration::ZERO, token(EARLIER), telemetry)
    }

    fn file(folder: &tempfile::TempDir) -> ResumeFile {
        let spec = StreamSpec {
            scope: Scope::Deployment,
            pipeline: Vec::new(),
            full_document: None,
            full_document_before_change: None,
            expanded_events: false,
            batch_size: 1,
            max_await: Duration::ZERO,
        };
        let path = ResumePath::Named(folder.path().join("position.json"));
        ResumeFile::open(&path, &spec).unwrap().0
    }

    #[test]
    fn a_save_is_awaited_from_the_first_printed_event_to_its_save() {
        let folder = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(file(&folder)));
        assert!(!tracker.is_save_awaited());
        // It waits for longer than it may for a printed event.
        tracker.caught_up(&token(LATER));
        assert!(tracker.due().unwrap() > Duration::ZERO);
        assert!(!tracker.is_save_awaited());
        tracker.printed(&token(LATER));
        assert_eq!(tracker.due(), Some(Duration::ZERO));
        assert!(tracker.is_save_awaited());
        tracker.save(None);
        assert_eq!(tracker.due(), None);
        assert!(!tracker.is_save_awaited());
    }

    #[test]
    fn what_is_printed_during_a_save_is_left_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(file(&folder)));
        tracker.must_save();
        let saving = tracker.entry().begin_save().unwrap();
        assert_eq!(saving.token, token(EARLIER));
        assert!(tracker.is_save_awaited());
        tracker.printed(&token(LATER));
        assert!(tracker.entry().end_save().is_none());
        assert_eq!(tracker.due(), Some(Duration::ZERO));
    }

    #[test]
    fn a_save_that_failed_is_awaited_again() {
        let folder = tempfile::tempdir().unwrap();
        let tracker = tracker(Some(file(&folder)));
        tracker.printed(&token(LATER));
        folder.close().unwrap();
        tracker.save(None);
        let due = tracker.due().unwrap();
        assert!(due > Duration::ZERO && due <= RETRY_INTERVAL);
        assert!(tracker.is_save_awaited());
        assert!(tracker.ensure_saved().is_err());
    }

    #[test]
    fn without_a_file_nothing_is_saved_and_nothing_awaited() {
        let tracker = tracker(None);
        assert!(tracker.is_save_awaited());
        tracker.printed(&token(LATER));
        assert_eq!(tracker.due(), None);
        tracker.save(None);
        assert!(tracker.ensure_saved().is_ok());
    }
}
