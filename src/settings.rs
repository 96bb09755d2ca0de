//! What the flags mean, checked as far as that goes without a server. Reads the files that flags name, touches no network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::options::{ConnectionString, HostInfo};
use sha2::{Digest as _, Sha256};

use crate::cli;
use crate::connection_string;
use crate::error::Failure;
use crate::extjson;
use crate::flag_value::{self, When};
use crate::pipeline;
use crate::platform;
use crate::stream_spec::{Scope, StreamSpec};
use crate::token::ResumeToken;

/// Everything a watch needs to know.
#[derive(Debug)]
pub struct Settings {
    /// How to reach the deployment.
    pub connection: Connection,
    /// What is watched.
    pub stream: StreamSpec,
    /// Where to start when no position is saved.
    pub start: Start,
    /// The position file; `None` with `--no-resume`.
    pub resume_file: Option<ResumePath>,
    /// When to stop by itself.
    pub stop: Stop,
    /// Where the events go and how they look.
    pub output: Output,
    /// What to do at the end of a stream.
    pub on_invalidate: cli::OnInvalidate,
    /// What to do when the history is gone.
    pub on_history_lost: cli::OnHistoryLost,
    /// Cursors that read a backlog side by side.
    pub catch_up_streams: usize,
    /// How often the position is saved while events flow.
    pub save_interval: Duration,
    /// What is told of the watch, and where.
    pub monitoring: Monitoring,
}

/// What is told of the watch, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// `HOST:PORT` of the metrics; `None` serves none.
    pub metrics_addr: Option<String>,
    /// Whether a status line may be drawn on a terminal: not where messages are for machines, or unwanted.
    pub may_draw: bool,
}

/// Which position file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumePath {
    /// The one that was named. Its folder must exist: making it would hide that a volume is not mounted, and start anew.
    Named(PathBuf),
    /// The default one, whose folder is made.
    Default(PathBuf),
}

/// How to reach the deployment.
#[derive(Debug)]
pub struct Connection {
    /// The connection string, checked. Holds the credentials: never print it.
    pub uri: ConnectionString,
    /// Whether the first connection is tried again.
    pub wait: bool,
    /// Give up after this long without a server; `None` is never.
    pub retry_for: Option<Duration>,
}

impl Connection {
    /// The hosts of the connection string, sorted, without credentials.
    pub fn hosts(&self) -> String {
        hosts(&self.uri)
    }
}

/// Where a stream starts that has no saved position.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// At a point in time.
    At(When),
    /// After this token, whatever the position file says.
    After(ResumeToken),
}

/// When to stop by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// After this many printed events; `None` is never.
    pub count: Option<u64>,
    /// After the last event at or before this time; `None` is never.
    pub until: Option<When>,
}

/// Where the events go and how they look.
#[derive(Debug)]
pub struct Output {
    /// The file to append to; `None` is stdout.
    pub file: Option<PathBuf>,
    /// Extended JSON mode.
    pub mode: extjson::Mode,
    /// Indented.
    pub pretty: bool,
    /// In colour.
    pub color: cli::Color,
}

impl Settings {
    /// Makes settings of what was typed.
    ///
    /// # Errors
    /// A usage failure (exit code 2) that names the flag and the way out.
    pub fn from_args(args: &cli::Watch) -> Result<Self, Failure> {
        let connection = connection_from_args(&args.connection)?;
        let stream = stream_from_args(args)?;
        let start = match &args.position.start_after {
            Some(token) => Start::After(ResumeToken::parse(token).map_err(|error| {
                Failure::usage(format!("--start-after: {error}")).way_out(
                    "give the _data of an event's _id (hex), or the whole _id as Extended JSON",
                )
            })?),
            None => Start::At(flag_value::when("--start", &args.position.start)?),
        };
        let until = args
            .position
            .until
            .as_deref()
            .map(|text| flag_value::when("--until", text))
            .transpose()?;
        if until == Some(When::Earliest) {
            return Err(Failure::usage("--until earliest: nothing comes before it")
                .way_out("use --until now to catch up and stop"));
        }
        let resume_file = if args.position.no_resume {
            None
        } else {
            Some(match &args.position.resume_file {
                Some(file) => ResumePath::Named(file.clone()),
                None => ResumePath::Default(default_resume_file(&connection.uri, &stream)?),
            })
        };
        Ok(Self {
            connection,
            stream,
            start,
            resume_file,
            stop: Stop {
                count: args.position.count,
                until,
            },
            output: Output {
                file: args.output.output.clone(),
                mode: match args.output.format {
                    cli::Format::Canonical => extjson::Mode::Canonical,
                    cli::Format::Relaxed => extjson::Mode::Relaxed,
                },
                pretty: args.output.pretty,
                color: args.output.color,
            },
            on_invalidate: args.policy.on_invalidate,
            on_history_lost: args.policy.on_history_lost,
            catch_up_streams: args.tuning.catch_up_streams.into(),
            save_interval: flag_value::duration("--save-interval", &args.tuning.save_interval)?,
            monitoring: Monitoring {
                metrics_addr: args.tuning.metrics_addr.clone(),
                may_draw: !args.log.quiet && args.log.log_format == cli::LogFormat::Text,
            },
        })
    }
}

fn connection_from_args(args: &cli::Connection) -> Result<Connection, Failure> {
    let (flag, text) = match &args.uri_file {
        Some(file) => ("--uri-file", read_file("--uri-file", file)?),
        None => ("--uri", args.uri.clone()),
    };
    let uri = connection_string::parse(flag, text.trim())?;
    let retry_for = match args.retry_for.as_str() {
        "forever" => None,
        text => Some(flag_value::duration("--retry-for", text)?),
    };
    Ok(Connection {
        uri,
        wait: args.wait,
        retry_for,
    })
}

fn stream_from_args(args: &cli::Watch) -> Result<StreamSpec, Failure> {
    let scope = scope_from_args(&args.connection)?;
    let collections = match &scope {
        Scope::Collections(_, colls) => colls.as_slice(),
        _ => &[],
    };
    let pipeline = match args.filter.pipeline.as_deref() {
        Some(text) => Some(match text.strip_prefix('@') {
            Some(file) => (
                format!("--pipeline {text}"),
                read_file("--pipeline", Path::new(file))?,
            ),
            None => ("--pipeline".to_owned(), text.to_owned()),
        }),
        None => None,
    };
    let max_await = flag_value::duration("--max-await", &args.tuning.max_await)?;
    if max_await.is_zero() || max_await > LONGEST_MAX_AWAIT {
        return Err(Failure::usage(format!(
            "--max-await: '{}' is out of range",
            args.tuning.max_await
        ))
        .way_out("give at least 1ms and at most 10m"));
    }
    Ok(StreamSpec {
        pipeline: pipeline::from_flags(
            collections,
            &args.filter.op,
            args.filter.expanded_events,
            &args.filter.id,
            &args.filter.matches,
            pipeline
                .as_ref()
                .map(|(flag, text)| (flag.as_str(), text.as_str())),
        )?,
        scope,
        full_document: match args.filter.full_document {
            cli::FullDocument::Default => None,
            cli::FullDocument::UpdateLookup => Some("updateLookup"),
            cli::FullDocument::WhenAvailable => Some("whenAvailable"),
            cli::FullDocument::Required => Some("required"),
        },
        full_document_before_change: match args.filter.full_document_before_change {
            cli::FullDocumentBeforeChange::Off => None,
            cli::FullDocumentBeforeChange::WhenAvailable => Some("whenAvailable"),
            cli::FullDocumentBeforeChange::Required => Some("required"),
        },
        expanded_events: args.filter.expanded_events,
        batch_size: args.tuning.batch_size,
        max_await,
    })
}

/// A reply may take this long on purpose; beyond it silence could no longer be told from a dead connection.
const LONGEST_MAX_AWAIT: Duration = Duration::from_secs(600);

fn scope_from_args(args: &cli::Connection) -> Result<Scope, Failure> {
    let Some(db) = &args.db else {
        return Ok(Scope::Deployment);
    };
    ensure_name("--db", db)?;
    let mut colls = args.coll.clone();
    colls.sort();
    colls.dedup();
    for coll in &colls {
        ensure_name("--coll", coll)?;
        if coll.starts_with("system.") {
            return Err(Failure::usage(format!(
                "--coll {coll}: system collections have no change stream"
            )));
        }
    }
    if matches!(db.as_str(), "admin" | "local" | "config") {
        return Err(
            Failure::usage(format!("--db {db}: this database has no change stream"))
                .way_out("name a database of your own, or leave --db out to watch them all"),
        );
    }
    Ok(match colls.len() {
        0 => Scope::Database(db.clone()),
        1 => Scope::Collection(db.clone(), colls.remove(0)),
        _ => Scope::Collections(db.clone(), colls),
    })
}

fn ensure_name(flag: &str, name: &str) -> Result<(), Failure> {
    let forbidden: &[char] = match flag {
        "--db" => &['/', '\\', '.', ' ', '"', '$', '\0'],
        _ => &['$', '\0'],
    };
    if name.is_empty() || name.contains(forbidden) {
        return Err(Failure::usage(format!(
            "{flag}: '{}' is not a name that MongoDB allows",
            connection_string::shown(name)
        )));
    }
    Ok(())
}

fn read_file(flag: &str, file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let shown = connection_string::shown(&file.to_string_lossy());
        let failure = Failure::usage(format!("{flag}: cannot read {shown}: {error}"));
        if shown.contains("://") {
            failure.way_out("give a connection string as --uri")
        } else {
            failure
        }
    })
}

/// Where the position goes without `--resume-file`: one file for each deployment, scope, filter and options.
fn default_resume_file(uri: &ConnectionString, stream: &StreamSpec) -> Result<PathBuf, Failure> {
    let state_home = platform::state_home().ok_or_else(|| {
        Failure::usage(format!(
            "no place for the position: {}",
            platform::NO_STATE_HOME
        ))
        .way_out("give --resume-file FILE, or --no-resume")
    })?;
    let (db, coll) = stream.scope.names();
    let identity = [hosts(uri), stream.scope_id(), stream.fingerprint()].join("\n");
    let fingerprint = &const_hex::encode(Sha256::digest(identity))[..FINGERPRINT_DIGITS];
    let name: String = format!("{db}.{coll}")
        .chars()
        .map(|c| match c {
            // One system or another has no such names.
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .take(LONGEST_NAME)
        .collect();
    Ok(state_home
        .join("cswatch")
        .join(format!("{name}-{fingerprint}.json")))
}

/// Hex digits of the fingerprint in a file name: 48 bits tell the streams of one user apart.
const FINGERPRINT_DIGITS: usize = 12;

/// Characters of database and collection in a file name: below the 255 bytes of file systems even at three bytes each.
const LONGEST_NAME: usize = 60;

/// The hosts of a connection string, sorted, without credentials.
fn hosts(uri: &ConnectionString) -> String {
    match &uri.host_info {
        HostInfo::HostIdentifiers(addresses) => {
            let mut hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            hosts.sort();
            hosts.join(",")
        }
        HostInfo::DnsRecord(name) => name.clone(),
        _ => String::new(),
    }
}
