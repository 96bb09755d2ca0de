//! The command line. The doc comment of a field is its help text: the first line for `-h`, all of it for `--help`.
//! Holds the arguments as typed; `config` validates them.

mod command;
mod distinct_files;
mod escaped;
mod habits;
mod help;
mod misplaced;
#[cfg(feature = "nats")]
mod nats;
mod resolve;
mod usage_error;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::parser::ValueSource;
use clap::{
    ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum, ValueHint,
};

use crate::commands::man;
use crate::config::{Color, LogConfig, LogFormat, OnHistoryLost, OnInvalidate, OperationType};
use crate::error::Failure;

pub(crate) use self::command::{Command, HealthArgs, TokenArgs};
pub(crate) use self::resolve::{health, log, token, watch};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Watch MongoDB change streams: one line of JSON per event, nothing lost.
///
/// Opens a change stream on a collection, a database or a whole deployment, filters it on the server and prints each event
/// exactly as the server sent it, in Extended JSON. Saves the resume token of the last printed event in a resume file, so that the next run
/// resumes after it. stdout carries only events; everything else goes to stderr. Every option can also be set by an environment
/// variable: CSWATCH_ and its name in capitals, as in CSWATCH_RESUME_FILE.
#[derive(Debug, Parser)]
#[command(
    name = "cswatch",
    version,
    args_conflicts_with_subcommands = true,
    styles = STYLES,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// The subcommand; `None` watches.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The options of a watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

impl Cli {
    /// Parses the command line. Prints the help and exits with 0 if it asks for that.
    ///
    /// # Errors
    /// Exit code 2 when it is invalid.
    pub(crate) fn from_command_line() -> Result<Self, Failure> {
        misplaced::ensure_none_in_arguments()?;
        let refused = |error: clap::Error| match error.use_stderr() {
            true => usage_error::failure(error),
            false => error.exit(),
        };
        let matches = command().try_get_matches().map_err(refused)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(refused)?;
        cli.watch.record_typed(&matches);
        if let (Some(Command::Check(check)), Some((_, matches))) =
            (&mut cli.command, matches.subcommand())
        {
            check.watch.record_typed(matches);
        }
        Ok(cli)
    }
}

/// Returns the settings of the messages about a command line that is invalid.
pub(crate) fn log_of_usage_error() -> LogConfig {
    LogConfig {
        quiet: false,
        verbose: 0,
        format: usage_error::log_format(),
    }
}

impl WatchArgs {
    /// Returns whether events go to NATS JetStream instead of stdout.
    #[cfg(feature = "nats")]
    pub(crate) fn delivers_to_nats(&self) -> bool {
        self.nats.nats.is_some()
    }

    /// Returns false: this build has no JetStream sink.
    #[cfg(not(feature = "nats"))]
    #[expect(clippy::unused_self, reason = "the same signature in every build")]
    pub(crate) fn delivers_to_nats(&self) -> bool {
        false
    }

    /// Records which values that may hold a secret were given as arguments.
    fn record_typed(&mut self, matches: &ArgMatches) {
        let is_typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        self.connection.is_uri_typed = is_typed("uri");
        #[cfg(feature = "nats")]
        {
            self.nats.is_url_typed = is_typed("nats");
        }
    }
}

/// Returns clap's definition of the command line. The environment variables are hidden: the help states the one rule for their names.
pub(crate) fn command() -> clap::Command {
    let prepared = |arg: clap::Arg| {
        let arg = arg.hide_env(true);
        // Unless its type is a path, a value is not a file. Shells complete files for values of which nothing is known.
        match arg.get_value_hint() {
            ValueHint::Unknown if arg.get_action().takes_values() => {
                arg.value_hint(ValueHint::Other)
            }
            _ => arg,
        }
    };
    let mut command = help::extended(Cli::command())
        .mut_args(prepared)
        .mut_subcommands(|command| help::extended(command.mut_args(prepared)));
    // clap adds the command `help` while building.
    command.build();
    command.mut_subcommand("help", |help| help.hide(true))
}

/// Returns the command line with values that shells can offer although others are valid too.
pub(crate) fn command_for_completions() -> clap::Command {
    let op = OperationType::ALL.iter().map(|kind| kind.name);
    let op = PossibleValuesParser::new(op);
    let with_values = |command: clap::Command| {
        command
            .mut_arg("op", |arg| arg.value_parser(op.clone()))
            .mut_arg("start", |arg| arg.value_parser(["now", "earliest"]))
            .mut_arg("until", |arg| arg.value_parser(["now"]))
            .mut_arg("retry_for", |arg| arg.value_parser(["forever"]))
    };
    with_values(command()).mut_subcommand("check", with_values)
}

/// Writes a manual page: of the command with this name, or of the watch.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write_manual(
    name: Option<&str>,
    out: &mut impl std::io::Write,
) -> std::io::Result<()> {
    let mut command = command();
    let command = match name {
        Some(name) => command.find_subcommand_mut(name),
        None => Some(&mut command),
    };
    let command = command.expect("only names of commands are valid");
    let page = help::page(command.get_name());
    man::write(command, &page, out)
}

/// The options of a watch, by help heading.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// The server, database and collections.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// The events to print.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Where to start or resume, and when to stop.
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Form and destination of the lines.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Delivery to NATS JetStream.
    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) nats: self::nats::NatsArgs,
    /// Actions on an invalidated stream and on lost history.
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Sizes, times and monitoring.
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Messages on stderr.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The server, database and collections.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Server URI.
    ///
    /// The connection string of a replica set or a sharded cluster; a standalone server has no change streams. Driver options are part
    /// of it:
    ///
    /// --uri 'mongodb://a,b,c/?replicaSet=rs0&readPreference=secondary'
    ///
    /// A database in it, as in mongodb://host/shop, is the
    /// default of --db, except admin, config and local. Other users of the machine can read a password given here: use --uri-file or
    /// CSWATCH_URI.
    #[arg(
        long,
        env = "CSWATCH_URI",
        hide_env_values = true,
        value_name = "URI",
        default_value = "mongodb://localhost:27017"
    )]
    pub(crate) uri: String,
    /// Whether --uri was given as an argument, rather than by its environment variable or its default.
    #[arg(skip)]
    pub(crate) is_uri_typed: bool,
    /// Read the connection string from a file.
    ///
    /// For example from a container secret. Unlike --uri, it keeps a password off the command line, which other users can read.
    #[arg(
        long,
        env = "CSWATCH_URI_FILE",
        value_name = "FILE",
        conflicts_with = "uri"
    )]
    pub(crate) uri_file: Option<PathBuf>,
    /// Database to watch (default: the whole deployment).
    ///
    /// If the connection string names a database, that one is the default.
    #[arg(short, long, env = "CSWATCH_DB", value_name = "DB")]
    pub(crate) db: Option<String>,
    /// Collection to watch; repeatable.
    ///
    /// Requires a database. One collection: a stream of that collection, which ends when it is dropped, renamed or replaced by a rename onto it. Several,
    /// also as A,B: one stream of the database, filtered by collection name, which continues after a drop, and prints renames from
    /// and to them. A backslash before a comma, or before a space at either end, makes it part of the name.
    #[arg(short, long = "coll", env = "CSWATCH_COLL", value_name = "COLL")]
    pub(crate) coll: Vec<String>,
    /// Print only events of these namespaces; repeatable.
    ///
    /// DB.COLL, where * stands for any characters:
    ///
    /// --ns-include 'shop.*' --ns-include '*.orders'
    ///
    /// A backslash makes the next
    /// character literal. The database ends at the first dot. Filters the stream of the database with --db, else of the whole
    /// deployment. A rename is printed if its source or its target matches, the drop of a database if a pattern's database does.
    #[arg(long, env = "CSWATCH_NS_INCLUDE", value_name = "PATTERN")]
    pub(crate) ns_include: Vec<String>,
    /// Omit events of these namespaces; repeatable.
    ///
    /// A pattern as with --ns-include, which it overrides:
    ///
    /// --ns-include 'shop.*' --ns-exclude 'shop.tmp_*'
    ///
    /// The drop of a database is
    /// omitted only by DB.*.
    #[arg(long, env = "CSWATCH_NS_EXCLUDE", value_name = "PATTERN")]
    pub(crate) ns_exclude: Vec<String>,
    /// Wait for a server at startup.
    ///
    /// For a sidecar that may start before its database. Without it, the first connection is attempted once.
    #[arg(long, env = "CSWATCH_WAIT", value_parser = boolish())]
    pub(crate) wait: bool,
    /// Maximum time without a server.
    ///
    /// cswatch gives up after it. A number and its unit, as in 30s or 10m, or forever; 0s never retries. An error reply of which it
    /// is unknown whether another attempt helps is retried for 30s at most.
    #[arg(
        long,
        env = "CSWATCH_RETRY_FOR",
        value_name = "DURATION",
        default_value = "forever"
    )]
    pub(crate) retry_for: String,
}

/// The events to print.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterArgs {
    /// Print only events of these types.
    #[arg(
        long,
        env = "CSWATCH_OP",
        value_name = "TYPE,...",
        value_delimiter = ',',
        long_help = op_help()
    )]
    pub(crate) op: Vec<String>,
    /// Print only events matching a query.
    ///
    /// Repeatable: an event must match all of them. The body of a $match stage over the event, as typed in mongosh or as Extended JSON:
    ///
    /// --match '{"fullDocument.at": {$gt: ISODate("2026-01-31")}}'
    ///
    /// --match '{"wallTime": {"$gt": {"$date": "2026-01-31T00:00:00Z"}}}'
    ///
    /// A number is an int32 or int64 if it is written as an integer, else a double.
    #[arg(
        long = "match",
        env = "CSWATCH_MATCH",
        value_name = "QUERY",
        allow_hyphen_values = true
    )]
    pub(crate) matches: Vec<String>,
    /// Print only events of this document.
    ///
    /// Repeatable: events of any of the documents are printed. The document's _id as typed in mongosh or as Extended JSON, compared with
    /// documentKey._id:
    ///
    /// --id 7
    ///
    /// --id '"abc"'
    ///
    /// --id 'UUID("0f0e0d0c-0b0a-0908-0706-050403020100")'
    ///
    /// --id '{"$numberDecimal": "1.10"}'
    ///
    /// 24 hex digits are an ObjectId:
    ///
    /// --id 65a1b2c3d4e5f60718293a4b
    #[arg(
        long,
        env = "CSWATCH_ID",
        value_name = "ID",
        allow_hyphen_values = true
    )]
    pub(crate) id: Vec<String>,
    /// Append aggregation stages.
    ///
    /// An array of stages, inline or from @FILE, as typed in mongosh or as Extended JSON:
    ///
    /// --pipeline '[{$unset: "fullDocument.notes"}]'
    ///
    /// A change stream allows $match, $project, $addFields, $set, $unset, $replaceRoot,
    /// $replaceWith and $redact. The stages run after the other filters and must keep the event's _id, which is its resume token.
    #[arg(long, env = "CSWATCH_PIPELINE", value_name = "STAGES|@FILE")]
    pub(crate) pipeline: Option<String>,
    /// Updated document.
    ///
    /// The full document in update events. default: none, only the changed fields. updateLookup: the document as it is when the event is read, null if it was deleted.
    /// whenAvailable, required: the document right after the change, from the collection's stored post-images (MongoDB 6.0,
    /// changeStreamPreAndPostImages); without a post-image, null or an error respectively.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT",
        value_name = "MODE",
        default_value = "default",
        hide_possible_values = true
    )]
    pub(crate) full_document: FullDocument,
    /// Previous document.
    ///
    /// The document before the change in update, replace and delete events. off: none. whenAvailable, required: the document, from the collection's stored
    /// pre-images (MongoDB 6.0, changeStreamPreAndPostImages); without a pre-image, null or an error respectively.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT_BEFORE_CHANGE",
        value_name = "MODE",
        default_value = "off",
        hide_possible_values = true
    )]
    pub(crate) full_document_before_change: FullDocumentBeforeChange,
    /// Include create, modify and others.
    ///
    /// For the types, see --op. Requires MongoDB 6.0. Sets showExpandedEvents.
    #[arg(long, env = "CSWATCH_EXPANDED_EVENTS", value_parser = boolish())]
    pub(crate) expanded_events: bool,
    /// Print the aggregate command and exit.
    ///
    /// Shows the command that would be sent, without connecting to a server: as a call that can be pasted into mongosh, or with
    /// --format as Extended JSON. With --snapshot, also the command that reads documents.
    #[arg(long, env = "CSWATCH_EXPLAIN", value_parser = boolish())]
    pub(crate) explain: bool,
}

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

/// Form and destination of the lines.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Extended JSON v2 mode [default: canonical].
    ///
    /// canonical preserves every type; relaxed is easier to read.
    #[arg(
        long,
        env = "CSWATCH_FORMAT",
        value_name = "canonical|relaxed",
        hide_possible_values = true
    )]
    pub(crate) format: Option<Format>,
    /// Indent events, in color on a terminal.
    #[arg(long, env = "CSWATCH_PRETTY", value_parser = boolish())]
    pub(crate) pretty: bool,
    /// When to use color.
    ///
    /// Applies to --pretty and the output of check. auto: on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        env = "CSWATCH_COLOR",
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: Color,
    /// Append to a file, each event exactly once.
    ///
    /// A regular file, instead of stdout. A restart removes an incomplete last line and resumes after the last complete one. SIGHUP
    /// reopens the file by its name, for log rotation.
    #[arg(short, long, env = "CSWATCH_OUTPUT", value_name = "FILE", conflicts_with_all = ["no_resume", "pretty"])]
    pub(crate) output: Option<PathBuf>,
}

/// Actions on an invalidated stream and on lost history.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Drops and lost history")]
pub(crate) struct PolicyArgs {
    /// On a drop or rename.
    ///
    /// Applies when the watched collection or database is dropped or renamed, which invalidates the stream. exit: stop with code 4.
    /// reopen: resume after the invalidate event.
    #[arg(
        long,
        env = "CSWATCH_ON_INVALIDATE",
        value_name = "exit|reopen",
        default_value = "exit",
        hide_possible_values = true
    )]
    pub(crate) on_invalidate: OnInvalidate,
    /// On lost history.
    ///
    /// Applies when the server no longer has the events after the checkpoint. fail: stop with code 3. now, earliest: accept the gap,
    /// print its start and end on stderr, and resume there.
    #[arg(
        long,
        env = "CSWATCH_ON_HISTORY_LOST",
        value_name = "fail|now|earliest",
        default_value = "fail",
        hide_possible_values = true
    )]
    pub(crate) on_history_lost: OnHistoryLost,
}

/// Sizes, times and monitoring.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning and monitoring")]
pub(crate) struct TuningArgs {
    /// Maximum events per reply.
    #[arg(long, env = "CSWATCH_BATCH_SIZE", hide_short_help = true, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,
    /// Maximum server wait for events.
    ///
    /// After it the server sends an empty reply, which carries a newer resume token.
    #[arg(
        long,
        env = "CSWATCH_MAX_AWAIT",
        hide_short_help = true,
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub(crate) max_await: String,
    /// Parallel streams for a backlog.
    ///
    /// 1 reads a backlog with a single stream, which is limited by what one cursor of the server can produce. The output is the
    /// same, in the same order. Each stream takes a connection, up to 5 MB of memory and, while it is busy, a core of the server.
    #[arg(long, env = "CSWATCH_CATCH_UP_STREAMS", hide_short_help = true, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) catch_up_streams: u8,
    /// Checkpoint save interval.
    ///
    /// Applies while events flow; 0 saves after every flush. After a crash, at most the events of one interval are printed again.
    /// While idle, the checkpoint is saved at least every 10 s. It is always saved on exit.
    #[arg(
        long,
        env = "CSWATCH_SAVE_INTERVAL",
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub(crate) save_interval: String,
    /// Address for /metrics, /healthz and /readyz.
    ///
    /// Served over HTTP, as in 127.0.0.1:9216 or 0.0.0.0:9216; port 0 picks a free port, which is printed on stderr. /metrics:
    /// Prometheus text. /healthz: 200 if the server replied recently. /readyz: 200 while the stream is open.
    #[arg(long, env = "CSWATCH_METRICS_ADDR", value_name = "HOST:PORT")]
    pub(crate) metrics_addr: Option<String>,
}

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

/// `--full-document`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocument {
    /// The server's default: only inserts and replaces include the document.
    #[value(name = "default")]
    Default,
    /// The document as it is when the event is read.
    #[value(name = "updateLookup")]
    UpdateLookup,
    /// The stored post-image, or null if there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored post-image, or an error if there is none.
    #[value(name = "required")]
    Required,
}

/// `--full-document-before-change`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocumentBeforeChange {
    /// No pre-image.
    #[value(name = "off")]
    Off,
    /// The stored pre-image, or null if there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored pre-image, or an error if there is none.
    #[value(name = "required")]
    Required,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Every type preserved, in a type wrapper.
    Canonical,
    /// Plain numbers and readable dates where JSON has them.
    Relaxed,
}

/// Returns the help text of `--op`, with the list of types by which `config` validates it.
fn op_help() -> String {
    let names = |is_expanded| {
        let types = OperationType::ALL
            .iter()
            .filter(|kind| kind.is_expanded == is_expanded);
        types.map(|kind| kind.name).collect::<Vec<_>>().join(", ")
    };
    format!(
        "Print only events of these types.\n\n\
         As the server names them: {}; with --expanded-events also {}. For a type not in this list:\n\n\
         --match '{{operationType: \"...\"}}'",
        names(false),
        names(true)
    )
}

/// Returns a parser for the values of a flag's environment variable: `CSWATCH_WAIT=1`, `=true`, `=yes` and `=0`, `=false`, `=no`.
fn boolish() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn gives_every_watch_option_an_environment_variable_named_after_it() {
        for option in command().get_arguments() {
            let name = option.get_id().as_str();
            if matches!(name, "help" | "version") {
                continue;
            }
            let long = option.get_long().expect("every option has a long name");
            let expected = format!("CSWATCH_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                option.get_env().and_then(|env| env.to_str()),
                Some(expected.as_str())
            );
        }
    }
}
