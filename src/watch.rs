//! One watch from start to shutdown: opens the files, connects, chooses the start, runs the reading task, the writing thread and the saving
//! thread, and ends them. The task itself never waits for a file.

use std::io::IsTerminal as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{Checkpoint, CheckpointTracker, ResumeFile};
use crate::config::{Config, ResumePath, Start};
use crate::error::{Failure, Kind};
use crate::queue::{self, Message};
use crate::shutdown::{SignalRequest, Signals};
use crate::sink::{
    self, Ended, Limits, LineStyle, Opened, Output, OutputFile, SharedWriter, Until, Writer,
};
use crate::source::{ClusterClock, Deployment, Source};
use crate::telemetry::{HeartbeatFile, MetricsServer, Monitor, Reporters, StatusLine, Telemetry};
use crate::threads::{self, Thread};
use crate::time;
use crate::token::ResumeToken;

/// How long lines may still be written after a shutdown was requested, and then the last checkpoint saved. Lines that a stalled reader has
/// not accepted by then do not count as printed; the next run prints them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Watches until a limit is reached, a signal requests a shutdown, the reader closes stdout, or something fails.
///
/// # Errors
/// The failure that ended the watch; see [`crate::error::Kind`] for the exit codes.
pub(crate) async fn run(config: Config, mut signals: Signals) -> Result<(), Failure> {
    let config = Arc::new(config);
    let opening = threads::run("opening", {
        let config = Arc::clone(&config);
        move || {
            // Looks up a host name.
            let metrics_addr = config.monitoring.metrics_addr.as_deref();
            let server = metrics_addr.map(MetricsServer::bind).transpose()?;
            Ok((server, Files::open(&config)?))
        }
    });
    let (server, files) = tokio::select! {
        opened = opening => opened??,
        () = signals.shutdown_requested() => return Ok(()),
    };
    let telemetry = Telemetry::new(config.stream.max_await);
    let reporters = Reporters {
        server,
        heartbeat: (files.resume_file.as_ref()).map(|file| HeartbeatFile::next_to(file.path())),
        status_line: draws_status_line(&config).then(StatusLine::new),
    };
    let monitor = Monitor::start(&telemetry, reporters)?;
    let watched = watch(&config, files, signals, telemetry, &monitor).await;
    monitor.stop().await;
    watched
}

/// Returns whether to draw a status line: stderr is a terminal, and no events are printed to the same one.
fn draws_status_line(config: &Config) -> bool {
    config.monitoring.may_draw
        && std::io::stderr().is_terminal()
        && (config.output.file.is_some() || !std::io::stdout().is_terminal())
}

async fn watch(
    config: &Config,
    files: Files,
    mut signals: Signals,
    telemetry: Telemetry,
    monitor: &Monitor<ClusterClock>,
) -> Result<(), Failure> {
    let prepared = tokio::select! {
        prepared = prepare(config, files, &telemetry) => prepared?,
        () = signals.shutdown_requested() => return Ok(()),
    };
    let PreparedWatch {
        mut source,
        token,
        tracker,
        writer,
    } = prepared;
    let writer = SharedWriter::new(writer);
    let (sender, receiver) = queue::channel({
        let writer = writer.clone();
        move |events| writer.try_print_now(events)
    });
    telemetry.watch_queue(sender.budget());
    telemetry.starts_at(token.time());
    monitor.connected(source.clock());
    let mut writing = Thread::start("writer", {
        let writer = writer.clone();
        move || writer.write_all(&receiver)
    })?;
    let mut saving = Thread::start("saver", move || writer.save_all())?;

    let (mut written, mut saved) = (None, None);
    let read = {
        let mut reading = pin!(source.run(token, &sender));
        loop {
            tokio::select! {
                read = &mut reading => break read,
                // A limit was reached, the reader closed stdout, or lines cannot be written.
                ended = writing.result() => {
                    written = Some(ended);
                    break Ok(());
                }
                // The output file cannot be synced.
                ended = saving.result() => {
                    saved = Some(ended);
                    break Ok(());
                }
                request = signals.next_request() => match request {
                    SignalRequest::Shutdown => break Ok(()),
                    // If the writing thread has ended, the branch above handles it.
                    SignalRequest::Reopen => drop(sender.send(Message::Reopen).await),
                },
            }
        }
    };
    // Without a sender, the writing thread ends when the queue is empty.
    drop(sender);
    let written = match written {
        Some(ended) => Some(ended?),
        None => tokio::select! {
            ended = writing.result() => Some(ended?),
            // The thread is stuck in a write, and ends with the process.
            () = shutdown_grace(&mut signals) => None,
        },
    };
    if written.is_none()
        && let Some(path) = &config.output.file
    {
        // The output file is locked by the write, and can neither be synced nor named by a checkpoint. The next start finds its lines.
        return Err(match tracker.is_saving() {
            true => stuck_save(config),
            false => stuck_output(path),
        });
    }
    // Everything is printed that will be.
    tracker.close();
    let saved = match saved {
        Some(ended) => ended?,
        None => tokio::select! {
            ended = saving.result() => ended?,
            () = shutdown_grace(&mut signals) => return Err(match &config.output.file {
                Some(path) if !tracker.is_saving() => stuck_output(path),
                _ => stuck_save(config),
            }),
        },
    };
    let Some(written) = written else {
        return saved;
    };
    source.close().await;
    let ended = written?;
    saved?;
    match ended {
        Ended::Drained => read,
        Ended::LimitReached | Ended::ReaderGone => Ok(()),
    }
}

/// Returns the failure of an output file whose disk did not respond in time.
fn stuck_output(path: &Path) -> Failure {
    Failure::new(
        Kind::Output,
        format!(
            "output file {} was not written within {} of the shutdown request: its disk does not respond",
            path.display(),
            time::readable(SHUTDOWN_GRACE)
        ),
    )
    .hint("check that disk and start cswatch again: no event is lost")
}

/// Returns the failure of a checkpoint that was not saved in time.
fn stuck_save(config: &Config) -> Failure {
    let path = match &config.resume_file {
        Some(ResumePath::Named(path) | ResumePath::Default(path)) => path.as_path(),
        None => Path::new(""),
    };
    Failure::new(
        Kind::ResumeFile,
        format!(
            "cannot save the last checkpoint to resume file {} within {} of the shutdown request: its disk does not respond",
            path.display(),
            time::readable(SHUTDOWN_GRACE)
        ),
    )
    .hint("check that disk; the next run prints the events after the last save again")
}

/// Waits until a shutdown is requested and the grace period after it is over.
async fn shutdown_grace(signals: &mut Signals) {
    signals.shutdown_requested().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}

/// The files of a watch, checked and locked before cswatch connects.
struct Files {
    resume_file: Option<ResumeFile>,
    saved: Option<Checkpoint>,
    output: Output,
    /// Whether there is an output file that the saved checkpoint does not know.
    is_output_unknown: bool,
}

impl Files {
    fn open(config: &Config) -> Result<Self, Failure> {
        let (resume_file, mut saved) = match &config.resume_file {
            Some(path) => {
                let (file, saved) = ResumeFile::open(path, &config.stream)?;
                (Some(file), saved)
            }
            None => (None, None),
        };
        let Some(path) = &config.output.file else {
            return Ok(Self {
                resume_file,
                saved,
                output: Output::stdout()?,
                is_output_unknown: false,
            });
        };
        // A start that the user chose needs no file that is gone.
        let is_start_chosen = matches!(config.start, Start::After(_));
        let known = (saved.as_ref()).filter(|_| !(is_start_chosen && OutputFile::is_missing(path)));
        let Opened {
            file,
            newest_token,
            is_unknown,
        } = OutputFile::open(path, known)?;
        if let (Some(saved), Some(newest_token)) = (&mut saved, newest_token) {
            saved.token = newest_token;
        }
        Ok(Self {
            resume_file,
            saved,
            output: Output::File(file),
            is_output_unknown: is_unknown,
        })
    }
}

/// A watch that is ready to read and write.
struct PreparedWatch {
    source: Source,
    /// The token to start after.
    token: ResumeToken,
    tracker: Arc<CheckpointTracker>,
    writer: Writer,
}

/// Connects, chooses the token to start after, and saves the first checkpoint.
async fn prepare(
    config: &Config,
    files: Files,
    telemetry: &Telemetry,
) -> Result<PreparedWatch, Failure> {
    let Files {
        mut resume_file,
        saved,
        output,
        is_output_unknown,
    } = files;
    let mut source = Source::connect(
        &config.connection,
        &config.stream,
        config.policies,
        config.catch_up_streams,
        telemetry.clone(),
    )
    .await?;
    if let Some(file) = &mut resume_file {
        let deployment = source.deployment();
        let set = deployment.set.as_deref();
        if let Some(saved) = &saved {
            saved.ensure_deployment(file.path(), set, deployment.operation_time)?;
        }
        file.set_replica_set(set);
    }
    let limits = limits(config, &source);
    if let Start::After(token) = &config.start {
        ensure_not_ahead(token, source.deployment())?;
    }
    let mut saved_token = saved.as_ref().map(|saved| saved.token.clone());
    let mut is_first_save_due = saved_token.is_none() || is_output_unknown;
    if let (Start::After(token), Some(saved_token)) = (&config.start, &mut saved_token)
        && config.output.file.is_some()
        && !token.is_after(saved_token)
    {
        // Lines after the saved length must be later than the saved token.
        *saved_token = token.clone();
        is_first_save_due = true;
    }
    let token = match (&config.start, saved) {
        (start, None) => source.first_token(start).await?,
        (Start::After(token), Some(_)) => token.clone(),
        (Start::At(_), Some(saved)) => {
            tracing::info!(
                "resuming after {}{}",
                time::rfc3339(saved.token.time()),
                if saved.same_filter {
                    ""
                } else {
                    " (saved with another filter or other options)"
                }
            );
            saved.token
        }
    };
    let tracker = Arc::new(CheckpointTracker::new(
        resume_file,
        config.save_interval,
        saved_token.unwrap_or_else(|| token.clone()),
        telemetry.clone(),
    ));
    let style = LineStyle {
        mode: config.output.mode,
        pretty: config.output.pretty,
        color: config.output.pretty && sink::is_colored(config.output.color),
    };
    let telemetry = telemetry.clone();
    let mut writer = Writer::new(output, style, limits, Arc::clone(&tracker), telemetry);
    if is_first_save_due {
        // After a crash before the first event, the next run must still start here.
        tracker.mark_unsaved();
        let tracker = Arc::clone(&tracker);
        writer = threads::run("first save", move || {
            writer.save()?;
            tracker.ensure_saved()?;
            Ok(writer)
        })
        .await??;
    }
    Ok(PreparedWatch {
        source,
        token,
        tracker,
        writer,
    })
}

/// Fails if the token given by `--start-after` is ahead of the server, which would silently skip events up to it (measured on MongoDB
/// 6.0.27).
fn ensure_not_ahead(token: &ResumeToken, deployment: &Deployment) -> Result<(), Failure> {
    match deployment.operation_time {
        Some(now) if time::is_ahead(token.time(), now) => Err(Failure::usage(format!(
            "--start-after: {}",
            time::ahead_of_server(token.time(), now)
        ))
        .hint("give the _id of an event of this deployment, or --start now")),
        _ => Ok(()),
    }
}

fn limits(config: &Config, source: &Source) -> Limits {
    let deployment = source.deployment();
    // A server without a cluster time has no change streams either; opening the stream reports that.
    let until = config
        .stop
        .until
        .zip(deployment.operation_time)
        .map(|(when, now)| Until {
            time: when.ends_at(now),
            is_final_when_reached: !deployment.sharded,
        });
    Limits {
        count: config.stop.count,
        until,
    }
}
