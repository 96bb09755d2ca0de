//! One watch from start to shutdown: opens the files, connects, chooses the start, runs the reading task and the writing thread, and ends
//! both.

mod files;
mod start;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::checkpoint::CheckpointTracker;
use crate::config::{Config, Start, When};
use crate::error::{Failure, Kind};
use crate::queue::{self, Message};
use crate::shutdown::{SignalRequest, Signals};
use crate::sink::{self, Ended, LineStyle, SharedWriter, Writer};
use crate::source::{ClusterClock, Source};
use crate::telemetry::{HeartbeatFile, MetricsServer, Monitor, Reporters, StatusLine, Telemetry};
use crate::token::ResumeToken;

use self::files::{Files, OpenFiles};

/// How long lines may still be written after a shutdown was requested. Lines that a stalled reader has not accepted by then do not count
/// as printed; the next run prints them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Watches until a limit is reached, a signal requests a shutdown, the reader closes stdout, or something fails.
///
/// # Errors
/// The failure that ended the watch; see [`crate::error::Kind`] for the exit codes.
pub(crate) async fn run(config: Config, signals: Signals) -> Result<(), Failure> {
    let metrics_addr = config.monitoring.metrics_addr.as_deref();
    let server = metrics_addr.map(MetricsServer::bind).transpose()?;
    let files = Files::open(&config)?;
    let telemetry = Telemetry::new(config.stream.max_await);
    let reporters = Reporters {
        server,
        status_line: draws_status_line(&config).then(StatusLine::new),
    };
    let mut monitor = Monitor::start(&telemetry, reporters)
        .map_err(|error| Failure::new(Kind::Other, format!("cannot handle SIGUSR1: {error}")))?;
    let watched = watch(&config, files, signals, telemetry, &mut monitor).await;
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
    monitor: &mut Monitor<ClusterClock>,
) -> Result<(), Failure> {
    let prepared = tokio::select! {
        prepared = prepare(config, files, &telemetry, monitor) => prepared?,
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
    let (done_sender, mut done) = oneshot::channel();
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            // The receiver is gone if the grace period is over.
            let _ = done_sender.send(writer.run(&receiver));
        })
        .map_err(|error| {
            Failure::new(
                Kind::Other,
                format!("cannot start the writing thread: {error}"),
            )
        })?;

    let mut written = None;
    let read = {
        let mut reading = pin!(source.run(token, &sender));
        loop {
            tokio::select! {
                read = &mut reading => break read,
                // A limit was reached, the reader closed stdout, or lines cannot be written.
                ended = &mut done => {
                    written = Some(ended);
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
        Some(ended) => ended,
        None => tokio::select! {
            ended = &mut done => ended,
            () = shutdown_grace(&mut signals) => {
                // The thread is stuck in a write, and ends with the process. For stdout, the tracker knows the lines that were accepted
                // before; for a file, the next start finds them in it.
                if config.output.file.is_none() {
                    tracker.save(None);
                    tracker.ensure_saved()?;
                }
                return Ok(());
            }
        },
    };
    source.close().await;
    match written {
        Ok(Ok(Ended::Drained)) => read,
        Ok(Ok(Ended::LimitReached | Ended::ReaderGone)) => Ok(()),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            Kind::Other,
            "the writing thread stopped unexpectedly",
        )),
    }
}

/// Waits until a shutdown is requested and the grace period after it is over.
async fn shutdown_grace(signals: &mut Signals) {
    signals.shutdown_requested().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
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
    monitor: &mut Monitor<ClusterClock>,
) -> Result<PreparedWatch, Failure> {
    let is_unchosen = matches!(files, Files::Unchosen { .. });
    if let Files::Open(files) = &files
        && let Some(file) = &files.resume_file
    {
        monitor.write_heartbeats(telemetry, HeartbeatFile::next_to(file.path()));
    }
    let mut source = Source::connect(
        &config.connection,
        &config.stream,
        config.policies,
        config.catch_up_streams,
        telemetry.clone(),
    )
    .await?;
    let OpenFiles {
        mut resume_file,
        saved,
        output,
    } = files.choose(config, source.deployment())?;
    if is_unchosen && let Some(file) = &resume_file {
        monitor.write_heartbeats(telemetry, HeartbeatFile::next_to(file.path()));
    }
    if let Some(time) = start::latest_start(config, saved.as_ref(), source.deployment()) {
        source.update_cluster_time(time).await;
    }
    let mut is_identity_new = false;
    if let Some(file) = &mut resume_file {
        let deployment = source.deployment();
        let mut identity = deployment.identity.clone();
        if let Some(saved) = &saved {
            saved.ensure_deployment(file.path(), &identity, deployment.cluster_time)?;
            identity = identity.completed_by(&saved.deployment);
            is_identity_new = identity != saved.deployment;
        }
        file.set_deployment(identity);
    }
    if let Some(Start::After(token)) = &config.start {
        start::ensure_not_ahead(token, source.deployment())?;
    }
    let saved_token = saved.as_ref().map(|saved| saved.token.clone());
    // Until a checkpoint knows the output file, its new lines cannot be distinguished from another program's.
    let is_file_unknown =
        config.output.file.is_some() && saved.as_ref().is_some_and(|saved| saved.output.is_none());
    let path = resume_file.as_ref().map(|file| file.path().to_owned());
    let token = match (&config.start, &saved) {
        (Some(Start::After(token)), Some(_)) => token.clone(),
        (Some(Start::At(_)) | None, Some(saved)) => saved.token.clone(),
        (Some(start), None) => source.first_token(start).await?,
        (None, None) => source.first_token(&Start::At(When::Now)).await?,
    };
    if let Some(path) = &path {
        start::report_start(config.start.as_ref(), saved.as_ref(), &token, path);
    }
    let limits = start::limits(config, &source, &token).await;
    let is_first_run = saved_token.is_none();
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
    if is_first_run || is_file_unknown || is_identity_new {
        // After a crash before the first event, the next run must still start here.
        tracker.mark_unsaved();
        writer.save()?;
        tracker.ensure_saved()?;
    }
    Ok(PreparedWatch {
        source,
        token,
        tracker,
        writer,
    })
}
