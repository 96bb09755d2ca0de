//! The newest position whose lines are out, and when it goes to its file. Shared between the writer and whoever must save when the
//! writer is stuck in a write.

use std::io;
use std::time::{Duration, Instant};

use crate::error::{Failure, Kind};
use crate::resume_file::{OutputMark, ResumeFile};
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

/// How often the position is saved while no event comes, when its token moves: a quiet filter must never age out of the oplog.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait after a save that failed: a disk stays full for longer than a flush takes, and events go on meanwhile.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The newest position, and its file.
#[derive(Debug)]
pub struct Ledger {
    file: Option<ResumeFile>,
    /// How often to save while events flow.
    save_interval: Duration,
    /// The newest position.
    token: ResumeToken,
    /// Whether it differs from what the file holds.
    unsaved: bool,
    /// Whether events were printed since the last save.
    printed: bool,
    /// Whether the stream had caught up since the last event.
    caught_up: bool,
    saved_at: Instant,
    /// What the last save failed with.
    trouble: Option<io::Error>,
    telemetry: Telemetry,
}

impl Ledger {
    /// A ledger of a watch whose saved position is `token`, or will be when it has none yet. Saves to `file`; `None` saves nothing.
    pub fn new(
        file: Option<ResumeFile>,
        save_interval: Duration,
        token: ResumeToken,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            file,
            save_interval,
            token,
            unsaved: false,
            printed: false,
            caught_up: false,
            saved_at: Instant::now(),
            trouble: None,
            telemetry,
        }
    }

    /// Everything up to the event of `token` was accepted by the output.
    pub fn printed(&mut self, token: &ResumeToken) {
        self.advance(token);
        self.printed = true;
        self.caught_up = false;
    }

    /// Nothing more happened up to `token`.
    pub fn caught_up(&mut self, token: &ResumeToken) {
        self.advance(token);
        self.caught_up = true;
    }

    fn advance(&mut self, token: &ResumeToken) {
        if self.token != *token {
            self.token = token.clone();
            self.unsaved = true;
        }
    }

    /// The file does not hold this position yet, or not with this output.
    pub fn must_save(&mut self) {
        self.unsaved = true;
    }

    /// How long until the position is to be saved; `None` when it is saved already.
    pub fn due(&self) -> Option<Duration> {
        if self.file.is_none() || !self.unsaved {
            return None;
        }
        let mut interval = match (self.printed, self.caught_up) {
            (true, false) => self.save_interval,
            (true, true) => self.save_interval.min(IDLE_SAVE_INTERVAL),
            (false, _) => IDLE_SAVE_INTERVAL,
        };
        if self.trouble.is_some() {
            interval = interval.max(RETRY_INTERVAL);
        }
        Some(interval.saturating_sub(self.saved_at.elapsed()))
    }

    /// Saves the newest position, when it is not saved yet, together with where the output file stands.
    ///
    /// A failure is a warning while the watch goes on: what was saved before is whole, and the next save tries again.
    pub fn save(&mut self, mark: Option<OutputMark>) {
        self.saved_at = Instant::now();
        let Some(file) = self.file.as_ref().filter(|_| self.unsaved) else {
            return;
        };
        let saved = file.save(&self.token, mark);
        self.telemetry.saved(saved.is_ok());
        match saved {
            Ok(()) => {
                self.unsaved = false;
                self.printed = false;
                if self.trouble.take().is_some() {
                    tracing::info!(
                        "position file {} can be written again",
                        file.path().display()
                    );
                }
            }
            Err(error) => {
                // Its text names a temporary file, another one each time.
                let known = self.trouble.as_ref().map(io::Error::kind);
                if known != Some(error.kind()) {
                    tracing::warn!(
                        "position file {} cannot be written, trying again: {error}",
                        file.path().display()
                    );
                }
                self.trouble = Some(error);
            }
        }
    }

    /// Whether all is saved, after the last save.
    ///
    /// # Errors
    /// Exit code 5 when the newest position could not be saved.
    pub fn ensure_saved(&self) -> Result<(), Failure> {
        let (Some(trouble), Some(file)) = (&self.trouble, &self.file) else {
            return Ok(());
        };
        Err(Failure::new(
            Kind::PositionFile,
            format!(
                "position file {} cannot be written: {trouble}",
                file.path().display()
            ),
        )
        .way_out("make room there or mend its permissions; the next run prints again what came after the last save"))
    }
}
