//! Messages and the status line on their way to stderr. One thread writes them, so that a terminal or pipe that is not read stops that
//! thread alone. Messages that wait are bounded in bytes; beyond that they are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::count::counted;

/// Bytes of messages that may wait. More than a run with `-vv` logs in a second; a pipe holds 64 KiB besides.
const CAPACITY: usize = 256 * 1024;

/// Pause before a write is tried again to a stderr that another process made non-blocking.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// What waits to be written. The thread and the rest of the program share it.
#[derive(Debug)]
pub(super) struct Stderr {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whether there is a thread. Without one, messages are written by the thread that logs them.
    has_thread: bool,
    /// Messages, the oldest first.
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the messages.
    bytes: usize,
    /// Messages dropped since the last report about it.
    dropped: u64,
    /// What the status line changes to; `Some(None)` removes it. Only the newest change counts.
    status: Option<Option<String>>,
    /// Whether the thread is writing.
    is_writing: bool,
}

/// The next thing that the thread does.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    Write(Vec<u8>),
    /// Reports the number of messages that were dropped.
    ReportDropped(u64),
    SetStatus(Option<String>),
}

impl Stderr {
    pub(super) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                has_thread: false,
                messages: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                status: None,
                is_writing: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Starts the thread. If the system refuses one, messages are written without it, and there is no status line.
    pub(super) fn start(&'static self) {
        let thread = thread::Builder::new().name("stderr".to_owned());
        let started = thread.spawn(move || self.write_all());
        self.state().has_thread = started.is_ok();
    }

    /// Queues a message. It is dropped if too many wait, unless it `is_error`: that is the one that explains the exit code.
    pub(super) fn post(&self, message: &[u8], is_error: bool) {
        let mut state = self.state();
        if !state.has_thread {
            drop(state);
            write(message);
            return;
        }
        if state.bytes + message.len() > CAPACITY && !is_error {
            state.dropped += 1;
            return;
        }
        state.bytes += message.len();
        state.messages.push_back(message.to_owned());
        self.changed.notify_all();
    }

    /// Shows `text` as the status line; `None` removes the line.
    pub(super) fn set_status(&self, text: Option<String>) {
        self.state().status = Some(text);
        self.changed.notify_all();
    }

    /// Waits until everything is written, for at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while state.has_thread && !state.is_flushed() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn write_all(&self) {
        let mut status_line = None;
        loop {
            match self.next_work() {
                Work::Write(message) => above(status_line.as_ref(), || write(&message)),
                Work::ReportDropped(count) => {
                    let dropped = counted(count, "message");
                    tracing::warn!("stderr was not read: dropped {dropped}");
                }
                Work::SetStatus(Some(text)) => {
                    let bar = status_line.get_or_insert_with(new_status_line);
                    bar.set_message(text);
                    bar.tick();
                }
                Work::SetStatus(None) => {
                    if let Some(bar) = status_line.take() {
                        bar.finish_and_clear();
                    }
                }
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut state = self.state();
        state.is_writing = false;
        loop {
            if let Some(work) = state.take_work() {
                state.is_writing = true;
                return work;
            }
            // A flush waits for this.
            self.changed.notify_all();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes messages first, then the report about dropped ones, and the status line last: it stands below.
    fn take_work(&mut self) -> Option<Work> {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.len();
            return Some(Work::Write(message));
        }
        if self.dropped > 0 {
            return Some(Work::ReportDropped(std::mem::take(&mut self.dropped)));
        }
        self.status.take().map(Work::SetStatus)
    }

    fn is_flushed(&self) -> bool {
        self.messages.is_empty() && self.dropped == 0 && self.status.is_none() && !self.is_writing
    }
}

/// Creates the line at the bottom of the terminal. It cuts off what does not fit.
fn new_status_line() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Calls `write` while the status line is hidden, and draws it again below what was written.
fn above(status_line: Option<&ProgressBar>, write: impl FnOnce()) {
    match status_line {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes a message. One that stderr does not accept is lost: there is nowhere to report that.
fn write(mut message: &[u8]) {
    let mut stderr = io::stderr().lock();
    while !message.is_empty() {
        match stderr.write(message) {
            Ok(0) => return,
            Ok(written) => message = &message[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(RETRY_INTERVAL);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As with a thread that is stuck in a write.
    fn stuck() -> Stderr {
        let stderr = Stderr::new();
        stderr.state().has_thread = true;
        stderr
    }

    #[test]
    fn drops_and_counts_messages_beyond_the_capacity_except_errors() {
        let stderr = stuck();
        let message = vec![b'x'; CAPACITY / 2];
        for _ in 0..5 {
            stderr.post(&message, false);
        }
        stderr.post(b"error", true);
        let mut state = stderr.state();
        let work: Vec<_> = std::iter::from_fn(|| state.take_work()).collect();
        let [first, second] = [message.clone(), message].map(Work::Write);
        let error = Work::Write(b"error".to_vec());
        assert_eq!(work, [first, second, error, Work::ReportDropped(3)]);
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn keeps_only_the_newest_status() {
        let stderr = stuck();
        for number in 0..10_000 {
            stderr.set_status(Some(number.to_string()));
        }
        let mut state = stderr.state();
        let newest = Work::SetStatus(Some("9999".to_owned()));
        assert_eq!(state.take_work(), Some(newest));
        assert_eq!(state.take_work(), None);
    }

    #[test]
    fn stops_waiting_for_a_stuck_write_after_the_timeout() {
        let stderr = stuck();
        stderr.post(b"message", false);
        let started = Instant::now();
        stderr.flush(Duration::from_millis(50));
        assert!(started.elapsed() >= Duration::from_millis(50));
    }
}
