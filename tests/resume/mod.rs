//! Where a watch starts, and how it resumes.

/// Checkpoints of another filter.
mod changed_filter;
/// The default resume file.
mod default_resume_file;
/// Checkpoints of another deployment.
mod deployment;
/// History that the server no longer has.
mod history;
/// Resume files that are refused.
mod invalid_resume_file;
/// Drops and renames, which end a stream.
mod invalidate;
/// `kill -9`, over and over.
mod kills;
/// Members that lag.
mod lagging_member;
/// Members that lack history that others have.
mod member_without_history;
/// The resume file, and restarts from it.
mod resume_file;
/// `--start` and `--start-after`.
mod start;
/// `--start` shortly before the server gets there.
mod start_ahead_of_the_server;
/// Resume tokens recorded from real servers.
mod token;
