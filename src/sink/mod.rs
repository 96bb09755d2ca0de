//! The path of events to stdout or to a file: events become lines, lines are written, and only then the checkpoint moves.
//! Knows neither the server nor the command line.

mod file;
#[cfg(feature = "nats")]
pub(crate) mod jetstream;
mod limits;
mod output;
mod shared_writer;
mod stdout;
mod writer;

use crate::error::{Failure, Kind};
use crate::extjson::Malformed;

pub(crate) use self::file::{Found, Opened, OutputFile, ensure_openable};
pub(crate) use self::limits::{Limits, Proof, Until};
pub(crate) use self::output::{Output, ReaderState, is_colored, print, print_if_open};
pub(crate) use self::shared_writer::SharedWriter;
pub(crate) use self::writer::{Ended, LineStyle, Writer};

/// The size up to which a line buffer is kept. One that grew beyond it for a large event is shrunk.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Returns the failure of an event whose BSON is malformed.
fn undecodable(malformed: &Malformed) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("cannot decode an event from the server: {malformed}"),
    )
    .hint("a restart reads it again; look for a fault of the server, or of a proxy in front of it")
}

/// Warns that the line of an event is not exactly what the server sent.
fn warn_of_invalid_text() {
    tracing::warn!("invalid UTF-8 in an event is printed as U+FFFD (reported once)");
}
