//! Where lines go: stdout, or a regular file. Writes, syncs, reopens, and knows how much was accepted.
//! When to write and when to sync is decided in `writer`.

use std::io::{self, IsTerminal as _, Write};

use crate::config::Color;
use crate::error::{Failure, Kind};
use crate::platform;

use super::OutputFile;

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output, unbuffered: what is not accepted by a write is not counted as printed.
    Stdout(platform::Stdout),
    /// A regular file that this process alone appends to.
    File(OutputFile),
}

/// A write that stopped early.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// Bytes that were accepted before.
    pub written: usize,
    /// Why no more were.
    pub error: io::Error,
}

/// Whoever reads what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderState {
    /// May want more.
    Reading,
    /// Has read enough.
    Gone,
}

impl Output {
    /// Standard output of this process.
    ///
    /// # Errors
    /// Exit code 6 when it is closed.
    pub(crate) fn stdout() -> Result<Self, Failure> {
        platform::stdout()
            .map(Self::Stdout)
            .map_err(|error| Failure::new(Kind::Output, format!("stdout: {error}")))
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// How much was accepted, and why no more was.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Interrupted> {
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
                    return Err(Interrupted { written, error });
                }
                (Ok(accepted), _) => written += accepted,
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(error), Self::Stdout(stdout)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A parent may have made the shared terminal or pipe non-blocking.
                    platform::wait_writable(stdout)
                        .map_err(|error| Interrupted { written, error })?;
                }
                (Err(error), _) => return Err(Interrupted { written, error }),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`, when they are accepted as one and without any wait. Otherwise answers false, and nothing was written: also
    /// when something is wrong, which the next [`Output::write`] finds.
    pub(crate) fn write_at_once(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Stdout(stdout) => stdout.write_at_once(bytes),
            // A disk may take its time.
            Self::File(_) => false,
        }
    }

    /// Writes what is no event: text of a command that has more to come.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be written, though somebody would read it.
    pub(crate) fn print(&mut self, text: &[u8]) -> Result<ReaderState, Failure> {
        match self.write(text) {
            Ok(()) => Ok(ReaderState::Reading),
            Err(Interrupted { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ReaderState::Gone)
            }
            Err(Interrupted { error, .. }) => Err(Failure::new(
                Kind::Output,
                format!("stdout cannot be written: {error}"),
            )),
        }
    }

    /// The file behind `--output`; `None` for stdout.
    pub(crate) fn as_file_mut(&mut self) -> Option<&mut OutputFile> {
        match self {
            Self::Stdout(_) => None,
            Self::File(file) => Some(file),
        }
    }
}

/// Whether what goes to stdout is coloured; see <https://no-color.org/> for what `auto` minds.
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

/// Writes to stdout what is no event: the text of a command. A reader that goes away has read enough of it.
///
/// # Errors
/// Exit code 6 when it cannot be written.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    Output::stdout()?.print(text).map(|_: ReaderState| ())
}
