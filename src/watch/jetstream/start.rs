//! The start of a run: connects to MongoDB, chooses the token to start after, and saves it.

use crate::config::{NatsConfig, Start, When};
use crate::error::{Failure, Kind};
use crate::sink::Limits;
use crate::sink::jetstream::{Attempts, CheckpointStore, End, Log, Position, Tail, Trouble};
use crate::snapshot::SnapshotProgress;
use crate::source::Source;
use crate::token::ResumeToken;

use super::super::start;
use super::Delivery;

/// A stream of events that is about to start.
pub(super) struct Started {
    pub(super) source: Source,
    /// The token to start after.
    pub(super) token: ResumeToken,
    pub(super) tail: Tail,
    pub(super) limits: Limits,
    /// Whether events are delivered that the stream may hold already.
    pub(super) is_rewound: bool,
    /// What is left of a snapshot; `None` if there is nothing to read.
    pub(super) snapshot: Option<SnapshotProgress>,
}

impl Delivery {
    /// Connects to MongoDB, chooses the token to start after, and saves it. Returns the end of the run if another writer has saved a checkpoint.
    ///
    /// # Errors
    /// As [`Source::connect`]; exit code 5 when the stream is of another deployment, or has neither messages nor a checkpoint any more, and 6 when
    /// a message of another program is in it.
    pub(super) async fn start(
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
