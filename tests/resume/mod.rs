//! Where a watch starts, and how it resumes.

/// Checkpoints of another filter.
mod changed_filter;
/// History that the server no longer has.
mod history;
/// Resume files that are refused.
mod invalid_resume_file;
/// Drops and renames, which end a stream.
mod invalidate;
/// `kill -9`, over and over.
mod kills;
/// The resume file, and restarts from it.
mod resume_file;
/// `--start` and `--start-after`.
mod start;
/// Resume tokens recorded from real servers.
mod token;
