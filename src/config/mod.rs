//! Validated settings of a watch and of the other commands.
//! Holds what the flags mean, checked as far as that is possible without a server; knows neither flags' syntax nor the network.

mod connection_string;
mod operation_type;
mod pipeline;
mod policy;
mod stream_spec;
pub(crate) mod value;

use std::path::PathBuf;
use std::time::Duration;

use mongodb::options::{ConnectionString, HostInfo};

use crate::extjson;
use crate::token::ResumeToken;

pub(crate) use self::connection_string::{parse as parse_connection_string, redacted};
pub(crate) use self::operation_type::OperationType;
pub(crate) use self::pipeline::{Filters, SPLIT_STAGE};
pub(crate) use self::policy::{Color, LogFormat, OnHistoryLost, OnInvalidate, Policies};
pub(crate) use self::stream_spec::{Scope, StreamSpec};
pub(crate) use self::value::When;

/// Settings of a watch.
#[derive(Debug)]
pub(crate) struct Config {
    /// How to reach the deployment.
    pub(crate) connection: ConnectionConfig,
    /// What is watched.
    pub(crate) stream: StreamSpec,
    /// Where to start when there is no checkpoint.
    pub(crate) start: Start,
    /// The resume file; `None` with `--no-resume`.
    pub(crate) resume_file: Option<ResumePath>,
    /// When to stop without being asked.
    pub(crate) stop: StopConfig,
    /// Where lines go and how they look.
    pub(crate) output: OutputConfig,
    /// What to do when a stream ends or its history is lost.
    pub(crate) policies: Policies,
    /// Number of cursors that read a backlog in parallel.
    pub(crate) catch_up_streams: usize,
    /// How often a checkpoint is saved while events flow.
    pub(crate) save_interval: Duration,
    /// What is reported about the watch, and where.
    pub(crate) monitoring: MonitoringConfig,
}

/// What is reported about the watch, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MonitoringConfig {
    /// `HOST:PORT` of the metrics; `None` serves none.
    pub(crate) metrics_addr: Option<String>,
    /// Whether a status line may be drawn on a terminal. False with `--quiet` and where messages are for machines.
    pub(crate) may_draw: bool,
}

/// Messages on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// Errors only.
    pub(crate) quiet: bool,
    /// How often `--verbose` was given.
    pub(crate) verbose: u8,
    /// Text or JSON.
    pub(crate) format: LogFormat,
}

/// Path of a resume file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResumePath {
    /// Given by `--resume-file`. Its folder must exist: creating it would hide an unmounted volume, and the watch would start anew.
    Named(PathBuf),
    /// The default path, whose folder is created.
    Default(PathBuf),
}

/// How to reach the deployment.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    /// The connection string, checked. Holds the credentials: never print it.
    pub(crate) uri: ConnectionString,
    /// Whether the first connection is retried.
    pub(crate) wait: bool,
    /// Give up after this long without a server; `None` retries without limit.
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

/// Where a stream starts that has no checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// At a point in time.
    At(When),
    /// After this token, also when there is a checkpoint.
    After(ResumeToken),
}

/// When a watch stops without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopConfig {
    /// After this many printed events; `None` is never.
    pub(crate) count: Option<u64>,
    /// After the last event at or before this time; `None` is never.
    pub(crate) until: Option<When>,
}

/// Where lines go and how they look.
#[derive(Debug)]
pub(crate) struct OutputConfig {
    /// The file to append to; `None` is stdout.
    pub(crate) file: Option<PathBuf>,
    /// Extended JSON mode.
    pub(crate) mode: extjson::Mode,
    /// Whether events are indented.
    pub(crate) pretty: bool,
    /// Whether they are colored.
    pub(crate) color: Color,
}

/// Settings of `cswatch health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthConfig {
    /// The resume file of the watch.
    pub(crate) resume_file: PathBuf,
    /// The longest time since the server's last reply; `None` is the limit that the watch has written into its heartbeat.
    pub(crate) max_silence: Option<Duration>,
}

/// Settings of `cswatch token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenConfig {
    /// A token or a file; `None` reads stdin.
    pub(crate) source: Option<PathBuf>,
    /// One JSON object for each token instead of lines.
    pub(crate) json: bool,
}
