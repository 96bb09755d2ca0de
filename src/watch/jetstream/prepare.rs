//! Before a run: connects to NATS, checks the stream and its bucket, and waits for the lease.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Owner;
use crate::config::Config;
use crate::error::Failure;
use crate::sink::jetstream::{
    self, Attempts, CheckpointStore, Connection, Holder, Lease, Log, Standby, Trouble,
};
use crate::telemetry::{LeaseState, Telemetry};

use super::Delivery;

/// How often a process that stands by records that it is healthy.
const STANDBY_INTERVAL: Duration = Duration::from_secs(5);

/// What is ready when the stream of events may start.
pub(super) struct Prepared {
    pub(super) log: Log,
    pub(super) lease: Lease,
    pub(super) checkpoint: CheckpointStore,
}

impl Delivery {
    /// Connects to NATS, checks the stream, and waits for the lease.
    ///
    /// # Errors
    /// As [`Connection::open`]; the reason why the stream or its bucket cannot be used.
    pub(super) async fn prepare(&self) -> Result<Prepared, Failure> {
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
