//! The order that loses nothing: events become lines, lines go to the output, and only then the checkpoint moves.
//! `shared_writer` decides whose turn it is to write.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bson::RawDocumentBuf;

use crate::checkpoint::CheckpointTracker;
use crate::checkpoint::OutputMark;
use crate::error::Failure;
use crate::extjson::{self, Fidelity, Mode, pretty};
use crate::platform;
use crate::queue::{Message, bytes_of};
use crate::snapshot::{LineWriter, SnapshotChunk, SnapshotProgress};
use crate::telemetry::{OperationCounts, Telemetry};
use crate::token::ResumeToken;

use super::MAX_KEPT_BYTES;
use super::OutputFile;
use super::limits::{Allowed, Limits};
use super::output::{Output, PartialWrite, stdout_failure};
use super::stdout::StdoutFile;

/// Bytes of lines that are collected before a write while more events are ready.
const WRITE_BYTES: usize = 64 * 1024;

/// The largest events, in bytes, that [`Writer::try_print_now`] tries. Their lines are hardly shorter, and a pipe accepts no more than this
/// as one write.
const MAX_PRINT_NOW_BYTES: usize = 4 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineStyle {
    /// Extended JSON mode.
    pub mode: Mode,
    /// Whether lines are indented.
    pub pretty: bool,
    /// Whether indented lines are colored.
    pub color: bool,
}

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// `--count` or `--until` was reached.
    LimitReached,
    /// The reader of stdout closed the pipe.
    ReaderGone,
    /// The queue is empty and its sender is gone.
    Drained,
}

/// Why the writer stops.
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

/// What is printed.
#[derive(Debug)]
enum Printed<'a> {
    Events(&'a [RawDocumentBuf]),
    Snapshot(&'a SnapshotChunk, LineWriter<'a>),
}

/// The writing end of a watch.
#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    /// Stdout, as long as it is a pipe that [`platform::try_write_now`] can write to.
    pipe: Option<File>,
    style: LineStyle,
    limits: Limits,
    pub(super) tracker: Arc<CheckpointTracker>,
    telemetry: Telemetry,
    /// Lines to be written.
    lines: Vec<u8>,
    /// The end of each line.
    ends: Vec<usize>,
    /// One line before it is indented.
    compact: Vec<u8>,
    /// The token of the last empty reply while a snapshot is read.
    caught_up: Option<ResumeToken>,
    /// Events written so far.
    printed: u64,
    /// Whether the writer ended: nothing may be printed any more.
    has_ended: bool,
    /// Why a checkpoint could not be saved with the output file as it is.
    failure: Option<Failure>,
    has_warned_of_text: bool,
}

impl Writer {
    /// Creates a writer of lines in this style to `output`, which reports to `tracker` what was printed.
    pub(crate) fn new(
        output: Output,
        style: LineStyle,
        limits: Limits,
        tracker: Arc<CheckpointTracker>,
        telemetry: Telemetry,
    ) -> Self {
        let pipe = match output {
            Output::Stdout(_) => platform::stdout_pipe(),
            Output::File(_) => None,
        };
        Self {
            output,
            pipe,
            style,
            limits,
            tracker,
            telemetry,
            lines: Vec::with_capacity(2 * WRITE_BYTES),
            ends: Vec::new(),
            compact: Vec::new(),
            caught_up: None,
            printed: 0,
            has_ended: false,
            failure: None,
            has_warned_of_text: false,
        }
    }

    /// Handles one message of the queue.
    pub(super) fn handle(&mut self, message: &Message) -> Result<(), Halt> {
        if let Some(failure) = &self.failure {
            return Err(Halt::Failed(failure.clone()));
        }
        let handled = match message {
            Message::Events(events) => {
                let allowed = self.limits.apply(events, self.printed);
                self.print(&Printed::Events(events), &allowed)
            }
            Message::Snapshot(chunk) => self.print_snapshot(chunk),
            Message::CaughtUp(token) => self.catch_up(token),
            Message::Reopen => self.reopen().map_err(Halt::from),
        };
        self.has_ended = handled.is_err();
        handled
    }

    /// Prints a part of the snapshot, and records how far the snapshot has come.
    fn print_snapshot(&mut self, chunk: &SnapshotChunk) -> Result<(), Halt> {
        let writer = chunk.lines.writer(self.style.mode);
        let writer = writer.map_err(|malformed| super::undecodable(&malformed))?;
        let allowed = self.limits.apply_count(chunk.lines.len(), self.printed);
        self.print(&Printed::Snapshot(chunk, writer), &allowed)?;
        self.tracker
            .record_snapshot(&chunk.token, chunk.progress.clone());
        if chunk.progress != SnapshotProgress::Finished {
            return Ok(());
        }
        self.telemetry.snapshot_finished();
        tracing::info!("the snapshot is complete");
        self.limits.end_snapshot(chunk.time);
        match self.caught_up.take() {
            Some(token) => self.end_if_reached(&token),
            None => Ok(()),
        }
    }

    /// Prints what the limits allow.
    fn print(&mut self, printed: &Printed<'_>, allowed: &Allowed) -> Result<(), Halt> {
        let mut unwritten = 0..allowed.count;
        // The first line alone: the reader may be slow, and the process may be killed before it has accepted many. A restart must not begin
        // at the same event again.
        if self.tracker.is_first_print() && allowed.count > 0 {
            self.encode(printed, 0)?;
            self.write(printed, 0..1)?;
            unwritten.start = 1;
        }
        for index in unwritten.clone() {
            self.encode(printed, index)?;
            if self.lines.len() >= WRITE_BYTES {
                self.write(printed, unwritten.start..index + 1)?;
                unwritten.start = index + 1;
            }
        }
        self.write(printed, unwritten)?;
        if allowed.reaches_limit {
            return Err(Halt::Ended(Ended::LimitReached));
        }
        Ok(())
    }

    /// Prints `events` and returns true if that takes no waiting and reaches no limit. Otherwise returns false and has done nothing.
    pub(super) fn try_print_now(&mut self, events: &[RawDocumentBuf]) -> bool {
        let bytes = bytes_of(events);
        if self.pipe.is_none()
            || self.has_ended
            || bytes > MAX_PRINT_NOW_BYTES
            || self.tracker.saves_each_flush()
            || self.limits.apply(events, self.printed).reaches_limit
        {
            return false;
        }
        let printed = Printed::Events(events);
        let is_printed = (0..events.len()).all(|index| self.encode(&printed, index).is_ok())
            && self.try_write_now();
        if is_printed {
            self.record_printed(&printed, 0..events.len(), self.lines.len());
        }
        self.clear();
        is_printed
    }

    /// Writes all lines and returns true if the pipe accepts them without waiting. Otherwise returns false and has written nothing.
    fn try_write_now(&mut self) -> bool {
        let Some(pipe) = &self.pipe else {
            return false;
        };
        let Err(error) = platform::try_write_now(pipe, &self.lines) else {
            return true;
        };
        // Any other error would come again; the next ordinary write reports it if it is one.
        if !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ) {
            self.pipe = None;
        }
        false
    }

    /// Records that nothing else happened up to `token`.
    fn catch_up(&mut self, token: &ResumeToken) -> Result<(), Halt> {
        let time = token.time();
        let until = self.limits.until();
        // The start may be later than the end.
        self.tracker.record_start();
        if until.is_none_or(|until| time <= until.time) {
            self.tracker.record_caught_up(token);
            self.telemetry.caught_up(time);
        }
        if self.limits.is_scanning() {
            self.caught_up = Some(token.clone());
        }
        self.end_if_reached(token)
    }

    /// Ends the watch if an empty reply with `token` shows that no event follows that is to be printed.
    fn end_if_reached(&self, token: &ResumeToken) -> Result<(), Halt> {
        match self.limits.until() {
            Some(until) if until.is_reached_at(token) => Err(Halt::Ended(Ended::LimitReached)),
            _ => Ok(()),
        }
    }

    fn encode(&mut self, printed: &Printed<'_>, index: usize) -> Result<(), Failure> {
        let mode = self.style.mode;
        let write = |out: &mut Vec<u8>| match printed {
            Printed::Events(events) => extjson::write_document(events[index].as_bytes(), mode, out),
            Printed::Snapshot(_, writer) => writer.write(index, out),
        };
        let fidelity = if self.style.pretty {
            self.compact.clear();
            let fidelity = write(&mut self.compact);
            pretty::indent(&self.compact, self.style.color, &mut self.lines);
            fidelity
        } else {
            write(&mut self.lines)
        };
        let fidelity = fidelity.map_err(|malformed| super::undecodable(&malformed))?;
        if fidelity != Fidelity::Exact && !self.has_warned_of_text {
            self.has_warned_of_text = true;
            super::warn_of_invalid_text();
        }
        self.lines.push(b'\n');
        self.ends.push(self.lines.len());
        Ok(())
    }

    /// Writes the collected lines, which are these of `printed`, and only then moves the checkpoint to the last one that was written whole.
    fn write(&mut self, printed: &Printed<'_>, lines: Range<usize>) -> Result<(), Halt> {
        let result = match self.lines.is_empty() {
            true => Ok(()),
            false => (self.output.end_torn_line()).and_then(|()| self.output.write(&self.lines)),
        };
        let whole = match &result {
            Ok(()) => self.ends.len(),
            Err(partial) => self.ends.partition_point(|end| *end <= partial.written),
        };
        let whole_bytes = whole.checked_sub(1).map_or(0, |last| self.ends[last]);
        match &mut self.output {
            Output::File(file) => file.record_written(whole_bytes),
            Output::Stdout(stdout) => {
                if let Err(partial) = &result {
                    stdout.cut(partial.written - whole_bytes);
                }
            }
        }
        self.record_printed(printed, lines.start..lines.start + whole, whole_bytes);
        self.clear();
        result.map_err(|partial| self.halt_of(&partial))
    }

    /// Records that the output accepted these lines of `printed`, which have this many bytes.
    fn record_printed(&mut self, printed: &Printed<'_>, lines: Range<usize>, bytes: usize) {
        let Some(last) = lines.clone().last() else {
            return;
        };
        self.printed += lines.len() as u64;
        match printed {
            Printed::Events(events) => {
                let token = ResumeToken::of_event(&events[last]);
                if let Some(token) = &token {
                    self.tracker.record_printed(token);
                }
                let time = token.map(|token| token.time());
                let counts = events[lines].iter().collect();
                self.telemetry.printed(&counts, bytes as u64, time);
            }
            Printed::Snapshot(chunk, _) => {
                if let Some(progress) = chunk.progress_after(&chunk.lines.line(last)) {
                    self.tracker.record_snapshot(&chunk.token, progress);
                }
                let counts = OperationCounts::of_snapshot(lines.len());
                self.telemetry.printed_snapshot(&counts, bytes as u64);
            }
        }
    }

    /// Drops the collected lines.
    fn clear(&mut self) {
        self.ends.clear();
        self.lines.clear();
        self.lines.shrink_to(MAX_KEPT_BYTES);
        self.compact.shrink_to(MAX_KEPT_BYTES);
    }

    fn halt_of(&self, PartialWrite { error, .. }: &PartialWrite) -> Halt {
        match &self.output {
            Output::Stdout(_) if error.kind() == io::ErrorKind::BrokenPipe => {
                Halt::Ended(Ended::ReaderGone)
            }
            Output::Stdout(_) => Halt::Failed(stdout_failure(error).hint(
                "fix that and start cswatch again: it resumes after the last line that was written whole",
            )),
            Output::File(file) => Halt::Failed(file.fail_write(error)),
        }
    }

    /// Saves the checkpoint if it is not saved yet. The lines of an output file are synced first: the checkpoint must not be more durable
    /// than they are.
    ///
    /// # Errors
    /// Exit code 6 when the output file cannot be synced. A resume file that cannot be written is a warning.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        if self.tracker.time_until_save().is_none() {
            return Ok(());
        }
        let mark = self.sync_and_mark()?;
        self.tracker.save(mark);
        Ok(())
    }

    /// Syncs the output file, if there is one, and returns its state. After a failure nothing more is written.
    pub(super) fn sync_and_mark(&mut self) -> Result<Option<OutputMark>, Failure> {
        let file = self.output.as_file_mut();
        let mark = file.map(OutputFile::sync_and_mark).transpose();
        self.failure = mark.as_ref().err().cloned();
        mark
    }

    /// Returns whether lines go to a file.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.output, Output::File(_))
    }

    /// Returns stdout, if it is a regular file that lines go to.
    pub(super) fn stdout_file(&self) -> Option<Arc<StdoutFile>> {
        match &self.output {
            Output::Stdout(stdout) => stdout.file().map(Arc::clone),
            Output::File(_) => None,
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        // Saved before and after: a checkpoint must name the file that its lines are in.
        self.save()?;
        let Some(file) = self.output.as_file_mut() else {
            return Ok(());
        };
        file.reopen()?;
        self.tracker.mark_unsaved();
        self.save()?;
        if let Some(file) = self.output.as_file_mut() {
            tracing::info!("reopened {}", file.path().display());
        }
        Ok(())
    }
}
