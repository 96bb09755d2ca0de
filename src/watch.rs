//! One watch from its beginning to its end: what is checked before connecting, where to start, who reads, who writes, and how it stops.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::checkpoint::{Checkpoint, CheckpointTracker, ResumeFile};
use crate::config::{Config, Start};
use crate::error::{Failure, Kind};
use crate::queue::{self, Message};
use crate::shutdown::{Asked, Signals};
use crate::sink::{
    self, Ended, Limits, LineStyle, Output, OutputFile, SharedWriter, Until, Writer,
};
use crate::source::{ClusterClock, Deployment, Source};
use crate::telemetry::{HeartbeatFile, MetricsServer, Monitor, Reporters, StatusLine, Telemetry};
use crate::time;
use crate::token::ResumeToken;

/// How long lines may still be written after the end was asked for. What a blocked reader does not take by then is not counted, and
/// is printed by the next run.
const GRACE: Duration = Duration::from_secs(3);

/// Watches until a limit is reached, a signal asks for the end, the reader goes away, or something fails.
///
/// # Errors
/// Why it failed; see [`crate::error::Kind`] for the exit codes.
pub(crate) async fn run(config: Config, signals: Signals) -> Result<(), Failure> {
    let metrics_addr = config.monitoring.metrics_addr.as_deref();
    let server = metrics_addr.map(MetricsServer::bind).transpose()?;
    let on_disk = OnDisk::open(&config)?;
    let telemetry = Telemetry::new(config.stream.max_await);
    let reporters = Reporters {
        server,
        heartbeat: (on_disk.resume_file.as_ref()).map(|file| HeartbeatFile::next_to(file.path())),
        status_line: draws_line(&config).then(StatusLine::new),
    };
    let monitor = Monitor::start(&telemetry, reporters)
        .map_err(|error| Failure::new(Kind::Other, format!("SIGUSR1: {error}")))?;
    let watched = watch(&config, on_disk, signals, telemetry, &monitor).await;
    monitor.stop().await;
    watched
}

/// Whether people look at stderr and no events are in between.
fn draws_line(config: &Config) -> bool {
    config.monitoring.may_draw
        && std::io::stderr().is_terminal()
        && (config.output.file.is_some() || !std::io::stdout().is_terminal())
}

async fn watch(
    config: &Config,
    on_disk: OnDisk,
    mut signals: Signals,
    telemetry: Telemetry,
    monitor: &Monitor<ClusterClock>,
) -> Result<(), Failure> {
    let started = tokio::select! {
        started = start(config, on_disk, &telemetry) => started?,
        () = signals.stop() => return Ok(()),
    };
    let Started {
        mut source,
        token,
        tracker,
        writer,
    } = started;
    let writer = SharedWriter::new(writer);
    let beside = writer.clone();
    let (sender, receiver) = queue::channel(move |events| beside.print_at_once(events));
    telemetry.watch_queue(sender.budget());
    telemetry.starts_at(token.time());
    monitor.connected(source.clock());
    let (done_sender, mut done) = oneshot::channel();
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            // Nobody to tell when the process is already on its way out.
            let _ = done_sender.send(writer.run(&receiver));
        })
        .map_err(|error| Failure::new(Kind::Other, format!("no thread to write in: {error}")))?;

    let mut written = None;
    let read = {
        let mut reading = pin!(source.run(token, &sender));
        loop {
            tokio::select! {
                read = &mut reading => break read,
                // By itself: a limit was reached, or lines cannot be written.
                ended = &mut done => {
                    written = Some(ended);
                    break Ok(());
                }
                asked = signals.asked() => match asked {
                    Asked::Stop => break Ok(()),
                    // To a writer that is gone there is nothing to say; the branch above sees it.
                    Asked::Reopen => drop(sender.send(Message::Reopen).await),
                },
            }
        }
    };
    // The writer ends when it has written what is in the queue.
    drop(sender);
    let written = match written {
        Some(ended) => ended,
        None => tokio::select! {
            ended = &mut done => ended,
            () = grace(&mut signals) => {
                // It is stuck in a write, and ends with the process. Of a pipe, what was accepted before is known; of a file, the
                // next start finds it out.
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
        Err(_) => Err(Failure::new(Kind::Other, "the writing thread is gone")),
    }
}

/// Lasts until the end was asked for and its grace is over.
async fn grace(signals: &mut Signals) {
    signals.stop().await;
    tokio::time::sleep(GRACE).await;
}

/// The files of a watch, checked and locked before anything is connected.
struct OnDisk {
    resume_file: Option<ResumeFile>,
    saved: Option<Checkpoint>,
    output: Output,
}

impl OnDisk {
    fn open(config: &Config) -> Result<Self, Failure> {
        let (resume_file, mut saved) = match &config.resume_file {
            Some(path) => {
                let (file, saved) = ResumeFile::open(path, &config.stream)?;
                (Some(file), saved)
            }
            None => (None, None),
        };
        let output = match &config.output.file {
            Some(path) => {
                let mark = saved.as_ref().and_then(|saved| saved.output.as_ref());
                let (file, newest) = OutputFile::open(path, mark)?;
                if let (Some(saved), Some(newest)) = (&mut saved, newest) {
                    saved.token = newest;
                }
                Output::File(file)
            }
            None => Output::stdout()?,
        };
        Ok(Self {
            resume_file,
            saved,
            output,
        })
    }
}

/// A watch whose start is known.
struct Started {
    source: Source,
    token: ResumeToken,
    tracker: Arc<CheckpointTracker>,
    writer: Writer,
}

async fn start(
    config: &Config,
    on_disk: OnDisk,
    telemetry: &Telemetry,
) -> Result<Started, Failure> {
    let OnDisk {
        mut resume_file,
        saved,
        output,
    } = on_disk;
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
        file.is_of_set(set);
    }
    let limits = limits(config, &source);
    if let Start::After(token) = &config.start {
        ensure_not_ahead(token, source.deployment())?;
    }
    let held = saved.as_ref().map(|saved| saved.token.clone());
    // Of a file that the position does not know of yet, lines could not be told from those of another program.
    let is_file_unknown =
        config.output.file.is_some() && saved.as_ref().is_some_and(|saved| saved.output.is_none());
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
                    ", saved with another filter or other options"
                }
            );
            saved.token
        }
    };
    let is_first_run = held.is_none();
    let tracker = Arc::new(CheckpointTracker::new(
        resume_file,
        config.save_interval,
        held.unwrap_or_else(|| token.clone()),
        telemetry.clone(),
    ));
    let style = LineStyle {
        mode: config.output.mode,
        pretty: config.output.pretty,
        color: config.output.pretty && sink::is_colored(config.output.color),
    };
    let telemetry = telemetry.clone();
    let mut writer = Writer::new(output, style, limits, Arc::clone(&tracker), telemetry);
    if is_first_run || is_file_unknown {
        // A crash before the first event must not lose what happens until the next start.
        tracker.must_save();
        writer.save()?;
        tracker.ensure_saved()?;
    }
    Ok(Started {
        source,
        token,
        tracker,
        writer,
    })
}

/// Refuses a given token that is ahead of the server, which would silently skip events up to it (measured on MongoDB 6.0.27).
fn ensure_not_ahead(token: &ResumeToken, deployment: &Deployment) -> Result<(), Failure> {
    match deployment.operation_time {
        Some(now) if time::is_ahead(token.time(), now) => Err(Failure::usage(format!(
            "--start-after: {}",
            time::ahead_of_server(token.time(), now)
        ))
        .hint("use the _id of a line from this deployment, or --start now")),
        _ => Ok(()),
    }
}

fn limits(config: &Config, source: &Source) -> Limits {
    let deployment = source.deployment();
    // A server that tells no time has no change streams either, and says so when the stream is opened.
    let until = config
        .stop
        .until
        .zip(deployment.operation_time)
        .map(|(when, now)| Until {
            time: when.ends_at(now),
            reached_is_passed: !deployment.sharded,
        });
    Limits {
        count: config.stop.count,
        until,
    }
}
