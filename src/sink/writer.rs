//! The order of promise 1: events to lines, lines to the output, and only then the position to its file. Whose turn it is to write is
//! decided in `shared`.

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf};

use crate::checkpoint::CheckpointTracker;
use crate::checkpoint::OutputMark;
use crate::error::{Failure, Kind};
use crate::extjson::{self, Fidelity, Mode, pretty};
use crate::queue::Message;
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::OutputFile;
use super::limits::Limits;
use super::output::{Interrupted, Output};

/// Bytes of lines that are collected before a write while more are ready.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes of events that are printed at once at most. Lines are hardly shorter, and a pipe takes so much as one.
const AT_ONCE_BYTES: usize = 4 * 1024;

/// A line buffer that grew beyond this for a large event is given back.
const KEPT_BYTES: usize = 1024 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineStyle {
    /// Extended JSON mode.
    pub mode: Mode,
    /// Indented.
    pub pretty: bool,
    /// In colour, when indented.
    pub color: bool,
}

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// `--count` or `--until` was reached.
    LimitReached,
    /// The reader of stdout went away.
    ReaderGone,
    /// Nothing more comes.
    Drained,
}

/// Why nothing more is written.
#[derive(Debug)]
pub(super) enum Halt {
    Ended(Ended),
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The writing end of a watch.
#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    style: LineStyle,
    limits: Limits,
    pub(super) tracker: Arc<CheckpointTracker>,
    telemetry: Telemetry,
    /// Lines that wait to be written.
    lines: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// One line before it is indented.
    compact: Vec<u8>,
    /// Events written so far.
    printed: u64,
    /// Whether nothing may be printed any more.
    is_over: bool,
    warned_of_text: bool,
}

impl Writer {
    /// A writer of lines that look like `look` to `output`, its positions to `tracker`.
    pub(crate) fn new(
        output: Output,
        style: LineStyle,
        limits: Limits,
        tracker: Arc<CheckpointTracker>,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            output,
            style,
            limits,
            tracker,
            telemetry,
            lines: Vec::with_capacity(2 * WRITE_BYTES),
            ends: Vec::new(),
            compact: Vec::new(),
            printed: 0,
            is_over: false,
            warned_of_text: false,
        }
    }

    /// How long until the position is to be saved; `None` when it is saved already.
    pub(super) fn due(&self) -> Option<Duration> {
        self.tracker.due()
    }

    /// Does what is handed on.
    pub(super) fn take(&mut self, delivery: &Message) -> Result<(), Halt> {
        let taken = match delivery {
            Message::Events(events) => self.print(events),
            Message::CaughtUp(token) => self.pass(token),
            Message::Reopen => self.reopen().map_err(Halt::from),
        };
        self.is_over = taken.is_err();
        taken
    }

    /// Prints `events` as far as the limits go.
    fn print(&mut self, events: &[RawDocumentBuf]) -> Result<(), Halt> {
        let within = self.limits.apply(events, self.printed);
        let mut unwritten = &events[..within.count];
        for event in unwritten {
            self.encode(event)?;
            if self.lines.len() >= WRITE_BYTES {
                let (written, rest) = unwritten.split_at(self.ends.len());
                self.write(written)?;
                unwritten = rest;
            }
        }
        self.write(unwritten)?;
        if within.reached {
            return Err(Halt::Ended(Ended::LimitReached));
        }
        Ok(())
    }

    /// Prints `events` where that takes no wait, ends nothing and wakes nobody to save. Otherwise answers false, and nothing has happened.
    pub(super) fn print_at_once(&mut self, events: &[RawDocumentBuf]) -> bool {
        let bytes: usize = events.iter().map(|event| event.as_bytes().len()).sum();
        if self.is_over
            || bytes > AT_ONCE_BYTES
            || !self.tracker.is_save_awaited()
            || self.limits.apply(events, self.printed).reached
        {
            return false;
        }
        let is_printed = events.iter().all(|event| self.encode(event).is_ok())
            && self.output.write_at_once(&self.lines);
        if is_printed {
            self.count(events, self.lines.len());
        }
        self.clear();
        is_printed
    }

    /// Nothing more happened up to `token`.
    fn pass(&mut self, token: &ResumeToken) -> Result<(), Halt> {
        let time = token.time();
        if self.limits.until.is_none_or(|until| time <= until.time) {
            self.tracker.caught_up(token);
            self.telemetry.caught_up(time);
        }
        let Some(until) = self.limits.until else {
            return Ok(());
        };
        if time > until.time || (time == until.time && until.reached_is_passed) {
            return Err(Halt::Ended(Ended::LimitReached));
        }
        Ok(())
    }

    fn encode(&mut self, event: &RawDocument) -> Result<(), Failure> {
        let fidelity = if self.style.pretty {
            self.compact.clear();
            let fidelity =
                extjson::write_document(event.as_bytes(), self.style.mode, &mut self.compact);
            pretty::indent(&self.compact, self.style.color, &mut self.lines);
            fidelity
        } else {
            extjson::write_document(event.as_bytes(), self.style.mode, &mut self.lines)
        };
        let fidelity = fidelity.map_err(|malformed| {
            Failure::new(
                Kind::Other,
                format!("the server sent an event that is not BSON: {malformed}"),
            )
        })?;
        if fidelity != Fidelity::Exact && !self.warned_of_text {
            self.warned_of_text = true;
            tracing::warn!(
                "text that is not UTF-8 is printed with U+FFFD in its place (said once)"
            );
        }
        self.lines.push(b'\n');
        self.ends.push(self.lines.len());
        Ok(())
    }

    /// Writes the lines of `events`, and only then moves the position behind the last that was written whole.
    fn write(&mut self, events: &[RawDocumentBuf]) -> Result<(), Halt> {
        let result = self.output.write(&self.lines);
        let whole = match &result {
            Ok(()) => self.ends.len(),
            Err(interrupted) => self.ends.partition_point(|end| *end <= interrupted.written),
        };
        let whole_bytes = whole.checked_sub(1).map_or(0, |last| self.ends[last]);
        if let Some(file) = self.output.as_file_mut() {
            file.count(whole_bytes);
        }
        self.count(&events[..whole], whole_bytes);
        self.clear();
        result.map_err(|interrupted| self.interrupted(interrupted))
    }

    /// The output has accepted the lines of `printed`, so many bytes.
    fn count(&mut self, printed: &[RawDocumentBuf], bytes: usize) {
        let Some(last) = printed.last() else {
            return;
        };
        let token = ResumeToken::of_event(last);
        if let Some(token) = &token {
            self.tracker.printed(token);
        }
        let tally = printed.iter().collect();
        let time = token.map(|token| token.time());
        self.telemetry.printed(&tally, bytes as u64, time);
        self.printed += printed.len() as u64;
    }

    /// Forgets the lines that were collected.
    fn clear(&mut self) {
        self.ends.clear();
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES);
        self.compact.shrink_to(KEPT_BYTES);
    }

    fn interrupted(&self, Interrupted { error, .. }: Interrupted) -> Halt {
        match &self.output {
            Output::Stdout(_) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Halt::Ended(Ended::ReaderGone)
            }
            Output::Stdout(_) => Halt::Failed(
                Failure::new(Kind::Output, format!("stdout cannot be written: {error}")).hint(
                    "mend that and start again: the position is at the last line that was written whole",
                ),
            ),
            Output::File(file) => Halt::Failed(file.cannot_be_written(&error)),
        }
    }

    /// Saves the position, when it is not saved yet. The lines of an output file are synced first: the position must not be more
    /// durable than they are.
    ///
    /// # Errors
    /// Exit code 6 when the output cannot be synced. A position file that cannot be written is a warning.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        if self.tracker.due().is_none() {
            return Ok(());
        }
        let mark = self.mark()?;
        self.tracker.save(mark);
        Ok(())
    }

    /// Where an output file stands, once its lines are on the disk.
    pub(super) fn mark(&mut self) -> Result<Option<OutputMark>, Failure> {
        let file = self.output.as_file_mut();
        file.map(OutputFile::sync_and_mark).transpose()
    }

    /// Saves the position for the last time.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.save()?;
        self.tracker.ensure_saved()
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        // Before and after: what is saved must name the file that the lines are in.
        self.save()?;
        let Some(file) = self.output.as_file_mut() else {
            return Ok(());
        };
        file.reopen()?;
        self.tracker.must_save();
        self.save()?;
        if let Some(file) = self.output.as_file_mut() {
            tracing::info!("reopened {}", file.path().display());
        }
        Ok(())
    }
}
