//! Kinds of failure, the exit code of each, and the way out that is told with it.
//! Says what went wrong; printing it is main's job.

use std::fmt;

/// Why cswatch stopped, as a script can tell it: each kind is one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None of the kinds below.
    Other,
    /// The command line or a file named on it asks for something that cannot be.
    Usage,
    /// The server no longer has the history, or the position cannot be resumed from.
    HistoryLost,
    /// The watched collection or database was dropped or renamed, which ends its stream.
    Invalidated,
    /// The position file is damaged, foreign, locked or cannot be written.
    PositionFile,
    /// Events cannot be written out.
    Output,
    /// No server could be reached.
    Unreachable,
    /// The server was reached and refuses: authentication, privilege, standalone, pipeline, event too large.
    Refused,
}

impl Kind {
    /// The process exit code. 0 is "asked to stop", 130 and 143 a second signal; neither is a failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::HistoryLost => 3,
            Self::Invalidated => 4,
            Self::PositionFile => 5,
            Self::Output => 6,
            Self::Unreachable => 7,
            Self::Refused => 8,
        }
    }
}

/// A failure as the user is told it: what happened, on which input, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What happened and on which input; one clause, no full stop.
    pub what: String,
    /// What to do about it, with flags that can be pasted; empty when there is nothing to say.
    pub way_out: String,
}

impl Failure {
    /// A failure without a way out yet; see [`Failure::way_out`].
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            way_out: String::new(),
        }
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn way_out(mut self, way_out: impl Into<String>) -> Self {
        self.way_out = way_out.into();
        self
    }

    /// A failure of the command line: exit code 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.way_out.is_empty() {
            write!(f, "; {}", self.way_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error: that of the [`Failure`] in its chain, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map_or(Kind::Other, |failure| failure.kind)
        .exit_code()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn finds_the_exit_code_under_added_context() {
        let error = Err::<(), _>(Failure::new(Kind::PositionFile, "damaged"))
            .context("while starting")
            .unwrap_err();
        assert_eq!(exit_code(&error), 5);
        assert_eq!(exit_code(&anyhow::anyhow!("unknown")), 1);
    }

    #[test]
    fn says_what_happened_and_then_the_way_out_in_one_line() {
        let failure = Failure::usage("--op inserts is unknown").way_out("use --op insert");
        assert_eq!(
            failure.to_string(),
            "--op inserts is unknown; use --op insert"
        );
    }
}
