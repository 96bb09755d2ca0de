//! Resolution of the command line into validated settings. Reads the files that flags name; never touches the network.

#[cfg(feature = "nats")]
mod nats;
mod scope;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::RawDocumentBuf;
use mongodb::options::Tls;

use crate::config::{
    self, Config, ConnectionConfig, DrawStatusLine, Filters, HealthConfig, LogConfig, LogFormat,
    MonitoringConfig, OutputConfig, ParsedUri, Policies, ResumePath, Scope, Start, StopConfig,
    StreamSpec, TokenConfig, Warning, When, value,
};
use crate::error::Failure;
use crate::extjson;
use crate::files;
use crate::platform;
use crate::token::ResumeToken;

use super::distinct_files::NamedFiles;
use super::misplaced;
use super::options::{ConnectionArgs, Format, FullDocument, FullDocumentBeforeChange, LogArgs};
use super::{HealthArgs, TokenArgs, WatchArgs};

use self::scope::{namespaces, scope};

/// Limit of `--max-await`. A longer wait would be indistinguishable from a dead connection.
const MAX_AWAIT_LIMIT: Duration = Duration::from_secs(600);

/// Hint for a connection string in the place of another value.
const URI_HINT: &str = "use --uri for a connection string";

/// The largest connection string read from a file, in bytes: far above any that a person or a tool writes.
const MAX_URI_BYTES: u64 = 64 * 1024;

/// The largest pipeline read from a file, in bytes: as large as a command to the server may be.
const MAX_PIPELINE_BYTES: u64 = 16 * 1024 * 1024;

/// Returns the settings of a watch.
///
/// # Errors
/// Exit code 2 when a value is invalid. The message names the flag.
pub(crate) fn watch(args: &WatchArgs) -> Result<Config, Failure> {
    misplaced::ensure_none_in_environment(&super::command())?;
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
    let stream = stream(args, connection.uri.default_database.as_deref())?;
    let advice = config::advice(&stream.scope, &stream.pipeline);
    let start = match &args.checkpoint.start_after {
        Some(token) => Some(Start::After(resume_token("--start-after", token)?)),
        None => match &args.checkpoint.start {
            Some(when) => Some(Start::At(value::when("--start", when)?)),
            None => None,
        },
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
    #[cfg(feature = "nats")]
    let nats = nats::config(&args.nats)?;
    #[cfg(feature = "nats")]
    let has_nats = nats.is_some();
    #[cfg(not(feature = "nats"))]
    let has_nats = false;
    let resume_file = if args.checkpoint.no_resume || has_nats {
        None
    } else {
        Some(match &args.checkpoint.resume_file {
            Some(file) => ResumePath::Named(file.clone()),
            None => ResumePath::Default(state_folder()?),
        })
    };
    Ok(Config {
        connection,
        stream,
        advice,
        start,
        snapshot: args.checkpoint.snapshot,
        resume_file,
        stop: StopConfig {
            count: args.checkpoint.count,
            until,
        },
        output: OutputConfig {
            file: args.output.output.clone(),
            mode: match args.output.format {
                None | Some(Format::Canonical) => extjson::Mode::Canonical,
                Some(Format::Relaxed) => extjson::Mode::Relaxed,
            },
            pretty: args.output.pretty,
            color: args.output.color,
        },
        #[cfg(feature = "nats")]
        nats,
        policies: Policies {
            on_invalidate: args.policy.on_invalidate,
            on_history_lost: args.policy.on_history_lost,
        },
        catch_up_streams: args.tuning.catch_up_streams.into(),
        save_interval: value::duration("--save-interval", &args.tuning.save_interval)?,
        monitoring: MonitoringConfig {
            metrics_addr: args.tuning.metrics_addr.clone(),
            status_line: match (args.log.status, args.log.quiet, args.log.log_format) {
                (true, ..) => DrawStatusLine::Always,
                (false, false, LogFormat::Text) => DrawStatusLine::ApartFromEvents,
                (false, ..) => DrawStatusLine::Never,
            },
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
        Some(file) => ("--uri-file", read_file("--uri-file", file, MAX_URI_BYTES)?),
        None => ("--uri", args.uri.clone()),
    };
    let ParsedUri {
        uri,
        warnings,
        has_password,
    } = config::parse_connection_string(flag, text.trim())?;
    for Warning { message, hint } in warnings {
        match hint.is_empty() {
            true => tracing::warn!("{message}"),
            false => tracing::warn!(hint, "{message}"),
        }
    }
    let retry_for = match args.retry_for.as_str() {
        "forever" => None,
        text => Some(value::duration("--retry-for", text)?),
    };
    Ok(ConnectionConfig {
        uri,
        exposes_password: has_password && args.is_uri_typed,
        wait: args.wait,
        retry_for,
    })
}

/// Parses a resume token: hex, or a document as [`value::document`].
fn resume_token(flag: &str, text: &str) -> Result<ResumeToken, Failure> {
    let token = if text.trim_start().starts_with('{') {
        let document = value::document(flag, text)?;
        RawDocumentBuf::try_from(&document)
            .map_err(|error| error.to_string())
            .and_then(|raw| ResumeToken::from_raw(&raw).map_err(|error| error.to_string()))
    } else {
        ResumeToken::parse(text).map_err(|error| error.to_string())
    };
    token.map_err(|error| {
        Failure::usage(format!("{flag}: {error}"))
            .hint("use the _data of an event's _id (hex) or the whole _id, as printed or as mongosh shows it")
    })
}

/// Returns the stream. `uri_db` is the database in the connection string.
fn stream(args: &WatchArgs, uri_db: Option<&str>) -> Result<StreamSpec, Failure> {
    let scope = scope(&args.connection, uri_db)?;
    let namespaces = namespaces(&args.connection, &scope)?;
    let pipeline = match args.filter.pipeline.as_deref() {
        Some(text) => Some(match text.strip_prefix('@') {
            Some(file) => (
                format!("--pipeline {text}"),
                read_file("--pipeline", Path::new(file), MAX_PIPELINE_BYTES)?,
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
            Scope::Collections(db, colls) => Some((db, colls)),
            _ => None,
        },
        namespaces: Some(&namespaces),
        op: &args.filter.op,
        expanded_events: args.filter.expanded_events,
        id: &args.filter.id,
        matches: &args.filter.matches,
        pipeline: pipeline
            .as_ref()
            .map(|(flag, text)| (flag.as_str(), text.as_str())),
    };
    let (origins, pipeline) = filters.stages()?.into_iter().unzip();
    Ok(StreamSpec {
        pipeline,
        origins,
        scope,
        namespaces,
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

/// Reads the text of a file, or of a pipe, as `<(...)` of a shell is.
fn read_file(flag: &str, file: &Path, limit: u64) -> Result<String, Failure> {
    files::read_text(file, limit).map_err(|error| {
        let shown = config::redacted(&file.to_string_lossy());
        let hint = if shown.contains("://") {
            URI_HINT
        } else {
            "name a text file that this user can read"
        };
        Failure::usage(format!("{flag}: cannot read {shown}: {error}")).hint(hint)
    })
}

/// Returns the folder of default resume files.
fn state_folder() -> Result<PathBuf, Failure> {
    let state_home = platform::state_home().ok_or_else(|| {
        Failure::usage(format!(
            "no default path for the resume file: {}",
            platform::NO_STATE_HOME
        ))
        .hint("use --resume-file FILE or --no-resume")
    })?;
    Ok(state_home.join("cswatch"))
}
