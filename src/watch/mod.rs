//! One watch from start to shutdown: opens the files, connects, chooses the start, runs the reading task, the writing thread and the saving
//! thread, and ends them. The task itself never waits for a file.

mod files;
#[cfg(feature = "nats")]
mod jetstream;
mod opening;
mod start;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, report_advice};
use crate::error::{Failure, Kind};
use crate::queue::{self, Message};
use crate::shutdown::{SignalRequest, Signals};
use crate::sink::{Ended, SharedWriter};
use crate::source::ClusterClock;
use crate::telemetry::{Monitor, Telemetry};
use crate::threads::Thread;
use crate::time;

use self::files::Files;
use self::opening::Opened;
use self::start::PreparedWatch;

/// How long lines may still be written after a shutdown was requested, and then the last checkpoint saved. Lines that a stalled reader has
/// not accepted by then do not count as printed; the next run prints them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Watches until a limit is reached, a signal requests a shutdown, the reader closes stdout, or something fails.
///
/// # Errors
/// The failure that ended the watch; see [`crate::error::Kind`] for the exit codes.
pub(crate) async fn run(config: Config, mut signals: Signals) -> Result<(), Failure> {
    let config = Arc::new(config);
    #[cfg(feature = "nats")]
    if config.nats.is_some() {
        return jetstream::run(config, signals).await;
    }
    let opening = opening::open(&config, &mut signals, Files::open);
    let Some(opened) = opening.await? else {
        return Ok(());
    };
    let Opened {
        files,
        telemetry,
        mut monitor,
    } = opened;
    let watched = watch(&config, files, signals, telemetry, &mut monitor).await;
    monitor.stop().await;
    watched
}

async fn watch(
    config: &Arc<Config>,
    files: Files,
    mut signals: Signals,
    telemetry: Telemetry,
    monitor: &mut Monitor<ClusterClock>,
) -> Result<(), Failure> {
    let prepared = tokio::select! {
        prepared = start::prepare(config, files, &telemetry, monitor) => prepared?,
        () = signals.shutdown_requested() => return Ok(()),
    };
    let PreparedWatch {
        mut source,
        token,
        snapshot,
        tracker,
        resume_path,
        writer,
    } = prepared;
    let resume_path = resume_path.as_deref();
    // Only now: a server that refuses the filter reports more about it.
    report_advice(&config.advice);
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
        move || writer.write_all(receiver)
    })?;
    let mut saving = Thread::start("saver", move || writer.save_all())?;

    let (mut written, mut saved) = (None, None);
    let read = {
        let mut reading = pin!(source.run(token, snapshot, &sender));
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
            true => stuck_save(resume_path),
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
                _ => stuck_save(resume_path),
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
fn stuck_save(resume_path: Option<&Path>) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!(
            "cannot save the last checkpoint to resume file {} within {} of the shutdown request: its disk does not respond",
            resume_path.unwrap_or(Path::new("")).display(),
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
