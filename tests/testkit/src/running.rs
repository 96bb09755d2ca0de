//! A running `cswatch`, and waits for its output. Every wait has a deadline, and fails at the line of the test, with all of stderr.

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

/// Part of the message on stderr that the stream is open: `cswatch` prints every write from then on.
const OPEN: &str = "watching";

/// The least number of bytes in a full pipe: it has 16 pages, and a short line may occupy one of them alone.
pub const PIPE_FULL: u64 = 15 * 4096;

/// A running `cswatch`. Killed on drop.
pub struct Running {
    process: Process,
    stdout: Arc<Transcript>,
    /// The read end of stdout while the test does not read it.
    stalled: Option<PipeReader>,
    stderr: Arc<Transcript>,
    /// Number of lines of stdout that the test has read.
    stdout_taken: usize,
    /// Number of lines of stderr up to the last one that the test waited for.
    stderr_taken: usize,
    deadline: Duration,
    /// Its `XDG_STATE_HOME`, unless the test has set another one.
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

    /// Waits for the next line of stdout, and returns it.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        self.line_before(Instant::now() + self.deadline)
    }

    /// Waits for the next line of stdout, and returns it parsed.
    #[track_caller]
    pub fn next_event(&mut self) -> Value {
        parsed(&self.next_line())
    }

    /// Reads lines of stdout up to and including the first one for which `is_last` returns true. All of them share one deadline.
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
            None => panic!("no line {} on stdout\n{}", index + 1, self.output()),
        }
    }

    /// Reads the lines of these inserts, and fails unless they are exactly the next ones: none missing, none twice, in order. Returns
    /// the longest wait for one of them.
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

    /// Waits for a line on stderr that contains `part`, after the last one that the test waited for, and returns it.
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
            None => panic!("no line with {part:?} on stderr\n{}", self.output()),
        }
    }

    /// Returns whether stderr contains `part` so far.
    pub fn has_reported(&self, part: &str) -> bool {
        self.stderr.text().shown().contains(part)
    }

    /// Waits until the stream is open.
    #[track_caller]
    pub fn wait_open(&mut self) {
        self.expect_stderr(OPEN);
    }

    /// Returns the number of lines on stdout so far. More may be in the pipe.
    pub fn printed(&self) -> usize {
        self.stdout.text().lines.len()
    }

    /// Starts reading a stdout that was stalled.
    #[track_caller]
    pub fn read_stdout(&mut self) {
        let stalled = self.stalled.take().expect("stdout was stalled");
        self.stdout = Transcript::read(stalled, None);
    }

    /// Closes a stdout that was stalled, as when its reader dies.
    #[track_caller]
    pub fn close_stdout(&mut self) {
        drop(self.stalled.take().expect("stdout was stalled"));
    }

    /// Waits until at least this number of bytes is in the pipe of a stalled stdout.
    #[track_caller]
    pub fn wait_unread(&self, bytes: u64) {
        let stalled = self.stalled.as_ref().expect("stdout is stalled");
        let unread = || ioctl_fionread(stalled).expect("the number of bytes in a pipe");
        if poll(self.deadline, || (unread() >= bytes).then_some(())).is_none() {
            panic!(
                "only {} bytes in the pipe of stdout\n{}",
                unread(),
                self.output()
            );
        }
    }

    /// Waits until the reader has read its lines and closed the pipe.
    #[track_caller]
    pub fn wait_reader_gone(&self) {
        let deadline = Instant::now() + self.deadline;
        let closed = self
            .stdout
            .wait_for(deadline, |text| text.closed.then_some(()));
        assert!(closed.is_some(), "stdout is still read\n{}", self.output());
    }

    /// Sends a signal repeatedly until the process ends. For a second signal: the kernel merges two that are sent in quick succession.
    #[track_caller]
    pub fn signal_until_end(mut self, signal: Signal) -> Finished {
        let status = poll(self.deadline, || {
            self.process.signal(signal);
            self.process.wait_for(Duration::ZERO)
        });
        match status {
            Some(status) => self.finished(status),
            None => panic!(
                "cswatch still runs after {:?}\n{}",
                self.deadline,
                self.output()
            ),
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

    /// Returns how often the thread with this name has waited so far.
    #[track_caller]
    pub fn waits_of_thread(&self, name: &str) -> u64 {
        procfs::waits_of_thread(self.pid(), name)
    }

    /// Kills it with SIGKILL, and returns its output.
    pub fn kill(mut self) -> Finished {
        let status = self.process.kill();
        self.finished(status)
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        match self.process.wait_for(self.deadline) {
            Some(status) => self.finished(status),
            None => panic!(
                "cswatch still runs after {:?}\n{}",
                self.deadline,
                self.output()
            ),
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
                self.output()
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

    /// Returns stderr and the number of lines on stdout, for the message of a test that fails.
    fn output(&self) -> String {
        let lines = self.stdout.text().lines.len();
        format!(
            "({lines} lines on stdout) stderr so far:\n{}",
            self.stderr.text().shown()
        )
    }
}

/// Returns a line of stdout as text. It is valid UTF-8 even if an event is not.
#[track_caller]
fn utf8(line: Vec<u8>) -> String {
    match String::from_utf8(line) {
        Ok(line) => line,
        Err(error) => panic!(
            "a line on stdout is not UTF-8 ({error}): {:?}",
            error.as_bytes()
        ),
    }
}
