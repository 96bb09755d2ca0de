//! Background tasks of a running watch: metrics, heartbeat, status line and supervisor. They ask the server for what the stream does
//! not report: its cluster time, and how far back its history goes.

use std::time::Duration;

use bson::Timestamp;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::reporter_thread::ReporterThread;
use super::status::Rates;
use super::systemd::Supervisor;
use super::{HeartbeatFile, MetricsServer, StatusLine, Telemetry};
use crate::error::{Failure, Kind};
use crate::platform::StatusSignals;

/// How often the status line is drawn, and a supervisor notified.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// How often a heartbeat is written.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How often a heartbeat is written before the server's first reply, so that a watch is reported healthy as soon as it is.
const FIRST_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// How often the server is asked for its cluster time.
const CLUSTER_TIME_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest and the longest pause between two searches for the oldest time that a stream can start at. A search takes about thirty
/// attempts to open a stream.
const MIN_OLDEST_INTERVAL: Duration = Duration::from_secs(10);
const MAX_OLDEST_INTERVAL: Duration = Duration::from_secs(300);

/// Within these bounds, the pause is the headroom divided by this: the less headroom, the more often it is measured.
const SEARCHES_PER_HEADROOM: u32 = 20;

/// How long a status that was asked for with a signal waits for the server's cluster time.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a watch is reported, apart from stderr on SIGUSR1, a supervisor and the heartbeat file.
#[derive(Debug, Default)]
pub(crate) struct Reporters {
    /// The server of `--metrics-addr`.
    pub server: Option<MetricsServer>,
    /// The status line on the terminal.
    pub status_line: Option<StatusLine>,
}

/// Reports on a watch until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Monitor<C> {
    tasks: JoinSet<()>,
    /// Reporters that may block.
    threads: Vec<ReporterThread>,
    clock: watch::Sender<Option<C>>,
}

/// Cluster times that a stream itself does not report.
pub(crate) trait ClusterTimes: Clone + Send + Sync + 'static {
    /// Returns the latest cluster time that the server knows; `None` if it does not reply.
    fn latest(&self) -> impl Future<Output = Option<Timestamp>> + Send;

    /// Returns the oldest time that a stream can start at; `None` if nothing was overwritten yet, or the server does not reply.
    fn oldest(&self) -> impl Future<Output = Option<Timestamp>> + Send;
}

impl<C: ClusterTimes> Monitor<C> {
    /// Starts to report `telemetry` to `reporters`. Must be called on a runtime.
    ///
    /// # Errors
    /// Exit code 1 if the system refuses a signal handler or a thread.
    pub(crate) fn start(telemetry: &Telemetry, reporters: Reporters) -> Result<Self, Failure> {
        let Reporters {
            server,
            status_line,
        } = reporters;
        let (clock, clocks) = watch::channel(None);
        let mut tasks = JoinSet::new();
        if server.is_some() || status_line.is_some() {
            tasks.spawn(query_cluster_times(telemetry.clone(), clocks.clone()));
        }
        if let Some(server) = server {
            let telemetry = telemetry.clone();
            tasks.spawn(async move {
                if let Err(error) = server.run(telemetry).await {
                    tracing::warn!("cannot serve metrics: {error}");
                }
            });
        }
        if let Some(status_line) = status_line {
            tasks.spawn(show_status(telemetry.clone(), status_line));
        }
        let mut threads = Vec::new();
        if let Some(supervisor) = Supervisor::from_environment() {
            let notify = notify_supervisor(telemetry.clone(), supervisor);
            threads.push(ReporterThread::start("supervisor", notify)?);
        }
        let mut signals = StatusSignals::listen().map_err(|error| {
            Failure::new(Kind::Other, format!("cannot handle SIGUSR1: {error}"))
        })?;
        let telemetry = telemetry.clone();
        tasks.spawn(async move {
            let mut rates = Rates::new();
            while signals.next().await.is_some() {
                log_status(&telemetry, &clocks, &mut rates).await;
            }
        });
        Ok(Self {
            tasks,
            threads,
            clock,
        })
    }

    /// Starts to write heartbeats of `telemetry` to `file`.
    ///
    /// # Errors
    /// Exit code 1 if the system refuses a thread.
    pub(crate) fn write_heartbeats(
        &mut self,
        telemetry: &Telemetry,
        file: HeartbeatFile,
    ) -> Result<(), Failure> {
        let write = write_heartbeats(telemetry.clone(), file);
        self.threads
            .push(ReporterThread::start("heartbeat", write)?);
        Ok(())
    }

    /// Provides the cluster times of the server that the watch has connected to.
    pub(crate) fn connected(&self, clock: C) {
        self.clock.send_replace(Some(clock));
    }

    /// Stops the reports: clears the status line, removes the heartbeat file and notifies a supervisor.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
        join_all(self.threads.into_iter().map(ReporterThread::stop)).await;
    }
}

/// Logs the status line once, with the server's cluster time as it is now.
async fn log_status(
    telemetry: &Telemetry,
    clocks: &watch::Receiver<Option<impl ClusterTimes>>,
    rates: &mut Rates,
) {
    let clock = clocks.borrow().clone();
    if let Some(clock) = clock
        && let Ok(Some(time)) = tokio::time::timeout(REPLY_TIMEOUT, clock.latest()).await
    {
        telemetry.set_cluster_time(time);
    }
    let line = rates.line(&telemetry.snapshot());
    tracing::info!(target: crate::logging::STATUS, "{line}");
}

async fn show_status(telemetry: Telemetry, status_line: StatusLine) {
    let mut rates = Rates::new();
    let mut ticks = ticks(STATUS_INTERVAL);
    loop {
        ticks.tick().await;
        status_line.show(&rates.line(&telemetry.snapshot()));
    }
}

/// Returns what notifies the supervisor once.
fn notify_supervisor(telemetry: Telemetry, mut supervisor: Supervisor) -> impl FnMut() -> Duration {
    move || {
        supervisor.notify(&telemetry.snapshot());
        STATUS_INTERVAL
    }
}

/// Returns what writes a heartbeat once.
fn write_heartbeats(
    telemetry: Telemetry,
    mut heartbeat: HeartbeatFile,
) -> impl FnMut() -> Duration {
    move || {
        let snapshot = telemetry.snapshot();
        heartbeat.beat(&snapshot);
        match snapshot.lag.time_since_reply {
            Some(_) => HEARTBEAT_INTERVAL,
            None => FIRST_HEARTBEAT_INTERVAL,
        }
    }
}

/// Keeps asking the server for its cluster times, once there is a connection.
async fn query_cluster_times(
    telemetry: Telemetry,
    mut clocks: watch::Receiver<Option<impl ClusterTimes>>,
) {
    if clocks.wait_for(Option::is_some).await.is_err() {
        return;
    }
    // Of the newest connection: a watch that delivers to JetStream may connect again.
    let clock = || clocks.borrow().clone();
    let query_latest = async {
        let mut ticks = ticks(CLUSTER_TIME_INTERVAL);
        loop {
            ticks.tick().await;
            if let Some(clock) = clock()
                && let Some(time) = clock.latest().await
            {
                telemetry.set_cluster_time(time);
            }
        }
    };
    let query_oldest = async {
        loop {
            if let Some(clock) = clock()
                && let Some(oldest) = clock.oldest().await
            {
                telemetry.set_oldest(oldest);
            }
            let headroom = telemetry.snapshot().headroom;
            let pause = headroom.map_or(MAX_OLDEST_INTERVAL, |headroom| {
                (headroom / SEARCHES_PER_HEADROOM).clamp(MIN_OLDEST_INTERVAL, MAX_OLDEST_INTERVAL)
            });
            tokio::time::sleep(pause).await;
        }
    };
    futures::join!(query_latest, query_oldest);
}

/// Returns an interval that does not make up for missed ticks: every report is about the present, so late ones would repeat it.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
