//! Messages on stderr.

use clap::Args;

use crate::config::LogFormat;

use super::boolish;

/// Messages on stderr.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages on stderr")]
pub(crate) struct LogArgs {
    /// Print more messages; repeat for even more.
    ///
    /// -v adds the servers, their version, the pipeline and what is tried after an error; -vv the driver's heartbeats, connections and
    /// names of commands.
    #[arg(short, long, env = "CSWATCH_VERBOSE", action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Print only errors.
    #[arg(short, long, env = "CSWATCH_QUIET", value_parser = boolish())]
    pub(crate) quiet: bool,
    /// Draw the status line next to events too.
    ///
    /// A line with the number of events, their rate and the lag is drawn if stderr is a terminal and events go into a file or are
    /// discarded. With this option, it is also drawn if they go into a pipe or to the terminal, where it may mix with them, and with
    /// --quiet or --log-format json. Without a terminal it has no effect. SIGUSR1 prints the line once.
    #[arg(long, env = "CSWATCH_STATUS", value_parser = boolish())]
    pub(crate) status: bool,
    /// Format of the messages.
    ///
    /// text: for people. json: one JSON object per line.
    #[arg(
        long,
        env = "CSWATCH_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    pub(crate) log_format: LogFormat,
}
