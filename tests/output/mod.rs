//! Where lines go.

/// Each event exactly once in a file.
mod file;
/// Readers of stdout that stall or go away.
pub(crate) mod readers;
/// Two uses of one file.
mod same_file;
/// Output that cannot be written.
mod unwritable;
