//! Starting and resuming a watch.

/// Checkpoints saved with another filter.
mod changed_filter;
/// History that the server no longer has.
mod history;
/// Resume files that are refused.
mod invalid_resume_file;
/// Drops and renames, which invalidate a stream.
mod invalidate;
/// `kill -9` at any moment.
mod kills;
/// The resume file, and resuming from it.
mod resume_file;
/// `--start` and `--start-after`.
mod start;
/// Resume tokens recorded from real servers.
mod token;
