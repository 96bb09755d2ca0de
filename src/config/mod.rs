//! Validated settings of a watch and of the other commands, checked as far as possible without a server.
//! Knows neither the syntax of the command line nor the network.

mod advice;
mod connection_string;
mod namespaces;
#[cfg(feature = "nats")]
pub(crate) mod nats;
mod operation_type;
mod option_hints;
mod pipeline;
mod policy;
mod stream_spec;
mod uri_options;
pub(crate) mod value;

use std::path::PathBuf;
use std::time::Duration;

use mongodb::options::{ConnectionString, HostInfo};

use crate::extjson;
use crate::token::ResumeToken;

pub(crate) use self::advice::{Advice, advice, report as report_advice};
pub(crate) use self::connection_string::{ParsedUri, parse as parse_connection_string, redacted};
pub(crate) use self::namespaces::{Namespaces, UNWATCHED, listed};
#[cfg(feature = "nats")]
pub(crate) use self::nats::NatsConfig;
pub(crate) use self::operation_type::OperationType;
pub(crate) use self::option_hints::reason_and_hint;
pub(crate) use self::pipeline::{Filters, SPLIT_STAGE};
pub(crate) use self::policy::{Color, LogFormat, OnHistoryLost, OnInvalidate, Policies};
pub(crate) use self::stream_spec::{Scope, StreamSpec};
pub(crate) use self::uri_options::{Warning, spelled as uri_option};
pub(crate) use self::value::When;

/// Settings of a watch.
#[derive(Debug)]
pub(crate) struct Config {
    /// Connection to the deployment.
    pub(crate) connection: ConnectionConfig,
    /// Scope, filter and options of the change stream.
    pub(crate) stream: StreamSpec,
    /// Remarks about settings that are valid, but hardly what was meant.
    pub(crate) advice: Vec<Advice>,
    /// Start of the stream when there is no checkpoint; `None` is now.
    pub(crate) start: Option<Start>,
    /// Whether the documents that exist are printed too, if there is no checkpoint.
    pub(crate) snapshot: bool,
    /// The resume file; `None` with `--no-resume`.
    pub(crate) resume_file: Option<ResumePath>,
    /// Limits that end the watch.
    pub(crate) stop: StopConfig,
    /// Destination and format of the lines.
    pub(crate) output: OutputConfig,
    /// Delivery to NATS JetStream instead of stdout.
    #[cfg(feature = "nats")]
    pub(crate) nats: Option<NatsConfig>,
    /// Reactions to an invalidated stream and to lost history.
    pub(crate) policies: Policies,
    /// Number of cursors that read the backlog in parallel.
    pub(crate) catch_up_streams: usize,
    /// Time between two saves of the checkpoint while events flow.
    pub(crate) save_interval: Duration,
    /// Metrics and status line.
    pub(crate) monitoring: MonitoringConfig,
}

/// Metrics and status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MonitoringConfig {
    /// `HOST:PORT` that serves the metrics; `None` serves none.
    pub(crate) metrics_addr: Option<String>,
    /// When the status line is drawn.
    pub(crate) status_line: DrawStatusLine,
}

/// When the status line is drawn, if stderr is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrawStatusLine {
    /// Never: with `--quiet` and with JSON messages.
    Never,
    /// If no events can appear on the same terminal.
    ApartFromEvents,
    /// Always: with `--status`.
    Always,
}

/// Amount and format of the messages on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// Whether only errors are printed.
    pub(crate) quiet: bool,
    /// Number of times `--verbose` was given.
    pub(crate) verbose: u8,
    /// Text or JSON.
    pub(crate) format: LogFormat,
}

/// Where the resume file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResumePath {
    /// The path given with `--resume-file`. Its folder must exist: creating it would hide an unmounted volume, and the watch would
    /// start without its checkpoint.
    Named(PathBuf),
    /// The folder of default resume files, which is created. The file in it is chosen by deployment and scope.
    Default(PathBuf),
}

/// Connection to the deployment.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    /// The parsed connection string. Holds the credentials: never print it.
    pub(crate) uri: ConnectionString,
    /// Whether the connection string was given on the command line and holds a password, which other users of the machine can read.
    pub(crate) exposes_password: bool,
    /// Whether the first connection is retried.
    pub(crate) wait: bool,
    /// Longest outage before cswatch gives up; `None` retries without limit.
    pub(crate) retry_for: Option<Duration>,
}

impl ConnectionConfig {
    /// Returns the hosts of the connection string, sorted, without credentials.
    pub(crate) fn hosts(&self) -> String {
        match &self.uri.host_info {
            HostInfo::HostIdentifiers(addresses) => {
                let mut hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                hosts.sort();
                hosts.join(",")
            }
            HostInfo::DnsRecord(name) => name.clone(),
            _ => String::new(),
        }
    }
}

/// Start of a stream that has no checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// At a point in time.
    At(When),
    /// After this token, even when there is a checkpoint.
    After(ResumeToken),
}

/// Limits that end a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopConfig {
    /// Number of events to print; `None` is no limit.
    pub(crate) count: Option<u64>,
    /// Time of the last event to print; `None` is no limit.
    pub(crate) until: Option<When>,
}

/// Destination and format of the lines.
#[derive(Debug)]
pub(crate) struct OutputConfig {
    /// File to append to; `None` is stdout.
    pub(crate) file: Option<PathBuf>,
    /// Extended JSON mode.
    pub(crate) mode: extjson::Mode,
    /// Whether events are indented.
    pub(crate) pretty: bool,
    /// Whether events are colored.
    pub(crate) color: Color,
}

/// Settings of `cswatch health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthConfig {
    /// Resume file of the watch.
    pub(crate) resume_file: PathBuf,
    /// Longest healthy time since the server's last reply; `None` is the limit that the watch wrote into its heartbeat.
    pub(crate) max_silence: Option<Duration>,
}

/// Settings of `cswatch token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenConfig {
    /// A token, or the path of a file with tokens; `None` reads stdin.
    pub(crate) source: Option<PathBuf>,
    /// Whether each token is printed as a JSON object.
    pub(crate) json: bool,
}
