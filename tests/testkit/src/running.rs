//! A running `cswatch`, and waits for what it prints. Every wait has a deadline, and fails at the test's own line with all of stderr.

use std::io::PipeReader;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::deadline::poll;
use crate::events::{brief, parsed};
use crate::finished::Finished;
use crate::guard::Process;
use crate::procfs;
use crate::transcript::{Text, Transcript};

/// What the line on stderr holds that says the stream is open: what is written from then on will be
/// printed.
const OPEN: &str = "watching";

/// What is at least in a full pipe: it has 16 pages, one of which a short line may have to itself.
pub const PIPE_FULL: u64 = 15 * 4096;

/// A process. Killed when dropped.
pub struct Running {
    process: Process,
    stdout: Arc<Transcript>,
    /// The other end of stdout, for a reader that stalls.
    stalled: Option<PipeReader>,
    stderr: Arc<Transcript>,
    /// Lines of stdout handed to the test.
    stdout_taken: usize,
    /// Lines of stderr up to the last one the test waited for.
    stderr_taken: usize,
    deadline: Duration,
    /// Its `XDG_STATE_HOME`, when it was given none.
    _own_state: TempDir,
}

impl Running {
    pub(crate) fn new(
        process: Process,
        stdout: Arc<Transcript>,
        stalled: Option<PipeReader>,
        stderr: Arc<Transcript>,
        deadline: Duration,
        own_state: TempDir,
    ) -> Running {
        Running {
            process,
            stdout,
            stalled,
            stderr,
            stdout_taken: 0,
            stderr_taken: 0,
            deadline,
            _own_state: own_state,
        }
    }

    /// The next line of stdout.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        self.line_before(Instant::now() + self.deadline)
    }

    /// The next line of stdout, parsed.
    #[track_caller]
    pub fn next_event(&mut self) -> Value {
        parsed(&self.next_line())
    }

    /// The lines of stdout up to the first that `is_last`, which is among them. One deadline for
    /// all of them.
    #[track_caller]
    pub fn lines_until(&mut self, mut is_last: impl FnMut(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + self.deadline;
        let mut lines = Vec::new();
        loop {
            let line = self.line_before(deadline);
            let done = is_last(&line);
            lines.push(line);
            if done {
                return lines;
            }
        }
    }

    #[track_caller]
    fn line_before(&mut self, deadline: Instant) -> String {
        let index = self.stdout_taken;
        match self
            .stdout
            .wait_for(deadline, |text| text.lines.get(index).cloned())
        {
            Some(line) => {
                self.stdout_taken += 1;
                utf8(line)
            }
            None => panic!("no line {} on stdout\n{}", index + 1, self.said()),
        }
    }

    /// Reads the lines of these inserts, and fails unless they come exactly so: none missing, none twice, in order. Returns the
    /// longest time before one of them.
    #[track_caller]
    pub fn expect_inserts(&mut self, ids: impl IntoIterator<Item = i32>) -> Duration {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        for id in ids {
            assert_eq!(brief(&self.next_line()), format!("insert {id}"));
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    }

    /// Waits for a line on stderr that holds `part`, after the last one waited for, and returns it.
    #[track_caller]
    pub fn expect_stderr(&mut self, part: &str) -> String {
        let from = self.stderr_taken;
        let find = |text: &Text| {
            let lines = text.lines.iter().enumerate().skip(from);
            let mut shown =
                lines.map(|(index, line)| (index, String::from_utf8_lossy(line).into_owned()));
            shown.find(|(_, line)| line.contains(part))
        };
        match self.stderr.wait_for(Instant::now() + self.deadline, find) {
            Some((index, line)) => {
                self.stderr_taken = index + 1;
                line
            }
            None => panic!("no line with {part:?} on stderr\n{}", self.said()),
        }
    }

    /// Returns whether a line on stderr holds `part` so far.
    pub fn has_reported(&self, part: &str) -> bool {
        self.stderr.text().shown().contains(part)
    }

    /// Waits until the stream is open.
    #[track_caller]
    pub fn wait_open(&mut self) {
        self.expect_stderr(OPEN);
    }

    /// How many lines are on stdout so far. More may be under way.
    pub fn printed(&self) -> usize {
        self.stdout.text().lines.len()
    }

    /// Begins to read a stdout that was stalled.
    #[track_caller]
    pub fn read_stdout(&mut self) {
        let stalled = self.stalled.take().expect("stdout was stalled");
        self.stdout = Transcript::read(stalled, None);
    }

    /// Closes a stdout that was stalled, as a reader that dies does.
    #[track_caller]
    pub fn close_stdout(&mut self) {
        drop(self.stalled.take().expect("stdout was stalled"));
    }

    /// Waits until at least so many bytes wait in a stdout that is stalled.
    #[track_caller]
    pub fn wait_unread(&self, bytes: u64) {
        let stalled = self.stalled.as_ref().expect("stdout is stalled");
        let unread = || ioctl_fionread(stalled).expect("a pipe says how much is in it");
        if poll(self.deadline, || (unread() >= bytes).then_some(())).is_none() {
            panic!("{} bytes wait on stdout\n{}", unread(), self.said());
        }
    }

    /// Waits until the reader has read its lines and gone.
    #[track_caller]
    pub fn wait_reader_gone(&self) {
        let deadline = Instant::now() + self.deadline;
        let closed = self
            .stdout
            .wait_for(deadline, |text| text.closed.then_some(()));
        assert!(closed.is_some(), "stdout is still read\n{}", self.said());
    }

    /// Sends a signal again and again until it ends. For a second one: two that are sent at once
    /// count as one.
    #[track_caller]
    pub fn signal_until_end(mut self, signal: Signal) -> Finished {
        let status = poll(self.deadline, || {
            self.process.signal(signal);
            self.process.wait_for(Duration::ZERO)
        });
        match status {
            Some(status) => self.finished(status),
            None => panic!("it still runs after {:?}\n{}", self.deadline, self.said()),
        }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Returns the CPU time spent so far, user and system, of all threads.
    pub fn cpu_time(&self) -> Duration {
        procfs::cpu_time(self.pid())
    }

    /// Returns the largest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        procfs::peak_memory(self.pid())
    }

    /// Returns how often the thread of this name has waited so far.
    #[track_caller]
    pub fn waits_of_thread(&self, name: &str) -> u64 {
        procfs::waits_of_thread(self.pid(), name)
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Finished {
        let status = self.process.kill();
        self.finished(status)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        match self.process.wait_for(self.deadline) {
            Some(status) => self.finished(status),
            None => panic!("it still runs after {:?}\n{}", self.deadline, self.said()),
        }
    }

    #[track_caller]
    fn finished(self, status: ExitStatus) -> Finished {
        let deadline = Instant::now() + self.deadline;
        for transcript in [&self.stdout, &self.stderr] {
            // The process held the only other end of the pipe.
            let closed = transcript.wait_for(deadline, |text| text.closed.then_some(()));
            assert!(
                closed.is_some(),
                "another process holds its streams open\n{}",
                self.said()
            );
        }
        let mut stdout = self.stdout.text();
        Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: std::mem::take(&mut stdout.lines)
                .into_iter()
                .map(utf8)
                .collect(),
            torn: std::mem::take(&mut stdout.torn),
            stderr: self.stderr.text().shown(),
        }
    }

    /// For a failing test: what it said, and how much it printed.
    fn said(&self) -> String {
        let lines = self.stdout.text().lines.len();
        format!(
            "({lines} lines on stdout) stderr so far:\n{}",
            self.stderr.text().shown()
        )
    }
}

/// stdout is UTF-8 whatever the events hold.
#[track_caller]
fn utf8(line: Vec<u8>) -> String {
    match String::from_utf8(line) {
        Ok(line) => line,
        Err(error) => panic!(
            "stdout holds a line that is no UTF-8 ({error}): {:?}",
            error.as_bytes()
        ),
    }
}
