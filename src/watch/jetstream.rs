//! A watch that delivers to NATS JetStream: waits for the lease, resumes after the last message of the stream, and starts again from there
//! when the stream has another writer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Owner;
use crate::config::{Config, NatsConfig, Start, StopConfig, When, report_advice};
use crate::error::{Failure, Kind};
use crate::queue::{self, Receiver};
use crate::shutdown::{SignalRequest, Signals};
use crate::sink::jetstream::{
    self, Attempts, CheckpointStore, Connection, End, Holder, Lease, Log, NatsThread, Position,
    Publisher, Settings, Standby, Tail, Trouble,
};
use crate::snapshot::SnapshotProgress;
use crate::source::{ClusterClock, Source};
use crate::telemetry::{
    HeartbeatFile, LeaseState, MetricsServer, Monitor, Reporters, StatusLine, Telemetry,
};
use crate::threads;
use crate::time;
use crate::token::ResumeToken;

use super::start;
use super::{SHUTDOWN_GRACE, draws_status_line, shutdown_grace};

/// Pause between two runs: a stream with another writer must not keep this process busy.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// How often a process that stands by records that it is healthy.
const STANDBY_INTERVAL: Duration = Duration::from_secs(5);

/// Watches until a limit is reached, a signal requests a shutdown, or something fails.
///
/// # Errors
/// The failure that ended the watch.
pub(super) async fn run(config: Arc<Config>, mut signals: Signals) -> Result<(), Failure> {
    let Some(nats) = config.nats.clone().map(Arc::new) else {
        return Ok(());
    };
    let opening = threads::run("opening", {
        let config = Arc::clone(&config);
        let nats = Arc::clone(&nats);
        move || {
            // Looks up a host name.
            let metrics_addr = config.monitoring.metrics_addr.as_deref();
            let server = metrics_addr.map(MetricsServer::bind).transpose()?;
            let health = nats.health_file.as_deref();
            Ok::<_, Failure>((server, health.map(HealthFile::open).transpose()?))
        }
    });
    let (server, health) = tokio::select! {
        opened = opening => opened??,
        () = signals.shutdown_requested() => return Ok(()),
    };
    let telemetry = Telemetry::new(config.stream.max_await);
    telemetry.set_lease(LeaseState::Unknown);
    let reporters = Reporters {
        server,
        status_line: draws_status_line(&config).then(StatusLine::new),
    };
    let mut monitor = Monitor::start(&telemetry, reporters)?;
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
    lock: crate::checkpoint::Lock,
    heartbeat: HeartbeatFile,
}

impl HealthFile {
    fn open(path: &std::path::Path) -> Result<Self, Failure> {
        let path = crate::checkpoint::resolve(path)?;
        Ok(Self {
            lock: crate::checkpoint::Lock::acquire(&path)?,
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

/// What is ready when the stream of events may start.
struct Prepared {
    log: Log,
    lease: Lease,
    checkpoint: CheckpointStore,
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

    /// Connects to NATS, checks the stream, and waits for the lease.
    async fn prepare(&self) -> Result<Prepared, Failure> {
        let config = Arc::clone(&self.config);
        let nats = Arc::clone(&self.nats);
        let telemetry = self.telemetry.clone();
        let holder = self.holder.clone();
        let is_patient = self.runs > 0 || config.connection.wait;
        let preparing = async move {
            let retry_for = config.connection.retry_for;
            let connection = Connection::open(nats, is_patient, retry_for).await?;
            let scope = config.stream.scope_id();
            let mut attempts = Attempts::new(is_patient, retry_for);
            let (log, checkpoint) = loop {
                let opened = open(&connection, &config, &scope, &telemetry).await;
                if let Some(opened) = attempts.value(opened).await? {
                    break opened;
                }
            };
            let lease = acquire(&checkpoint, &holder, &telemetry).await;
            Ok::<_, Failure>(Prepared {
                log,
                lease,
                checkpoint,
            })
        };
        self.thread.run(preparing).await?
    }
}

/// Opens the stream and the bucket, and checks them.
async fn open(
    connection: &Connection,
    config: &Config,
    scope: &str,
    telemetry: &Telemetry,
) -> Result<(Log, CheckpointStore), Trouble> {
    jetstream::ensure_enabled(connection).await?;
    let log = Log::open(connection.clone(), scope).await?;
    log.ensure_permitted().await?;
    let owner = Owner::of(&config.stream);
    let (connection, telemetry) = (connection.clone(), telemetry.clone());
    let checkpoint =
        CheckpointStore::open(connection, owner, config.save_interval, telemetry).await?;
    Ok((log, checkpoint))
}

/// Waits for the lease. Reports why it is not held, and that this process is healthy meanwhile.
async fn acquire(checkpoint: &CheckpointStore, holder: &Holder, telemetry: &Telemetry) -> Lease {
    let report = |standby: Standby| match standby {
        Standby::HeldBy(other) => {
            telemetry.set_lease(LeaseState::Standby);
            telemetry.lease_read();
            tracing::info!("standing by: {other} delivers");
        }
        Standby::Unreachable(reason) => {
            telemetry.set_lease(LeaseState::Unknown);
            tracing::warn!("standing by, and cannot read the lease: {reason}");
        }
    };
    let mut acquiring = pin!(Lease::acquire(checkpoint.store(), holder, report));
    let mut ticks = tokio::time::interval(STANDBY_INTERVAL);
    loop {
        tokio::select! {
            lease = &mut acquiring => return lease,
            _ = ticks.tick() => telemetry.lease_read(),
        }
    }
}

/// A stream of events that is about to start.
struct Started {
    source: Source,
    /// The token to start after.
    token: ResumeToken,
    tail: Tail,
    limits: crate::sink::Limits,
    /// Whether events are delivered that the stream may hold already.
    is_rewound: bool,
    /// What is left of a snapshot; `None` if there is nothing to read.
    snapshot: Option<SnapshotProgress>,
}

impl Delivery {
    /// Connects to MongoDB, chooses the token to start after, and saves it.
    async fn start(
        &self,
        log: &Log,
        checkpoint: &mut CheckpointStore,
    ) -> Result<Result<Started, End>, Failure> {
        let config = &self.config;
        let mut source = Source::connect(
            &config.connection,
            &config.stream,
            config.policies,
            config.catch_up_streams,
            self.telemetry.clone(),
        )
        .await?;
        let retry_for = config.connection.retry_for;
        let position = {
            let log = log.clone();
            let mut store = checkpoint.clone();
            let reading = async move {
                let mut attempts = Attempts::new(true, retry_for);
                loop {
                    let position = Position::read(&log, &mut store).await;
                    if let Some(position) = attempts.value(position).await? {
                        return Ok::<_, Failure>((store, position));
                    }
                }
            };
            let (store, position) = self.thread.run(reading).await??;
            *checkpoint = store;
            position
        };
        let resumed = position.resume_token();
        let time = resumed.map(ResumeToken::time);
        if let Some(time) = start::latest_start(config, time, source.deployment()) {
            source.update_cluster_time(time).await;
        }
        let deployment = source.deployment();
        position.ensure_deployment(&self.nats, &deployment.identity, deployment.cluster_time)?;
        let owner = checkpoint.owner_mut();
        owner.deployment = match &position.saved {
            Some(saved) => (deployment.identity.clone()).completed_by(&saved.checkpoint.deployment),
            None => deployment.identity.clone(),
        };
        if let Err(failure) = position.ensure_unbroken(&self.nats) {
            self.save_broken(checkpoint, &position).await?;
            return Err(failure);
        }
        // The start that the user chose counts for the first run only.
        let chosen = config.start.as_ref().filter(|_| self.runs == 0);
        if let Some(Start::After(token)) = chosen {
            start::ensure_not_ahead(token, deployment)?;
        }
        let token = match (chosen, resumed) {
            (Some(Start::After(token)), _) => token.clone(),
            (_, Some(token)) => token.clone(),
            (None, None) if position.has_lost_its_start() => {
                return Err(no_checkpoint(&self.nats, position.tail.last_sequence));
            }
            (start, None) => {
                let start = start.unwrap_or(&Start::At(When::Now));
                source.first_token(start).await?
            }
        };
        let is_rewound = position.is_broken()
            || resumed.is_some_and(|resumed| resumed.is_after(&token) && *resumed != token);
        let place = start::CheckpointPlace {
            name: format!("stream {}", self.nats.stream),
            option: "--nats-stream",
        };
        start::report_start(chosen, resumed, &token, &place, "");
        start::log_pipeline(config);
        let progress = match resumed {
            Some(_) => position.snapshot(),
            None => config.snapshot.then_some(SnapshotProgress::Begun),
        };
        if resumed.is_some() && self.runs == 0 {
            start::report_snapshot(config.snapshot, progress.as_ref(), &place);
        }
        let snapshot = start::left_to_read(config, progress.as_ref(), &self.telemetry);
        let limits = start::limits(self.stop, &source, &token, snapshot.is_some()).await;
        let tail = position.tail.clone();
        let saving = {
            let mut store = checkpoint.clone();
            let token = token.clone();
            async move {
                let mut attempts = Attempts::new(true, retry_for);
                loop {
                    let saved = store
                        .save_start(token.clone(), progress.clone(), &tail)
                        .await;
                    if let Some(is_own) = attempts.value(saved).await? {
                        return Ok::<_, Failure>((store, is_own));
                    }
                }
            }
        };
        let (store, is_own) = self.thread.run(saving).await??;
        *checkpoint = store;
        if !is_own {
            return Ok(Err(End::Restart(
                "another writer saved a checkpoint".to_owned(),
            )));
        }
        Ok(Ok(Started {
            source,
            token,
            tail: position.tail,
            limits,
            is_rewound,
            snapshot,
        }))
    }

    /// Saves that a message of another program took the place of an event: that event is missing also when the message is gone.
    async fn save_broken(
        &self,
        checkpoint: &CheckpointStore,
        position: &Position,
    ) -> Result<(), Failure> {
        let Some((sequence, token, snapshot)) = position.before_foreign() else {
            return Ok(());
        };
        let mut store = checkpoint.clone();
        let saving = async move { store.save_broken(token, snapshot, sequence).await };
        // Another writer that was faster has found the message too.
        let saved = self.thread.run(saving).await?;
        saved.map(drop).map_err(Trouble::failure)
    }

    /// Reads events and publishes them, until either ends.
    async fn stream(
        &mut self,
        log: Log,
        lease: Lease,
        checkpoint: CheckpointStore,
        started: Started,
        signals: &mut Signals,
        monitor: &Monitor<ClusterClock>,
    ) -> Result<End, Failure> {
        let Started {
            mut source,
            token,
            tail,
            limits,
            is_rewound,
            snapshot,
        } = started;
        // A time such as now means that of the first run.
        self.stop.until = (limits.until.as_ref()).map(|until| When::Timestamp(until.time));
        if self.runs == 0 {
            report_advice(&self.config.advice);
            if self.nats.exposes_login {
                tracing::warn!(
                    hint = "use --nats-creds or CSWATCH_NATS",
                    "the login in --nats is visible to other users of this machine"
                );
            }
        }
        let settings = Settings {
            mode: self.config.output.mode,
            limits,
            retry_for: self.config.connection.retry_for,
            is_rewound,
            snapshot: snapshot.clone(),
        };
        let telemetry = self.telemetry.clone();
        let publisher = Publisher::new(log, lease, checkpoint, &tail, settings, telemetry);
        let (sender, receiver): (_, Receiver) = queue::channel(|_| false);
        self.telemetry.watch_queue(sender.budget());
        self.telemetry.starts_at(token.time());
        monitor.connected(source.clock());
        let mut publishing = self.thread.start_future(publisher.run(receiver));
        let (read, published) = {
            let mut reading = pin!(source.run(token, snapshot, &sender));
            loop {
                tokio::select! {
                    read = &mut reading => break (read, None),
                    published = publishing.result() => break (Ok(()), Some(published)),
                    request = signals.next_request() => match request {
                        SignalRequest::Shutdown => break (Ok(()), None),
                        // There is no file to reopen.
                        SignalRequest::Reopen => {}
                    },
                }
            }
        };
        // Without a sender, the publisher ends when everything is acknowledged.
        drop(sender);
        let published = match published {
            Some(published) => published,
            None => tokio::select! {
                published = publishing.result() => published,
                () = shutdown_grace(signals) => return Err(unacknowledged(&self.nats)),
            },
        };
        source.close().await;
        match published?? {
            End::Drained => read.map(|()| End::Drained),
            end => Ok(end),
        }
    }
}

/// Returns the failure of a stream that had messages, of which nothing is left to resume after.
fn no_checkpoint(nats: &NatsConfig, last_sequence: u64) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!(
            "stream {} has had {last_sequence} messages, but none is left, and bucket {} holds no checkpoint",
            nats.stream,
            nats.bucket()
        ),
    )
    .hint("choose a start with --start-after TOKEN, --start earliest or --start WHEN")
}

/// Returns the failure of messages that were not acknowledged in time.
fn unacknowledged(nats: &NatsConfig) -> Failure {
    Failure::new(
        Kind::Output,
        format!(
            "stream {} did not acknowledge the last messages within {} of the shutdown request",
            nats.stream,
            time::readable(SHUTDOWN_GRACE)
        ),
    )
    .hint("start cswatch again: it finds out which are stored, and no event is lost")
}
