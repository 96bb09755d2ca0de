//! Sinks: stdout and the output file.

/// Stdout that is closed.
mod closed_stdout;
/// An output file that is deleted while lines are written to it.
mod deleted;
/// Output files that hold each event exactly once.
mod file;
/// Which file is the watch's own.
mod identity;
/// Readers of stdout that stall or exit.
pub(crate) mod readers;
/// A kill between the renaming of a rotation and its signal.
mod rotation_after_kill;
/// Two uses of one file.
mod same_file;
/// stdout and stderr in one file.
mod shared_with_stderr;
/// An output file with its resume file.
mod target;
/// Stdout that is a regular file, and half lines in it.
mod torn_tail;
/// Output that cannot be written.
mod unwritable;
