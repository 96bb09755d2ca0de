//! The path of events to stdout or to a file: events become lines, lines are written, and only then the checkpoint moves.
//! Knows neither the server nor the command line.

mod file;
mod limits;
mod output;
mod shared_writer;
mod stdout;
mod writer;

pub(crate) use self::file::{Found, Opened, OutputFile, ensure_openable};
pub(crate) use self::limits::{Limits, Proof, Until};
pub(crate) use self::output::{Output, ReaderState, is_colored, print, print_if_open};
pub(crate) use self::shared_writer::SharedWriter;
pub(crate) use self::writer::{Ended, LineStyle, Writer};
