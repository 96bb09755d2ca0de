//! A `cswatch` that has ended: its exit code, what it printed, and checks of both.

use serde_json::Value;

use crate::events::parsed;

/// How a `cswatch` ended, and all that it printed.
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The complete lines of stdout, including those that the test has already read.
    pub stdout: Vec<String>,
    /// The bytes after the last newline on stdout: empty unless it was killed in the middle of a line.
    pub torn: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Fails, showing stderr, unless it ended with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        let Finished { signal, stderr, .. } = &self;
        assert_eq!(
            self.code,
            Some(code),
            "exit code (signal: {signal:?}); stderr:\n{stderr}"
        );
        self
    }

    /// Fails unless `cswatch` was refused: it ended with this exit code and printed only this error, as in [`Finished::expect_error`].
    #[track_caller]
    pub fn expect_failure(self, code: i32, message: &str, hint: &str) {
        let run = self.expect_code(code);
        let lines = if hint.is_empty() { 1 } else { 2 };
        assert_eq!(run.messages().len(), lines, "{}", run.stderr);
        assert_eq!(run.stdout, [""; 0]);
        run.expect_error(message, hint);
    }

    /// Fails unless stderr ends with an error whose message begins with `message` and whose hint is `hint`; empty for an error without a
    /// hint.
    #[track_caller]
    pub fn expect_error(&self, message: &str, hint: &str) {
        let (found_message, found_hint) = self.error();
        assert!(
            found_message.starts_with(message) && found_hint == hint,
            "not the error {message:?} with the hint {hint:?}\n{}",
            self.stderr
        );
    }

    /// Returns the lines of stderr, except for the one about a connection that takes more than a second. On a busy machine, any does.
    pub fn messages(&self) -> Vec<&str> {
        let lines = self.stderr.lines();
        lines
            .filter(|line| !line.contains("cswatch: connecting to "))
            .collect()
    }

    /// Returns the message and the hint of the error at the end of stderr; an empty hint for an error without one.
    ///
    /// # Panics
    /// If stderr does not end with an error.
    #[track_caller]
    pub fn error(&self) -> (&str, &str) {
        let mut lines = self.stderr.lines().rev();
        let mut last = lines.next().unwrap_or_default();
        let mut hint = "";
        if let Some((_, text)) = last.split_once(" cswatch: hint: ") {
            hint = text;
            last = lines.next().unwrap_or_default();
        }
        match last.split_once(" cswatch: error: ") {
            Some((_, message)) => (message, hint),
            None => panic!("no error at the end of stderr:\n{}", self.stderr),
        }
    }

    /// Returns the lines of stdout, parsed.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.stdout.iter().map(|line| parsed(line)).collect()
    }
}
