//! Resolution of the command line into validated settings. Reads the files that flags name; never touches the network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::options::{ConnectionString, Tls};
use sha2::{Digest as _, Sha256};

use crate::config::{
    self, Config, ConnectionConfig, Filters, HealthConfig, LogConfig, MonitoringConfig,
    OutputConfig, Policies, ResumePath, Scope, Start, StopConfig, StreamSpec, TokenConfig, When,
    value,
};
use crate::error::Failure;
use crate::extjson;
use crate::platform;
use crate::token::ResumeToken;

use super::distinct_files::NamedFiles;
use super::{
    ConnectionArgs, Format, FullDocument, FullDocumentBeforeChange, HealthArgs, LogArgs, TokenArgs,
    WatchArgs,
};

/// Limit of `--max-await`. A longer wait would be indistinguishable from a dead connection.
const MAX_AWAIT_LIMIT: Duration = Duration::from_secs(600);

/// Number of hex digits of the fingerprint in a file name. 48 bits are enough to distinguish the streams of one user.
const FINGERPRINT_DIGITS: usize = 12;

/// Maximum number of characters of database and collection in a file name. At three bytes each the name stays below the 255 bytes that
/// file systems allow.
const MAX_NAME_CHARS: usize = 60;

/// Returns the settings of a watch.
///
/// # Errors
/// Exit code 2 when a value is invalid. The message names the flag.
pub(crate) fn watch(args: &WatchArgs) -> Result<Config, Failure> {
    let mut files = NamedFiles::of(args);
    files.ensure_distinct()?;
    let connection = connection(&args.connection)?;
    if let Some(Tls::Enabled(tls)) = &connection.uri.tls {
        for (option, file) in [
            ("tlsCAFile", &tls.ca_file_path),
            ("tlsCertificateKeyFile", &tls.cert_key_file_path),
        ] {
            if let Some(file) = file {
                files.push_input(option, file);
            }
        }
        files.ensure_distinct()?;
    }
    let stream = stream(args)?;
    let start = match &args.checkpoint.start_after {
        Some(token) => Start::After(ResumeToken::parse(token).map_err(|error| {
            Failure::usage(format!("--start-after: {error}"))
                .hint("use the _data of an event's _id (hex) or the whole _id as Extended JSON")
        })?),
        None => Start::At(value::when("--start", &args.checkpoint.start)?),
    };
    let until = args
        .checkpoint
        .until
        .as_deref()
        .map(|text| value::when("--until", text))
        .transpose()?;
    if until == Some(When::Earliest) {
        return Err(
            Failure::usage("--until earliest: no event precedes the earliest one")
                .hint("use --until now to catch up and stop"),
        );
    }
    let resume_file = if args.checkpoint.no_resume {
        None
    } else {
        Some(match &args.checkpoint.resume_file {
            Some(file) => ResumePath::Named(file.clone()),
            None => ResumePath::Default(default_resume_file(&connection, &stream)?),
        })
    };
    Ok(Config {
        connection,
        stream,
        start,
        resume_file,
        stop: StopConfig {
            count: args.checkpoint.count,
            until,
        },
        output: OutputConfig {
            file: args.output.output.clone(),
            mode: match args.output.format {
                Format::Canonical => extjson::Mode::Canonical,
                Format::Relaxed => extjson::Mode::Relaxed,
            },
            pretty: args.output.pretty,
            color: args.output.color,
        },
        policies: Policies {
            on_invalidate: args.policy.on_invalidate,
            on_history_lost: args.policy.on_history_lost,
        },
        catch_up_streams: args.tuning.catch_up_streams.into(),
        save_interval: value::duration("--save-interval", &args.tuning.save_interval)?,
        monitoring: MonitoringConfig {
            metrics_addr: args.tuning.metrics_addr.clone(),
            may_draw: !args.log.quiet && args.log.log_format == config::LogFormat::Text,
        },
    })
}

/// Returns the settings of messages on stderr.
pub(crate) fn log(args: &LogArgs) -> LogConfig {
    LogConfig {
        quiet: args.quiet,
        verbose: args.verbose,
        format: args.log_format,
    }
}

/// Returns the settings of `cswatch health`.
///
/// # Errors
/// Exit code 2 when the duration is invalid.
pub(crate) fn health(args: &HealthArgs) -> Result<HealthConfig, Failure> {
    Ok(HealthConfig {
        resume_file: args.resume_file.clone(),
        max_silence: args
            .max_silence
            .as_deref()
            .map(|text| value::duration("--max-silence", text))
            .transpose()?,
    })
}

/// Returns the settings of `cswatch token`.
pub(crate) fn token(args: &TokenArgs) -> TokenConfig {
    TokenConfig {
        source: args.source.clone(),
        json: args.json,
    }
}

fn connection(args: &ConnectionArgs) -> Result<ConnectionConfig, Failure> {
    let (flag, text) = match &args.uri_file {
        Some(file) => ("--uri-file", read_file("--uri-file", file)?),
        None => ("--uri", args.uri.clone()),
    };
    let uri: ConnectionString = config::parse_connection_string(flag, text.trim())?;
    let retry_for = match args.retry_for.as_str() {
        "forever" => None,
        text => Some(value::duration("--retry-for", text)?),
    };
    Ok(ConnectionConfig {
        uri,
        wait: args.wait,
        retry_for,
    })
}

fn stream(args: &WatchArgs) -> Result<StreamSpec, Failure> {
    let scope = scope(&args.connection)?;
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
    let max_await = value::duration("--max-await", &args.tuning.max_await)?;
    if max_await.is_zero() || max_await > MAX_AWAIT_LIMIT {
        return Err(Failure::usage(format!(
            "--max-await: '{}' is out of range",
            args.tuning.max_await
        ))
        .hint("use a duration from 1ms to 10m"));
    }
    let filters = Filters {
        collections: match &scope {
            Scope::Collections(_, colls) => colls,
            _ => &[],
        },
        op: &args.filter.op,
        expanded_events: args.filter.expanded_events,
        id: &args.filter.id,
        matches: &args.filter.matches,
        pipeline: pipeline
            .as_ref()
            .map(|(flag, text)| (flag.as_str(), text.as_str())),
    };
    Ok(StreamSpec {
        pipeline: filters.stages()?,
        scope,
        full_document: match args.filter.full_document {
            FullDocument::Default => None,
            FullDocument::UpdateLookup => Some("updateLookup"),
            FullDocument::WhenAvailable => Some("whenAvailable"),
            FullDocument::Required => Some("required"),
        },
        full_document_before_change: match args.filter.full_document_before_change {
            FullDocumentBeforeChange::Off => None,
            FullDocumentBeforeChange::WhenAvailable => Some("whenAvailable"),
            FullDocumentBeforeChange::Required => Some("required"),
        },
        expanded_events: args.filter.expanded_events,
        batch_size: args.tuning.batch_size,
        max_await,
    })
}

fn scope(args: &ConnectionArgs) -> Result<Scope, Failure> {
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
                .hint("name another database, or omit --db to watch the whole deployment"),
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
            "{flag}: '{}' is not a valid MongoDB name",
            config::redacted(name)
        )));
    }
    Ok(())
}

fn read_file(flag: &str, file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let shown = config::redacted(&file.to_string_lossy());
        let failure = Failure::usage(format!("{flag}: cannot read {shown}: {error}"));
        if shown.contains("://") {
            failure.hint("use --uri for a connection string")
        } else {
            failure
        }
    })
}

/// Returns the default path of the resume file. It differs between deployments, scopes, filters and options.
fn default_resume_file(
    connection: &ConnectionConfig,
    stream: &StreamSpec,
) -> Result<PathBuf, Failure> {
    let state_home = platform::state_home().ok_or_else(|| {
        Failure::usage(format!(
            "no default path for the resume file: {}",
            platform::NO_STATE_HOME
        ))
        .hint("use --resume-file FILE or --no-resume")
    })?;
    let (db, coll) = stream.scope.names();
    let identity = [connection.hosts(), stream.scope_id(), stream.fingerprint()].join("\n");
    let fingerprint = &const_hex::encode(Sha256::digest(identity))[..FINGERPRINT_DIGITS];
    let name: String = format!("{db}.{coll}")
        .chars()
        .map(|c| match c {
            // Characters that Windows does not allow in a file name.
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .take(MAX_NAME_CHARS)
        .collect();
    Ok(state_home
        .join("cswatch")
        .join(format!("{name}-{fingerprint}.json")))
}
