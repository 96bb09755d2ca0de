//! Stdout or a regular file, with writes that report how much was accepted.
//! `writer` decides when to write and when to sync.

use std::io::{self, IsTerminal as _, Write as _};

use crate::config::Color;
use crate::error::{Failure, Kind};

use super::OutputFile;
use super::stdout::Stdout;

/// The destination of lines.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output, unbuffered: bytes that a write did not accept must not count as printed.
    Stdout(Stdout),
    /// A regular file that only this process appends to.
    File(OutputFile),
}

/// A write that failed before all bytes were accepted.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Bytes that were accepted.
    pub written: usize,
    /// The reason why no more were.
    pub error: io::Error,
}

/// State of the process that reads a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderState {
    /// It may read more.
    Reading,
    /// It closed the pipe: it has read enough.
    Gone,
}

impl Output {
    /// Opens the standard output of this process.
    ///
    /// # Errors
    /// Exit code 6 when it is closed.
    pub(crate) fn stdout() -> Result<Self, Failure> {
        Stdout::open().map(Self::Stdout).map_err(|error| {
            Failure::new(Kind::Output, format!("cannot write to stdout: {error}")).hint(
                "give it a destination: > /dev/null discards what is printed, --output FILE appends events to a file",
            )
        })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// How much was accepted, and why no more was.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), PartialWrite> {
        let mut written = 0;
        while written < bytes.len() {
            let left = &bytes[written..];
            let accepted = match self {
                Self::Stdout(stdout) => stdout.write(left),
                Self::File(output) => output.file.write(left),
            };
            match (accepted, &self) {
                (Ok(0), _) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Err(PartialWrite { written, error });
                }
                (Ok(accepted), _) => written += accepted,
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(error), Self::Stdout(stdout)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A parent may have made the shared terminal or pipe non-blocking.
                    stdout
                        .wait_writable()
                        .map_err(|error| PartialWrite { written, error })?;
                }
                (Err(error), _) => return Err(PartialWrite { written, error }),
            }
        }
        Ok(())
    }

    /// Ends the torn line that an earlier process left on stdout, so that the next line is whole. The file given by `--output` has none.
    ///
    /// # Errors
    /// The error of the write; nothing was written.
    pub(super) fn end_torn_line(&mut self) -> Result<(), PartialWrite> {
        match self {
            Self::Stdout(stdout) => stdout
                .end_torn_line()
                .map_err(|error| PartialWrite { written: 0, error }),
            Self::File(_) => Ok(()),
        }
    }

    /// Writes text that is not an event, for a command that has more to write.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be written although the reader is not gone.
    pub(crate) fn print(&mut self, text: &[u8]) -> Result<ReaderState, Failure> {
        match self.write(text) {
            Ok(()) => Ok(ReaderState::Reading),
            Err(PartialWrite { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ReaderState::Gone)
            }
            Err(PartialWrite { error, .. }) => Err(stdout_failure(&error)),
        }
    }

    /// Returns the file given by `--output`; `None` for stdout.
    pub(crate) fn as_file_mut(&mut self) -> Option<&mut OutputFile> {
        match self {
            Self::Stdout(_) => None,
            Self::File(file) => Some(file),
        }
    }
}

/// Returns the failure of a write to stdout.
pub(super) fn stdout_failure(error: &io::Error) -> Failure {
    Failure::new(Kind::Output, format!("cannot write to stdout: {error}"))
}

/// Returns whether text on stdout is colored. `auto` follows <https://no-color.org/>.
pub(crate) fn is_colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// Writes text that only explains the exit code of a command. Supervisors discard it, some with `/dev/null` opened in the way that a closed
/// stdout looks like.
///
/// # Errors
/// As [`print()`], except when stdout is closed.
pub(crate) fn print_if_open(text: &[u8]) -> Result<(), Failure> {
    match Stdout::open() {
        Ok(stdout) => Output::Stdout(stdout).print(text).map(|_: ReaderState| ()),
        Err(_) => Ok(()),
    }
}

/// Writes the text of a command to stdout. A reader that closes the pipe has read enough.
///
/// # Errors
/// Exit code 6 when it cannot be written.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    Output::stdout()?.print(text).map(|_: ReaderState| ())
}
