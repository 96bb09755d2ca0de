//! Where to start or resume, and when to stop.

use std::path::PathBuf;

use clap::Args;

use super::boolish;

/// Where to start or resume, and when to stop.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Start, resume and stop")]
pub(crate) struct CheckpointArgs {
    /// File that holds the checkpoint.
    ///
    /// The stream resumes after the checkpoint in the file, and cswatch keeps the file up to date. If there is no file yet, the
    /// stream starts at --start and cswatch creates the file at once. Default: DB.COLL-HASH.json in $XDG_STATE_HOME/cswatch, or in
    /// ~/.local/state/cswatch if XDG_STATE_HOME is unset; there is one for each deployment and scope, whatever the filter and
    /// the options. Only one cswatch at a time can use a resume file.
    #[arg(
        long,
        env = "CSWATCH_RESUME_FILE",
        value_name = "FILE",
        conflicts_with = "no_resume"
    )]
    pub(crate) resume_file: Option<PathBuf>,
    /// Neither read nor write a checkpoint.
    #[arg(long, env = "CSWATCH_NO_RESUME", value_parser = boolish())]
    pub(crate) no_resume: bool,
    /// Start of the first run, as in -1h [default: now].
    ///
    /// now; earliest (the oldest event in the oplog); an RFC 3339 time as in 2026-01-31T12:00:00Z; a date as in 2026-01-31, which is
    /// its midnight in UTC; a time ago as in -1h or -30m;
    /// seconds since 1970; or a cluster time, as in Timestamp(1769860800, 1) or {"$timestamp":{"t":1769860800,"i":1}}. Ignored once the resume file holds a checkpoint.
    #[arg(
        long,
        env = "CSWATCH_START",
        value_name = "WHEN",
        allow_hyphen_values = true
    )]
    pub(crate) start: Option<String>,
    /// Start after this resume token.
    ///
    /// The _data of an event's _id (hex), or the whole _id as Extended JSON or as mongosh shows it. Overrides the checkpoint in the resume file, which is
    /// then updated from here on.
    #[arg(
        long,
        alias = "resume-after",
        env = "CSWATCH_START_AFTER",
        value_name = "TOKEN"
    )]
    pub(crate) start_after: Option<String>,
    /// Print the existing documents too.
    ///
    /// Each document is a line of the form of an event, with the operationType snapshot. The stream is read meanwhile, and no change
    /// is missed. The filter applies to these lines too, except for --op. On the first run only: the checkpoint holds how far the
    /// snapshot has come, a restart continues it, and a complete one is not repeated.
    #[arg(long, env = "CSWATCH_SNAPSHOT", value_parser = boolish())]
    pub(crate) snapshot: bool,
    /// Stop after printing this many events.
    #[arg(long, env = "CSWATCH_COUNT", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop once this time is reached.
    ///
    /// Prints events up to and including this time, which is written as for --start. now is the server's operation time at
    /// startup: cswatch catches up and stops, even if there is no event.
    #[arg(
        long,
        env = "CSWATCH_UNTIL",
        value_name = "WHEN",
        allow_hyphen_values = true
    )]
    pub(crate) until: Option<String>,
}
