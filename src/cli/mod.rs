//! The command line. The doc comment of a field is its help text: the first line for `-h`, all of it for `--help`.
//! Says what was typed; what it means is decided in `config`.

mod command;
mod resolve;

use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};

use crate::config::{Color, LogFormat, OnHistoryLost, OnInvalidate};

pub(crate) use self::command::{Command, HealthArgs, TokenArgs};
pub(crate) use self::resolve::{health, log, token, watch};

const EXAMPLES: &str = "\
Examples:
  Every change of one collection, at a prompt:
    cswatch --db shop --coll orders | jq .
  Only inserts and deletes, with a condition on the new document:
    cswatch -d shop -c orders --op insert,delete --match '{\"fullDocument.total\":{\"$gt\":100}}'
  One document, with its full state after each update:
    cswatch -d shop -c orders --id '{\"$oid\":\"65a1b2c3d4e5f60718293a4b\"}' --full-document updateLookup
  Everything that happened up to now since the last run, then stop:
    cswatch -d shop --resume-file /var/lib/cswatch/shop.json --until now
  What would be sent to the server:
    cswatch -d shop -c orders --op insert --explain

Exit codes:
  0  asked to stop: SIGINT, SIGTERM, --count, --until, or the reader of stdout went away
  1  any other failure
  2  usage: a flag, a value or a pipeline that cannot be
  3  history lost, or the position cannot be resumed from
  4  invalidated: what was watched was dropped or renamed (see --on-invalidate)
  5  position file damaged, of another stream, locked or not writable
  6  output cannot be written
  7  no server reachable
  8  refused by the server: authentication, privilege, standalone, pipeline, event too large
  130, 143  a second SIGINT or SIGTERM";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Watch MongoDB change streams: one line of Extended JSON for each event, nothing lost across restarts.
///
/// Opens a change stream on a collection, a database or a whole deployment, filters it on the server, prints each event
/// exactly as the server sent it, and keeps the resume token of the last one in a position file, so that the next run goes on
/// after it. stdout carries events only; everything else goes to stderr. Every option can also be given as an environment
/// variable: CSWATCH_ and its name in capitals, as in CSWATCH_RESUME_FILE.
#[derive(Debug, Parser)]
#[command(
    name = "cswatch",
    version,
    after_help = "See --help for what each option means, examples and exit codes.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    styles = STYLES,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to do instead of watching.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a watch.
    #[command(flatten)]
    pub watch: WatchArgs,
}

impl Cli {
    /// What was typed. Ends the process with code 2 on what cannot be, and with 0 after `--help`.
    pub(crate) fn from_command_line() -> Self {
        let matches = command()
            .try_get_matches()
            .unwrap_or_else(|error| explained(error).exit());
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A usage error with the tips that clap cannot know: it names an option also when its value came from the environment, and
/// takes a connection string in the place of a command for a misspelt one, password and all.
fn explained(mut error: clap::Error) -> clap::Error {
    let mut tips: Vec<StyledStr> = match error.get(ContextKind::Suggested) {
        Some(ContextValue::StyledStrs(tips)) => tips.clone(),
        _ => Vec::new(),
    };
    for kind in [ContextKind::InvalidSubcommand, ContextKind::InvalidArg] {
        if let Some(ContextValue::String(word)) = error.get(kind)
            && let Some((scheme @ ("mongodb" | "mongodb+srv"), _)) = word.split_once("://")
        {
            let shown = format!("{scheme}://...");
            tips.push(format!("give the connection string as --uri {shown}").into());
            error.insert(kind, ContextValue::String(shown));
        }
    }
    if matches!(
        error.kind(),
        ErrorKind::ArgumentConflict | ErrorKind::InvalidValue | ErrorKind::ValueValidation
    ) {
        let from_environment: Vec<String> = command()
            .get_arguments()
            .filter_map(clap::Arg::get_env)
            .filter(|name| std::env::var_os(name).is_some())
            .map(|name| name.display().to_string())
            .collect();
        if !from_environment.is_empty() {
            let names = from_environment.join(", ");
            tips.push(format!("set in the environment: {names}").into());
        }
    }
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// The command line as clap knows it. The environment variables follow one rule that the help states; they are not listed.
pub(crate) fn command() -> clap::Command {
    let hidden = |arg: clap::Arg| arg.hide_env(true);
    Cli::command()
        .mut_args(hidden)
        .mut_subcommands(|command| command.mut_args(hidden))
}

/// The options of a watch, by help heading.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Which server, and what of it.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where to start and when to stop.
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
    /// How events are written.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What to do when something ends or is lost.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Sizes, times, and what is told to monitoring.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// What is said on stderr.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Which server, and what of it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Connection string.
    ///
    /// A replica set or a sharded cluster; a standalone server has no change streams. Options of the driver go in here, as in
    /// "mongodb://a,b,c/?replicaSet=rs0&readPreference=secondaryPreferred".
    #[arg(
        long,
        env = "CSWATCH_URI",
        hide_env_values = true,
        value_name = "URI",
        default_value = "mongodb://localhost:27017"
    )]
    pub uri: String,
    /// Read it from a file, such as a container secret.
    #[arg(
        long,
        env = "CSWATCH_URI_FILE",
        value_name = "FILE",
        conflicts_with = "uri"
    )]
    pub uri_file: Option<PathBuf>,
    /// Database to watch; without it the whole deployment.
    #[arg(short, long, env = "CSWATCH_DB", value_name = "DB")]
    pub db: Option<String>,
    /// Collection to watch; repeatable, needs --db.
    ///
    /// One: a stream of that collection, which ends when it is dropped or renamed. Several, also as A,B: one stream of the
    /// database, filtered by collection name, which goes on.
    #[arg(
        short,
        long = "coll",
        env = "CSWATCH_COLL",
        value_name = "COLL",
        value_delimiter = ',',
        requires = "db"
    )]
    pub coll: Vec<String>,
    /// Keep trying when no server answers at start.
    ///
    /// For a sidecar that may start before its database. Without it the first connection is tried once.
    #[arg(long, env = "CSWATCH_WAIT", value_parser = boolish())]
    pub wait: bool,
    /// Give up after so long without a server.
    ///
    /// A number and its unit, as in 30s or 10m, or forever.
    #[arg(
        long,
        env = "CSWATCH_RETRY_FOR",
        value_name = "DURATION",
        default_value = "forever"
    )]
    pub retry_for: String,
}

/// Which events.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterArgs {
    /// Only these operation types, as the server names them.
    ///
    /// insert, update, replace, delete, drop, rename, dropDatabase, invalidate; with --expanded-events also create,
    /// createIndexes, dropIndexes, modify, shardCollection, reshardCollection, refineCollectionShardKey. For a type this list
    /// lacks, use --match '{"operationType":"..."}'.
    #[arg(
        long,
        env = "CSWATCH_OP",
        value_name = "KIND,...",
        value_delimiter = ','
    )]
    pub op: Vec<String>,
    /// Only events that match this query; repeatable, all must hold.
    ///
    /// The body of a $match stage over the event, in Extended JSON: --match '{"fullDocument.status":"paid"}'.
    #[arg(
        long = "match",
        env = "CSWATCH_MATCH",
        value_name = "EJSON",
        allow_hyphen_values = true
    )]
    pub matches: Vec<String>,
    /// Only the document with this _id; repeatable, any may hold.
    ///
    /// Extended JSON, which documentKey._id must equal: --id 7, --id '"abc"', --id '{"$oid":"65a1b2c3d4e5f60718293a4b"}'.
    #[arg(
        long,
        env = "CSWATCH_ID",
        value_name = "EJSON",
        allow_hyphen_values = true
    )]
    pub id: Vec<String>,
    /// More stages, an array of Extended JSON; @FILE reads it.
    ///
    /// Allowed in a change stream: $match, $project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact. They run
    /// after the other filters and must keep the event's _id, which is its resume token.
    #[arg(long, env = "CSWATCH_PIPELINE", value_name = "EJSON|@FILE")]
    pub pipeline: Option<String>,
    /// What an update event carries of the document.
    ///
    /// default: what changed. updateLookup: also the document as it is when the event is read, null when gone. whenAvailable,
    /// required: also the document as it was after the change, from the collection's stored post-images (MongoDB 6.0,
    /// changeStreamPreAndPostImages); without one, null or an error.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT",
        value_name = "default|updateLookup|whenAvailable|required",
        default_value = "default",
        hide_possible_values = true
    )]
    pub full_document: FullDocument,
    /// What is carried of the document before the change.
    ///
    /// In update, replace and delete events. off: nothing. whenAvailable, required: the document, from the collection's stored
    /// pre-images (MongoDB 6.0, changeStreamPreAndPostImages); without one, null or an error.
    #[arg(
        long,
        env = "CSWATCH_FULL_DOCUMENT_BEFORE_CHANGE",
        value_name = "off|whenAvailable|required",
        default_value = "off",
        hide_possible_values = true
    )]
    pub full_document_before_change: FullDocumentBeforeChange,
    /// Also create, createIndexes, modify and others (MongoDB 6.0).
    #[arg(long, env = "CSWATCH_EXPANDED_EVENTS", value_parser = boolish())]
    pub expanded_events: bool,
    /// Print the aggregate command that would be sent; connect to nothing.
    #[arg(long, env = "CSWATCH_EXPLAIN", value_parser = boolish())]
    pub explain: bool,
}

/// Where to start and when to stop.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where to start, when to stop")]
pub(crate) struct CheckpointArgs {
    /// Position file: where to go on from.
    ///
    /// The stream starts after the position in it, and keeps it up to date. When it does not exist yet, the stream starts as
    /// --start says and the file is made at once. Default: $XDG_STATE_HOME/cswatch/DB.COLL-FINGERPRINT.json, with
    /// ~/.local/state when XDG_STATE_HOME is unset. One cswatch at a time may hold it.
    #[arg(
        long,
        env = "CSWATCH_RESUME_FILE",
        value_name = "FILE",
        conflicts_with = "no_resume"
    )]
    pub resume_file: Option<PathBuf>,
    /// Neither read nor write a position.
    #[arg(long, env = "CSWATCH_NO_RESUME", value_parser = boolish())]
    pub no_resume: bool,
    /// Where a first run starts, as in -1h.
    ///
    /// now; earliest (the oldest the oplog still has); RFC 3339 as in 2026-01-31T12:00:00Z; a time ago as in -1h or -30m;
    /// seconds since 1970; or {"$timestamp":{"t":1769860800,"i":1}}. Ignored once the position file holds a position.
    #[arg(
        long,
        env = "CSWATCH_START",
        value_name = "WHEN",
        default_value = "now",
        allow_hyphen_values = true
    )]
    pub start: String,
    /// Start after this resume token.
    ///
    /// The _data of an event's _id (hex), or the whole _id as Extended JSON. Whatever position the file holds; it then follows
    /// on from here.
    #[arg(
        long,
        alias = "resume-after",
        env = "CSWATCH_START_AFTER",
        value_name = "TOKEN"
    )]
    pub start_after: Option<String>,
    /// Stop after this many printed events.
    #[arg(long, env = "CSWATCH_COUNT", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after the last event at or before this time.
    ///
    /// Forms as for --start. now is the server's operation time at opening: catches up and stops, also when no event comes.
    #[arg(
        long,
        env = "CSWATCH_UNTIL",
        value_name = "WHEN",
        allow_hyphen_values = true
    )]
    pub until: Option<String>,
}

/// How events are written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Extended JSON v2 mode.
    ///
    /// canonical keeps every type, relaxed reads easier.
    #[arg(
        long,
        env = "CSWATCH_FORMAT",
        value_name = "canonical|relaxed",
        default_value = "canonical",
        hide_possible_values = true
    )]
    pub format: Format,
    /// Indent events, in colour on a terminal.
    #[arg(long, env = "CSWATCH_PRETTY", value_parser = boolish())]
    pub pretty: bool,
    /// Colour of --pretty events and of check.
    ///
    /// auto: on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        env = "CSWATCH_COLOR",
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: Color,
    /// Append to a file, each event exactly once.
    ///
    /// A regular file, in place of stdout. A restart cuts a torn last line and goes on after the last whole one. SIGHUP reopens
    /// the file by its name (logrotate).
    #[arg(short, long, env = "CSWATCH_OUTPUT", value_name = "FILE", conflicts_with_all = ["no_resume", "pretty"])]
    pub output: Option<PathBuf>,
}

/// What to do when something ends or is lost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policies")]
pub(crate) struct PolicyArgs {
    /// When what is watched is dropped or renamed.
    ///
    /// exit: with code 4. reopen: go on behind it.
    #[arg(
        long,
        env = "CSWATCH_ON_INVALIDATE",
        value_name = "exit|reopen",
        default_value = "exit",
        hide_possible_values = true
    )]
    pub on_invalidate: OnInvalidate,
    /// When the server no longer has the history.
    ///
    /// That is, what happened after the position. fail: with code 3. now, earliest: accept the gap, print it on stderr, from
    /// and to, and go on there.
    #[arg(
        long,
        env = "CSWATCH_ON_HISTORY_LOST",
        value_name = "fail|now|earliest",
        default_value = "fail",
        hide_possible_values = true
    )]
    pub on_history_lost: OnHistoryLost,
}

/// Sizes, times, and what is told to monitoring.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning and monitoring")]
pub(crate) struct TuningArgs {
    /// Most events in one reply.
    #[arg(long, env = "CSWATCH_BATCH_SIZE", value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_size: u32,
    /// Longest server wait for an event.
    ///
    /// After it an empty reply comes, and with it a newer position.
    #[arg(
        long,
        env = "CSWATCH_MAX_AWAIT",
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub max_await: String,
    /// Streams that read a backlog.
    ///
    /// They read side by side; 1 turns it off. A stream that starts far behind is limited by what one cursor of the server can
    /// produce. What is printed is the same, in the same order. Each takes a connection, up to 5 MB of memory, and a core of
    /// the server while it is busy.
    #[arg(long, env = "CSWATCH_CATCH_UP_STREAMS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub catch_up_streams: u8,
    /// How often the position is saved.
    ///
    /// While events flow; 0 after every flush. After a crash at most this much is printed again. While idle the position is
    /// saved at least every 10 s, and always on exit.
    #[arg(
        long,
        env = "CSWATCH_SAVE_INTERVAL",
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub save_interval: String,
    /// Serve /metrics, /healthz and /readyz there.
    ///
    /// Over HTTP, as in 127.0.0.1:9216 or 0.0.0.0:9216; port 0 takes a free one, which is said on stderr. /metrics: Prometheus
    /// text. /healthz: 200 while the server was heard lately. /readyz: 200 while the stream is open.
    #[arg(long, env = "CSWATCH_METRICS_ADDR", value_name = "HOST:PORT")]
    pub metrics_addr: Option<String>,
}

/// What is said on stderr.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages on stderr")]
pub(crate) struct LogArgs {
    /// Say more; twice for still more.
    #[arg(short, long, env = "CSWATCH_VERBOSE", action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long, env = "CSWATCH_QUIET", value_parser = boolish())]
    pub quiet: bool,
    /// Form of the messages.
    ///
    /// text for people; json: one JSON object a line.
    #[arg(
        long,
        env = "CSWATCH_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
}

/// `--full-document`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocument {
    /// Leave it to the server: only inserts and replaces carry the document.
    #[value(name = "default")]
    Default,
    /// The document as it is when the event is read.
    #[value(name = "updateLookup")]
    UpdateLookup,
    /// The stored post-image, null when there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored post-image, an error when there is none.
    #[value(name = "required")]
    Required,
}

/// `--full-document-before-change`, with the server's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FullDocumentBeforeChange {
    /// No pre-image.
    #[value(name = "off")]
    Off,
    /// The stored pre-image, null when there is none.
    #[value(name = "whenAvailable")]
    WhenAvailable,
    /// The stored pre-image, an error when there is none.
    #[value(name = "required")]
    Required,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Every type kept, in a wrapper.
    Canonical,
    /// Plain numbers and readable dates where JSON has them.
    Relaxed,
}

/// Lets `CSWATCH_WAIT=1`, `=true`, `=yes` and `=0`, `=false`, `=no` mean what they say.
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
