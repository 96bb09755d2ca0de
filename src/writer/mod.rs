//! The order of promise 1: events to lines, lines to the output, and only then the position to its file. Whose turn it is to write is
//! decided in `shared`.

mod shared;

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, Timestamp};

use crate::error::{Failure, Kind};
use crate::extjson::{self, Fidelity, Mode};
use crate::ledger::Ledger;
use crate::output::{Interrupted, Output, OutputFile};
use crate::pretty;
use crate::queue::Delivery;
use crate::resume_file::OutputMark;
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

pub use self::shared::SharedWriter;

/// Bytes of lines that are collected before a write while more are ready.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes of events that are printed at once at most. Lines are hardly shorter, and a pipe takes so much as one.
const AT_ONCE_BYTES: usize = 4 * 1024;

/// A line buffer that grew beyond this for a large event is given back.
const KEPT_BYTES: usize = 1024 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Extended JSON mode.
    pub mode: Mode,
    /// Indented.
    pub pretty: bool,
    /// In colour, when indented.
    pub colour: bool,
}

/// When the writer ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// After this many events.
    pub count: Option<u64>,
    /// After the last event at or before this time.
    pub until: Option<Until>,
}

/// The end of a bounded watch.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// The last time whose events are printed.
    pub time: Timestamp,
    /// Whether an empty reply that has reached `time` proves that no event of it is to come. Behind a mongos another shard may
    /// still have one.
    pub reached_is_passed: bool,
}

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// `--count` or `--until` was reached.
    LimitReached,
    /// The reader of stdout went away.
    ReaderGone,
    /// Nothing more comes.
    Drained,
}

/// Why nothing more is written.
#[derive(Debug)]
enum Halt {
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
pub struct Writer {
    output: Output,
    look: Look,
    limits: Limits,
    ledger: Arc<Ledger>,
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
    /// A writer of lines that look like `look` to `output`, its positions to `ledger`.
    pub fn new(
        output: Output,
        look: Look,
        limits: Limits,
        ledger: Arc<Ledger>,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            output,
            look,
            limits,
            ledger,
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
    fn due(&self) -> Option<Duration> {
        self.ledger.due()
    }

    /// Does what is handed on.
    fn take(&mut self, delivery: &Delivery) -> Result<(), Halt> {
        let taken = match delivery {
            Delivery::Events(events) => self.print(events),
            Delivery::CaughtUp(token) => self.pass(token),
            Delivery::Reopen => self.reopen().map_err(Halt::from),
        };
        self.is_over = taken.is_err();
        taken
    }

    /// Prints `events` as far as the limits go.
    fn print(&mut self, events: &[RawDocumentBuf]) -> Result<(), Halt> {
        let within = self.within_limits(events);
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
    fn print_at_once(&mut self, events: &[RawDocumentBuf]) -> bool {
        let bytes: usize = events.iter().map(|event| event.as_bytes().len()).sum();
        if self.is_over
            || bytes > AT_ONCE_BYTES
            || !self.ledger.is_save_awaited()
            || self.within_limits(events).reached
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
            self.ledger.caught_up(token);
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

    fn within_limits(&self, events: &[RawDocumentBuf]) -> Within {
        let mut within = Within {
            count: events.len(),
            reached: false,
        };
        if let Some(until) = self.limits.until {
            let in_time = events
                .iter()
                .take_while(|event| token_of(event).is_none_or(|token| token.time() <= until.time))
                .count();
            within.reached |= in_time < within.count;
            within.count = in_time;
        }
        if let Some(count) = self.limits.count {
            let left = usize::try_from(count - self.printed).unwrap_or(usize::MAX);
            within.reached |= left <= within.count;
            within.count = within.count.min(left);
        }
        within
    }

    fn encode(&mut self, event: &RawDocument) -> Result<(), Failure> {
        let fidelity = if self.look.pretty {
            self.compact.clear();
            let fidelity =
                extjson::write_document(event.as_bytes(), self.look.mode, &mut self.compact);
            pretty::indent(&self.compact, self.look.colour, &mut self.lines);
            fidelity
        } else {
            extjson::write_document(event.as_bytes(), self.look.mode, &mut self.lines)
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
        let token = token_of(last);
        if let Some(token) = &token {
            self.ledger.printed(token);
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
                Failure::new(Kind::Output, format!("stdout cannot be written: {error}")).way_out(
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
    pub fn save(&mut self) -> Result<(), Failure> {
        if self.ledger.due().is_none() {
            return Ok(());
        }
        let mark = self.mark()?;
        self.ledger.save(mark);
        Ok(())
    }

    /// Where an output file stands, once its lines are on the disk.
    fn mark(&mut self) -> Result<Option<OutputMark>, Failure> {
        let file = self.output.as_file_mut();
        file.map(OutputFile::sync_and_mark).transpose()
    }

    /// Saves the position for the last time.
    fn finish(&mut self) -> Result<(), Failure> {
        self.save()?;
        self.ledger.ensure_saved()
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        // Before and after: what is saved must name the file that the lines are in.
        self.save()?;
        let Some(file) = self.output.as_file_mut() else {
            return Ok(());
        };
        file.reopen()?;
        self.ledger.must_save();
        self.save()?;
        if let Some(file) = self.output.as_file_mut() {
            tracing::info!("reopened {}", file.path().display());
        }
        Ok(())
    }
}

/// How many events the limits leave, and whether a limit is reached with them.
struct Within {
    count: usize,
    reached: bool,
}

fn token_of(event: &RawDocument) -> Option<ResumeToken> {
    ResumeToken::from_raw(event.get_document("_id").ok()?).ok()
}
