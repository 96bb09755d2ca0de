//! Sinks: stdout and the output file.

/// Output files that hold each event exactly once.
mod file;
/// Readers of stdout that stall or exit.
pub(crate) mod readers;
/// Output that cannot be written.
mod unwritable;
