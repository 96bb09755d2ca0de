//! The lines of one output stream of a process, as they arrive, for tests to wait for.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// The output that was read so far. A separate thread reads it.
#[derive(Default)]
pub struct Transcript {
    text: Mutex<Text>,
    grown: Condvar,
}

/// The lines of a stream, and how it ended.
#[derive(Default)]
pub struct Text {
    /// Complete lines, without their newlines. Bytes, because a lossy conversion would hide invalid UTF-8 from the test.
    pub lines: Vec<Vec<u8>>,
    /// The bytes after the last newline: the start of a line, or a torn line of a process that was killed in the middle of a write.
    pub torn: Vec<u8>,
    /// Whether the stream has ended.
    pub closed: bool,
}

impl Transcript {
    /// Reads a stream to its end, or until `limit` lines were read; then closes it, even if its writer has not finished.
    pub fn read(stream: impl Read + Send + 'static, limit: Option<usize>) -> Arc<Transcript> {
        let transcript = Arc::new(Transcript::default());
        let filled = Arc::clone(&transcript);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut left = limit.unwrap_or(usize::MAX);
            while left > 0 {
                // An error is treated as the end of the stream: the other end of the pipe is closed.
                let piece = stream.fill_buf().unwrap_or_default();
                if piece.is_empty() {
                    break;
                }
                let end = piece.iter().position(|byte| *byte == b'\n');
                let mut text = filled.text();
                text.torn
                    .extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
                let taken = match end {
                    Some(end) => {
                        let line = std::mem::take(&mut text.torn);
                        text.lines.push(line);
                        left -= 1;
                        end + 1
                    }
                    None => piece.len(),
                };
                drop(text);
                stream.consume(taken);
                filled.grown.notify_all();
            }
            drop(stream);
            filled.text().closed = true;
            filled.grown.notify_all();
        });
        transcript
    }

    /// Waits until `find` returns a value for the output so far. Returns `None` if the deadline passes or the stream ends first.
    pub fn wait_for<T>(
        &self,
        deadline: Instant,
        mut find: impl FnMut(&Text) -> Option<T>,
    ) -> Option<T> {
        let mut text = self.text();
        loop {
            if let Some(found) = find(&text) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.closed || left.is_zero() {
                return None;
            }
            text = self
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Returns the output that was read so far.
    pub fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    /// Returns the whole text, with the torn line, for messages.
    pub fn shown(&self) -> String {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        if !self.torn.is_empty() {
            lines.push(String::from_utf8_lossy(&self.torn));
        }
        lines.join("\n")
    }
}
