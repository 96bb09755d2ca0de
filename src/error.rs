//! Failures: the kind, which decides the exit code, the message and the hint.
//! Knows nothing of how they are printed.

use std::fmt;

/// The kind of a failure. Each has its own exit code, by which a script can distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any failure that is not of the kinds below.
    Other,
    /// The command line, or a file named on it, is invalid.
    Usage,
    /// The server no longer has the history, or does not resume from the checkpoint.
    HistoryLost,
    /// The watched collection or database was dropped or renamed, which invalidates the stream.
    Invalidated,
    /// The resume file is damaged, belongs to another stream, is locked, or cannot be written.
    ResumeFile,
    /// Events cannot be written to the output.
    Output,
    /// No server could be reached.
    Unreachable,
    /// The server was reached and refuses the stream: authentication, privileges, standalone, pipeline, event too large.
    Refused,
}

impl Kind {
    /// Returns the exit code of the process. 0 after a requested shutdown, and 130 and 143 after a second signal, are not failures.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::HistoryLost => 3,
            Self::Invalidated => 4,
            Self::ResumeFile => 5,
            Self::Output => 6,
            Self::Unreachable => 7,
            Self::Refused => 8,
        }
    }
}

/// A failure as it is reported to the user: what failed, on which input, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What failed, on which input, and why; one clause, no full stop.
    pub message: String,
    /// The part of the input that is invalid, and below it a line with a caret under the place. Without control characters.
    pub excerpt: Option<[String; 2]>,
    /// What to do about it, with flags that can be pasted; empty if there is nothing to do.
    pub hint: String,
}

impl Failure {
    /// Creates a failure without a hint; see [`Failure::hint`].
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            excerpt: None,
            hint: String::new(),
        }
    }

    /// Adds the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds the part of the input that is invalid.
    #[must_use]
    pub fn excerpt(mut self, excerpt: [String; 2]) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    /// Creates a failure of the command line, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Returns the exit code of an error: that of the [`Failure`] in its chain, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    failure(error)
        .map_or(Kind::Other, |failure| failure.kind)
        .exit_code()
}

/// Returns the hint of the [`Failure`] in an error's chain, if it has one.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&str> {
    failure(error)
        .map(|failure| failure.hint.as_str())
        .filter(|hint| !hint.is_empty())
}

/// Returns the invalid part of the input, and the line with the caret, of the [`Failure`] in an error's chain, if it has them.
pub(crate) fn excerpt(error: &anyhow::Error) -> Option<&[String; 2]> {
    failure(error)?.excerpt.as_ref()
}

fn failure(error: &anyhow::Error) -> Option<&Failure> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn finds_the_exit_code_under_added_context() {
        let error = Err::<(), _>(Failure::new(Kind::ResumeFile, "damaged"))
            .context("while starting")
            .unwrap_err();
        assert_eq!(exit_code(&error), 5);
        assert_eq!(exit_code(&anyhow::anyhow!("unknown")), 1);
    }

    #[test]
    fn finds_the_hint_under_added_context() {
        let failure = Failure::usage("--op inserts is unknown").hint("use --op insert");
        assert_eq!(failure.to_string(), "--op inserts is unknown");
        let error = Err::<(), _>(failure).context("while starting").unwrap_err();
        assert_eq!(hint(&error), Some("use --op insert"));
        assert_eq!(hint(&anyhow::anyhow!("unknown")), None);
    }
}
