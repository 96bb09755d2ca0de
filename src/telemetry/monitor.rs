//! The tasks that tell of a watch while it runs. They ask the server for what the stream does not say: its time, and how far back its
//! history goes.

use std::time::{Duration, Instant};

use bson::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::status::{self, Rate};
use super::systemd::Supervisor;
use super::{HeartbeatFile, MetricsServer, StatusLine, Telemetry};
use crate::platform::StatusSignals;

/// How often the line is drawn, and a supervisor told.
const TICK: Duration = Duration::from_millis(500);

/// How often a sign of life is written.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often before the server was heard, so that a watch is known to be well as soon as it is.
const FIRST_HEARTBEATS: Duration = Duration::from_millis(500);

/// How often the server is asked for its time.
const PRESENT: Duration = Duration::from_secs(5);

/// How often it is asked how far back its history goes, which takes some thirty attempts to open a stream. More often when that is
/// not far, within these bounds.
const OLDEST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Part of the headroom after which it is asked for again.
const OLDEST_IN_HEADROOM: u32 = 20;

/// How long whoever asks for a status waits for the server's time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is told.
#[derive(Debug, Default)]
pub(crate) struct Reporters {
    /// `--metrics-addr`, bound.
    pub server: Option<MetricsServer>,
    /// Beside the position file.
    pub heartbeat: Option<HeartbeatFile>,
    /// On a terminal.
    pub line: Option<StatusLine>,
}

/// Tells of a watch until it ends.
#[derive(Debug)]
pub(crate) struct Monitor<C> {
    tasks: JoinSet<()>,
    clock: watch::Sender<Option<C>>,
}

/// Cluster times that a stream itself does not report.
pub(crate) trait ClusterTimes: Clone + Send + Sync + 'static {
    /// Returns the latest cluster time that the server knows; `None` when it does not answer.
    fn present(&self) -> impl Future<Output = Option<Timestamp>> + Send;

    /// Returns the oldest time that a stream can start at; `None` when nothing was overwritten yet, or when the server does not answer.
    fn oldest(&self) -> impl Future<Output = Option<Timestamp>> + Send;
}

impl<C: ClusterTimes> Monitor<C> {
    /// Begins to tell `reporters` what `telemetry` knows. To be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn begin(telemetry: &Telemetry, reporters: Reporters) -> std::io::Result<Self> {
        let Reporters {
            server,
            heartbeat,
            line,
        } = reporters;
        let (clock, clocks) = watch::channel(None);
        let mut tasks = JoinSet::new();
        if server.is_some() || line.is_some() {
            tasks.spawn(ask(telemetry.clone(), clocks.clone()));
        }
        if let Some(server) = server {
            let telemetry = telemetry.clone();
            tasks.spawn(async move {
                if let Err(error) = server.run(telemetry).await {
                    tracing::warn!("metrics cannot be served: {error}");
                }
            });
        }
        if let Some(heartbeat) = heartbeat {
            tasks.spawn(beat(telemetry.clone(), heartbeat));
        }
        let supervisor = Supervisor::from_environment();
        if line.is_some() || supervisor.is_some() {
            tasks.spawn(show(telemetry.clone(), line, supervisor));
        }
        let mut asked = StatusSignals::listen()?;
        let telemetry = telemetry.clone();
        tasks.spawn(async move {
            let mut rate = Rate::new();
            while asked.next().await.is_some() {
                log_status(&telemetry, &clocks, &mut rate).await;
            }
        });
        Ok(Self { tasks, clock })
    }

    /// There is a server that can be asked.
    pub(crate) fn connected(&self, clock: C) {
        self.clock.send_replace(Some(clock));
    }

    /// Ends it: the line and the sign of life are gone then, and a supervisor knows.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// One status line, among the messages.
async fn log_status(
    telemetry: &Telemetry,
    clocks: &watch::Receiver<Option<impl ClusterTimes>>,
    rate: &mut Rate,
) {
    let clock = clocks.borrow().clone();
    if let Some(clock) = clock
        && let Ok(Some(present)) = tokio::time::timeout(PATIENCE, clock.present()).await
    {
        telemetry.present_is(present);
    }
    let snapshot = telemetry.snapshot();
    let per_second = rate.per_second(Instant::now(), snapshot.printed());
    tracing::info!(target: crate::logging::STATUS, "{}", status::line(&snapshot, per_second));
}

async fn show(telemetry: Telemetry, line: Option<StatusLine>, mut supervisor: Option<Supervisor>) {
    let mut rate = Rate::new();
    let mut ticks = every(TICK);
    loop {
        ticks.tick().await;
        let snapshot = telemetry.snapshot();
        let per_second = rate.per_second(Instant::now(), snapshot.printed());
        if let Some(line) = &line {
            line.show(status::line(&snapshot, per_second));
        }
        if let Some(supervisor) = &mut supervisor {
            supervisor.notify(&snapshot, per_second);
        }
    }
}

async fn beat(telemetry: Telemetry, mut heartbeat: HeartbeatFile) {
    loop {
        let snapshot = telemetry.snapshot();
        heartbeat.beat(&snapshot);
        let pause = match snapshot.lag.time_since_reply {
            Some(_) => HEARTBEAT,
            None => FIRST_HEARTBEATS,
        };
        tokio::time::sleep(pause).await;
    }
}

async fn ask(telemetry: Telemetry, mut clocks: watch::Receiver<Option<impl ClusterTimes>>) {
    let Ok(Some(clock)) = clocks
        .wait_for(Option::is_some)
        .await
        .map(|clock| clock.clone())
    else {
        return;
    };
    let ask_for_present = async {
        let mut ticks = every(PRESENT);
        loop {
            ticks.tick().await;
            if let Some(present) = clock.present().await {
                telemetry.present_is(present);
            }
        }
    };
    let ask_for_oldest = async {
        let (often, seldom) = OLDEST;
        loop {
            if let Some(oldest) = clock.oldest().await {
                telemetry.oldest_is(oldest);
            }
            let headroom = telemetry.snapshot().headroom;
            let pause = headroom.map_or(seldom, |headroom| {
                (headroom / OLDEST_IN_HEADROOM).clamp(often, seldom)
            });
            tokio::time::sleep(pause).await;
        }
    };
    futures::join!(ask_for_present, ask_for_oldest);
}

/// Ticks that are not made up for: what is told is the present.
fn every(time: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
