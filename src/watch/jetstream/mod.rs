//! A watch that delivers to NATS JetStream: waits for the lease, resumes after the last message of the stream, and starts again from there
//! when the stream has another writer.

mod prepare;
mod start;
mod stream;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{self, Lock};
use crate::config::{Config, NatsConfig, StopConfig};
use crate::error::Failure;
use crate::shutdown::Signals;
use crate::sink::jetstream::{self, End, Holder, NatsThread};
use crate::source::ClusterClock;
use crate::telemetry::{HeartbeatFile, LeaseState, Monitor, Telemetry};

use super::opening::{self, Opened};

use self::prepare::Prepared;

/// Pause between two runs: a stream with another writer must not keep this process busy.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// Watches until a limit is reached, a signal requests a shutdown, or something fails.
///
/// # Errors
/// The failure that ended the watch.
pub(super) async fn run(config: Arc<Config>, mut signals: Signals) -> Result<(), Failure> {
    let Some(nats) = config.nats.clone().map(Arc::new) else {
        return Ok(());
    };
    let opening = opening::open(&config, &mut signals, {
        let nats = Arc::clone(&nats);
        move |_| {
            let path = nats.health_file.as_deref();
            path.map(HealthFile::open).transpose()
        }
    });
    let Some(opened) = opening.await? else {
        return Ok(());
    };
    let Opened {
        files: health,
        telemetry,
        mut monitor,
    } = opened;
    let _lock = match health {
        Some(health) => {
            monitor.write_heartbeats(&telemetry, health.heartbeat)?;
            Some(health.lock)
        }
        None => None,
    };
    let mut delivery = Delivery {
        thread: NatsThread::start()?,
        stop: config.stop,
        holder: Holder::this_process(),
        config,
        nats,
        telemetry,
        runs: 0,
    };
    let delivered = delivery.deliver(&mut signals, &monitor).await;
    monitor.stop().await;
    delivered
}

/// The path that `cswatch health` is given, locked like a resume file.
struct HealthFile {
    lock: Lock,
    heartbeat: HeartbeatFile,
}

impl HealthFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        let path = checkpoint::resolve(path)?;
        Ok(Self {
            lock: Lock::acquire(&path)?,
            heartbeat: HeartbeatFile::next_to(&path)?,
        })
    }
}

/// A delivery, over all runs of the stream of events.
struct Delivery {
    thread: NatsThread,
    holder: Holder,
    config: Arc<Config>,
    nats: Arc<NatsConfig>,
    telemetry: Telemetry,
    /// The number of runs so far.
    runs: u32,
    /// What is left of the limits.
    stop: StopConfig,
}

impl Delivery {
    async fn deliver(
        &mut self,
        signals: &mut Signals,
        monitor: &Monitor<ClusterClock>,
    ) -> Result<(), Failure> {
        loop {
            match self.run_once(signals, monitor).await? {
                Some(End::Restart(reason)) => {
                    tracing::warn!("starting again after the last message: {reason}");
                }
                Some(End::LimitReached | End::Drained) | None => return Ok(()),
            }
            self.runs += 1;
            if let Some(count) = self.config.stop.count {
                let left = count.saturating_sub(self.telemetry.event_count());
                if left == 0 {
                    return Ok(());
                }
                self.stop.count = Some(left);
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = signals.shutdown_requested() => return Ok(()),
            }
        }
    }

    /// Waits for the lease, and delivers until it ends. Returns `None` if a shutdown was requested before it began.
    async fn run_once(
        &mut self,
        signals: &mut Signals,
        monitor: &Monitor<ClusterClock>,
    ) -> Result<Option<End>, Failure> {
        self.telemetry.set_lease(LeaseState::Unknown);
        let prepared = tokio::select! {
            prepared = self.prepare() => prepared?,
            () = signals.shutdown_requested() => return Ok(None),
        };
        self.telemetry.set_lease(LeaseState::Active);
        let Prepared {
            log,
            mut lease,
            mut checkpoint,
        } = prepared;
        let started = tokio::select! {
            started = self.start(&log, &mut checkpoint) => started.map(Some),
            loss = lease.lost() => Ok(Some(Err(End::Restart(jetstream::describe(&loss))))),
            () = signals.shutdown_requested() => Ok(None),
        };
        let started = match started {
            Ok(Some(Ok(started))) => started,
            other => {
                self.thread.run(lease.release()).await?;
                return match other? {
                    Some(Err(end)) => Ok(Some(end)),
                    _ => Ok(None),
                };
            }
        };
        self.stream(log, lease, checkpoint, started, signals, monitor)
            .await
            .map(Some)
    }
}
