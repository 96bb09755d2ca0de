//! A `cswatch` that has ended: its exit code, what it printed, and checks of both.

use serde_json::Value;

use crate::events::parsed;

/// How a `cswatch` ended, and all that it printed.
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The complete lines of stdout, those handed out before among them.
    pub stdout: Vec<String>,
    /// What followed the last line end on stdout: empty unless it was killed in the middle of a
    /// line.
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

    /// Fails unless it was refused: it ended with this exit code and printed nothing but this error.
    #[track_caller]
    pub fn expect_failure(self, code: i32, message: &str, hint: &str) {
        let run = self.expect_code(code);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert_eq!(run.stdout, [""; 0]);
        run.expect_error(message, hint);
    }

    /// Fails unless the last it reported is an error whose message begins with `message` and whose hint ends with `hint`.
    #[track_caller]
    pub fn expect_error(&self, message: &str, hint: &str) {
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(
            last.contains(&format!(" cswatch: error: {message}")) && last.ends_with(hint),
            "not the error {message}\n.. {hint}\n{}",
            self.stderr
        );
    }

    /// Returns the lines of stdout, parsed.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.stdout.iter().map(|line| parsed(line)).collect()
    }
}
