//! The newest checkpoint and what is known of its saves: what the next one holds, and when it is due.

use std::cmp::Ordering;
use std::io;
use std::time::{Duration, Instant};

use crate::checkpoint::OutputMark;
use crate::snapshot::SnapshotProgress;
use crate::token::ResumeToken;

/// How often the checkpoint is saved while no event comes, if its token moves: the token of a filter that matches nothing must never
/// age out of the oplog.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest wait after a save that failed: a disk stays full for longer than a save interval, and events are printed meanwhile.
pub(super) const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The state of a tracker.
#[derive(Debug)]
pub(super) struct State {
    /// The newest token.
    pub(super) token: ResumeToken,
    /// How far the snapshot has come, if there is one.
    snapshot: Option<SnapshotProgress>,
    /// The token that the stream starts after, until the first reply.
    start: Option<ResumeToken>,
    /// Whether the token differs from the file's, or from the one that the file will have when the current save succeeds.
    pub(super) is_unsaved: bool,
    /// Whether events were printed since the last save.
    has_printed: bool,
    /// Whether the stream has caught up since the last event.
    is_caught_up: bool,
    /// Whether the token moved since the last save.
    has_moved: bool,
    /// Whether no move of the token was saved since the start.
    is_first_move: bool,
    /// Whether no printed event was saved since the start.
    pub(super) is_first_print: bool,
    /// When the last save began.
    pub(super) saved_at: Instant,
    /// Saves begun so far.
    begun: u64,
    /// Saves that have begun and not ended.
    pub(super) under_way: u32,
    /// Whether the last checkpoint is to be saved.
    pub(super) is_closed: bool,
    /// Whether the save under way takes longer than printing waits for it.
    pub(super) is_slow: bool,
    /// The error of the last save, if it failed.
    pub(super) last_error: Option<io::Error>,
}

/// A checkpoint that is being saved.
#[derive(Debug)]
pub(crate) struct PendingSave {
    /// Saves are numbered in the order of their checkpoints.
    pub(super) number: u64,
    pub(super) token: ResumeToken,
    pub(super) snapshot: Option<SnapshotProgress>,
    pub(super) mark: Option<OutputMark>,
    has_moved: bool,
    has_printed: bool,
}

impl State {
    /// Returns the state of a watch that starts after `start`, with `saved` in its file, and with a snapshot that has come this far.
    pub(super) fn new(
        saved: Option<ResumeToken>,
        start: ResumeToken,
        snapshot: Option<SnapshotProgress>,
    ) -> Self {
        Self {
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
        }
    }

    /// Records that the output accepted everything up to the event of `token`.
    pub(super) fn record_printed(&mut self, token: &ResumeToken) {
        self.advance(token);
        self.has_printed = true;
        self.is_caught_up = false;
    }

    /// Records that the output accepted the lines of a snapshot up to `progress`, read when the stream was at `token`.
    pub(super) fn record_snapshot(&mut self, token: &ResumeToken, progress: SnapshotProgress) {
        self.record_printed(token);
        self.snapshot = Some(progress);
        self.is_unsaved = true;
    }

    /// Records that nothing else happened up to `token`.
    pub(super) fn record_caught_up(&mut self, token: &ResumeToken) {
        self.advance(token);
        self.is_caught_up = true;
    }

    /// Returns the time between the last save and the next, where a checkpoint is saved at this interval while events are printed; `None` if
    /// everything is saved.
    pub(super) fn interval(&self, save_interval: Duration) -> Option<Duration> {
        if !self.is_unsaved {
            return None;
        }
        let mut interval = match (self.has_printed, self.is_caught_up) {
            // A watch that is killed soon after each start must still make progress.
            (true, _) if self.is_first_print => Duration::ZERO,
            (false, _) if self.is_first_move => Duration::ZERO,
            (true, false) => save_interval,
            (true, true) => save_interval.min(IDLE_SAVE_INTERVAL),
            (false, _) => IDLE_SAVE_INTERVAL,
        };
        if self.last_error.is_some() {
            interval = interval.max(MIN_RETRY_INTERVAL);
        }
        Some(interval)
    }

    /// Returns whether printed lines wait for a save that is due or under way.
    pub(super) fn is_awaiting_save(&self) -> bool {
        let is_due = self.is_unsaved && self.has_printed && self.last_error.is_none();
        !self.is_closed && (is_due || self.under_way > 0)
    }

    /// Moves the checkpoint to where the stream started, with its first reply.
    pub(super) fn start(&mut self) {
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

    /// Begins a save with `mark` as the state of the output file; `None` if everything is saved.
    pub(super) fn begin_save(&mut self, mark: Option<OutputMark>) -> Option<PendingSave> {
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

    /// Ends a save that was not needed any more: the file holds a newer checkpoint.
    pub(super) fn abandon_save(&mut self) {
        self.under_way -= 1;
    }

    /// Ends a save that succeeded, and returns the error of the save before it.
    pub(super) fn finish_save(&mut self, pending: &PendingSave) -> Option<io::Error> {
        self.under_way -= 1;
        self.is_first_move &= !pending.has_moved;
        self.is_first_print &= !pending.has_printed;
        self.last_error.take()
    }

    /// Ends a save that failed, and returns the error of the save before it.
    pub(super) fn fail_save(
        &mut self,
        pending: &PendingSave,
        error: io::Error,
    ) -> Option<io::Error> {
        self.under_way -= 1;
        self.is_unsaved = true;
        self.has_moved |= pending.has_moved;
        self.has_printed |= pending.has_printed;
        self.last_error.replace(error)
    }
}
