//! Where lines go.

/// Stdout that is closed.
mod closed_stdout;
/// An output file that is deleted while lines are written to it.
mod deleted;
/// Each event exactly once in a file.
mod file;
/// Which file is the watch's own.
mod identity;
/// Readers of stdout that stall or go away.
pub(crate) mod readers;
/// A kill between the renaming of a rotation and its signal.
mod rotation_after_kill;
/// Two uses of one file.
mod same_file;
/// An output file with its resume file.
mod target;
/// Stdout that is a regular file, and half lines in it.
mod torn_tail;
/// Output that cannot be written.
mod unwritable;
