//! The source: connects, opens the change stream, sends its events to the queue, and opens the stream again after each error.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use bson::Timestamp;

use crate::config::{ConnectionConfig, Policies, Start, StreamSpec};
use crate::deployment::Comparison;
use crate::error::Failure;
use crate::queue::Sender;
use crate::snapshot::SnapshotProgress;
use crate::telemetry::Telemetry;
use crate::token::{self, ResumeToken};

use super::catch_up::CatchUp;
use super::classify::{self, Verdict};
use super::cluster_clock::ClusterClock;
use super::connecting;
use super::cursor::{Cursor, End, Opening};
use super::existence;
use super::messages;
use super::position::StreamPosition;
use super::queue_sink::QueueSink;
use super::recovery::{Recovery, Replies, SplitStage};
use super::snapshot::{Scan, Turns};
use super::start;
use super::target::{Deployment, Target};
use super::token_guard::TokenGuard;
use super::watchdog::RequestTracker;

/// Lower bound of the reply timeout.
const MIN_REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The reply timeout as a multiple of `--max-await`, the longest wait of the server.
const REPLY_TIMEOUT_IN_AWAITS: u32 = 10;

/// Length of the shortest backlog that is read in parallel. A shorter one is read before several cursors are open.
const MIN_BACKLOG_SECONDS: u32 = 2;

/// How long to wait for a majority of the members to have the latest writes; on a healthy set they have them within milliseconds.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two questions whether they have.
const COMMIT_PAUSE: Duration = Duration::from_millis(20);

/// A change stream on a deployment that was reached.
#[derive(Debug)]
pub(crate) struct Source {
    target: Target,
    recovery: Recovery,
    /// Maximum number of cursors that read a backlog in parallel.
    catch_up_streams: usize,
    /// Whether to warn that other users can read the password.
    exposes_password: bool,
    telemetry: Telemetry,
}

impl Source {
    /// Connects to the deployment.
    ///
    /// # Errors
    /// Exit code 7 when no server can be reached, 8 when it refuses, 2 when the connection string names files that are unusable.
    pub(crate) async fn connect(
        config: &ConnectionConfig,
        spec: &StreamSpec,
        policies: Policies,
        catch_up_streams: usize,
        telemetry: Telemetry,
    ) -> Result<Self, Failure> {
        let mut recovery = Recovery::new(policies, config.retry_for);
        recovery.backoff.begin_outage();
        let mut is_first = true;
        let target = loop {
            let connect = async {
                let connect = Target::connect(config, spec);
                match std::mem::take(&mut is_first) {
                    true => connecting::reported(&config.hosts(), connect).await,
                    // The reason why the first one failed names the hosts.
                    false => connect.await,
                }
            };
            match recovery.within_limit(None, connect).await? {
                Ok(target) => break target,
                Err(unreached) => {
                    recovery
                        .after_failed_connect(unreached, config.wait, spec)
                        .await?;
                }
            }
        };
        recovery.backoff.reset();
        connecting::log_reached(&target).await;
        Ok(Self {
            target,
            recovery,
            catch_up_streams,
            exposes_password: config.exposes_password,
            telemetry,
        })
    }

    /// Returns what the server reported about its deployment.
    pub(crate) fn deployment(&self) -> &Deployment {
        &self.target.deployment
    }

    /// Returns whether a cursor that is opened from now on can read every event up to `time`, because a majority of the members has them and
    /// so does the server that it is opened on. Waits a moment for the majority.
    pub(crate) async fn is_committed(&self, time: Timestamp) -> bool {
        let connection = &self.target.connection;
        if !connection.is_one_server {
            return false;
        }
        let is_committed = async {
            loop {
                match Deployment::of(connection).await {
                    Ok(deployment) if !deployment.is_primary => return false,
                    Ok(deployment) if deployment.majority_time >= Some(time) => return true,
                    Ok(_) => tokio::time::sleep(COMMIT_PAUSE).await,
                    Err(_) => return false,
                }
            }
        };
        let is_committed = tokio::time::timeout(COMMIT_TIMEOUT, is_committed).await;
        is_committed.unwrap_or(false)
    }

    /// Asks the other members for the cluster time, if `time` is ahead of the one that is known.
    pub(crate) async fn update_cluster_time(&mut self, time: Timestamp) {
        self.target.update_cluster_time(time).await;
    }

    /// Returns the source of the deployment's cluster times.
    pub(crate) fn clock(&self) -> ClusterClock {
        ClusterClock {
            connection: self.target.connection.clone(),
            spec: self.target.spec.clone(),
        }
    }

    /// Returns the token to start a first run after, or the one that `--on-history-lost` continues at when the server no longer has the
    /// history after it.
    ///
    /// # Errors
    /// Exit code 3 for lost history, 2 for a time ahead of the server's; otherwise as [`Self::run`].
    pub(crate) async fn first_token(&mut self, start: &Start) -> Result<ResumeToken, Failure> {
        self.recovery.first_token(&self.target, start).await
    }

    /// Sends every event after `token` to `queue`, and meanwhile what is left of a snapshot that has come as far as `snapshot`, until the
    /// receiver is gone.
    ///
    /// # Errors
    /// The reason why the stream or the snapshot cannot continue.
    pub(crate) async fn run(
        &mut self,
        token: ResumeToken,
        snapshot: Option<SnapshotProgress>,
        queue: &Sender,
    ) -> Result<(), Failure> {
        let Some(progress) = snapshot else {
            return self.read_stream(token, queue, None).await;
        };
        let turns = Turns::new(token.clone(), self.target.spec.max_await);
        let recovery = self.recovery.of_other_requests();
        let telemetry = self.telemetry.clone();
        let scan = Scan::new(&self.target, recovery, telemetry, &turns, queue);
        let mut reading = pin!(self.read_stream(token, queue, Some(&turns)));
        tokio::select! {
            read = &mut reading => return read,
            scanned = scan.run(progress) => scanned?,
        }
        reading.await
    }

    /// Sends every event after `token` to `queue`, in its turn, until the receiver is gone.
    async fn read_stream(
        &mut self,
        token: ResumeToken,
        queue: &Sender,
        turns: Option<&Turns>,
    ) -> Result<(), Failure> {
        self.recovery.resume_after(&token);
        let is_fragment = matches!(token.kind(), token::Kind::Fragment(_));
        let mut position = StreamPosition::after(token);
        if is_fragment {
            // A stream after a fragment in the middle of an event would deliver only the rest of that event.
            position.start_replay();
        }
        let mut guard = TokenGuard::new(self.target.deployment.cluster_time);
        let announced = Cell::new(false);
        let exposes_password = self.exposes_password;
        let mut is_reconnected = false;
        loop {
            let opening = self.opening();
            let present = async {
                let comparison = match std::mem::take(&mut is_reconnected) {
                    true => self.target.compare().await.map_err(End::Failed),
                    false => Ok(Comparison::Same),
                };
                match comparison {
                    Ok(Comparison::Different(difference)) => {
                        Err(messages::other_deployment(&difference))
                    }
                    Ok(Comparison::Same | Comparison::Unknown) => {
                        Ok(self.present_of_backlog(&position).await)
                    }
                    Err(end) => Ok(Err(end)),
                }
            };
            let connection = Some(&self.target.connection);
            let present = self.recovery.within_limit(connection, present).await??;
            let limit_reached = self.recovery.backoff.limit_reached();
            let mut replied = false;
            let is_open = Cell::new(false);
            let start = position.clone();
            let start_token = position.token().clone();
            let Self {
                target,
                recovery,
                telemetry,
                ..
            } = self;
            let opened = || {
                is_open.set(true);
                if !announced.replace(true) {
                    tracing::info!("watching {}", target.spec.subject());
                    if exposes_password {
                        tracing::warn!(
                            hint = "use --uri-file or CSWATCH_URI",
                            "the password in --uri is visible to other users of this machine"
                        );
                    }
                    let (connection, scope) =
                        (target.connection.clone(), target.spec.scope.clone());
                    tokio::spawn(async move { existence::report(&connection, &scope).await });
                }
                telemetry.opened();
            };
            let mut sink = QueueSink {
                position: &mut position,
                guard: &mut guard,
                connection: &target.connection,
                queue,
                turns,
                on_reply: |reply| {
                    replied = true;
                    telemetry.reply_received();
                    recovery.record_reply(reply)
                },
            };
            let forwarding = async {
                match present {
                    Err(end) => end,
                    Ok(Some(present)) => {
                        let catch_up = CatchUp {
                            target,
                            opening,
                            streams: self.catch_up_streams,
                            opened: &opened,
                        };
                        catch_up.forward(start, present, &mut sink).await
                    }
                    Ok(None) => match Cursor::open(target, start.start(), opening).await {
                        Ok(cursor) => {
                            opened();
                            cursor.forward(&target.connection, &mut sink).await
                        }
                        Err(end) => end,
                    },
                }
            };
            let Some(end) = unless_late(forwarding, limit_reached, &is_open).await else {
                return Err(recovery
                    .backoff
                    .cut_short(target.connection.reports.failures()));
            };
            if let Some(turns) = turns {
                turns.stream_ended();
            }
            is_reconnected = match &end {
                End::Unanswered(_) => true,
                End::Failed(error) => {
                    matches!(classify::classify(error), Verdict::Retry | Verdict::Doubt)
                }
                End::Closed | End::Reached | End::Superseded | End::Exhausted | End::Refused(_) => {
                    false
                }
            };
            match end {
                End::Closed | End::Reached => return Ok(()),
                End::Superseded => {}
                End::Refused(failure) => return Err(failure),
                End::Exhausted => {
                    telemetry.reconnects("invalidate");
                    recovery
                        .after_invalidate(&target.spec.scope, &position)
                        .await?;
                }
                End::Unanswered(unanswered) => {
                    telemetry.reconnects(unanswered.reason());
                    recovery.after_no_reply(target, &unanswered).await?;
                }
                End::Failed(error) => {
                    telemetry.reconnects(classify::reason(&error));
                    recovery
                        .after_error(target, &error, replied, &start_token, &mut position)
                        .await?;
                }
            }
        }
    }

    fn opening(&self) -> Opening {
        Opening {
            split: self.recovery.split == SplitStage::On,
            batch_size: match self.recovery.replies {
                Replies::Full => self.target.spec.batch_size,
                Replies::OneEvent => 1,
            },
            max_await: self.target.spec.max_await,
            reply_timeout: reply_timeout(self.target.spec.max_await, self.recovery.timeouts()),
        }
    }

    /// Returns the server's latest operation time if `position` is so far behind it that several cursors pay off.
    async fn present_of_backlog(
        &self,
        position: &StreamPosition,
    ) -> Result<Option<Timestamp>, End> {
        if self.catch_up_streams < 2 || self.recovery.replies == Replies::OneEvent {
            return Ok(None);
        }
        let Opening {
            split,
            reply_timeout,
            ..
        } = self.opening();
        let connection = &self.target.connection;
        let spec = self.target.spec.clone().with_split_stage(split);
        let request = async {
            let present = Deployment::of(connection).await?.operation_time;
            let token = start::token(connection, &spec, None).await?;
            Ok((present, token))
        };
        let requests = RequestTracker::default();
        let (present, token) = requests
            .await_reply(
                &connection.pool_events,
                pin!(requests.track(request)),
                reply_timeout,
                async |_| false,
            )
            .await?
            .map_err(End::Failed)?;
        // A slice is opened at a time, so the server chooses its token version. A stream that is opened after a token keeps that token's
        // version instead. If they differed, the output would not be what one cursor delivers.
        let is_same_version = split || token.is_of_same_version(position.token());
        let is_behind = |present: &Timestamp| {
            present.time.saturating_sub(position.token().time().time) >= MIN_BACKLOG_SECONDS
        };
        Ok(present.filter(|present| is_same_version && is_behind(present)))
    }

    /// Closes cursors and connections, as many as it can in a short time.
    pub(crate) async fn close(self) {
        self.target.connection.close().await;
    }
}

/// Returns the end of a stream; `None` if it was not open when `limit_reached` was over.
async fn unless_late(
    forwarding: impl Future<Output = End>,
    limit_reached: impl Future<Output = ()>,
    is_open: &Cell<bool>,
) -> Option<End> {
    let mut forwarding = pin!(forwarding);
    tokio::select! {
        end = &mut forwarding => Some(end),
        () = limit_reached => match is_open.get() {
            true => Some(forwarding.await),
            false => None,
        },
    }
}

/// Returns the reply timeout after a number of timeouts in a row. It grows without a limit: a server that scans a long oplog for a rare event
/// does not reply either, and each attempt starts the same scan again.
fn reply_timeout(max_await: Duration, timeouts: u32) -> Duration {
    let timeout = MIN_REPLY_TIMEOUT.max(max_await * REPLY_TIMEOUT_IN_AWAITS);
    timeout.saturating_mul(2_u32.saturating_pow(timeouts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_the_reply_timeout_with_each_timeout_without_a_limit() {
        let second = Duration::from_secs(1);
        let seconds = [0, 1, 2, 6, 20].map(|timeouts| reply_timeout(second, timeouts).as_secs());
        assert_eq!(seconds, [30, 60, 120, 1920, 30 << 20]);
        assert!(reply_timeout(second, 100) >= reply_timeout(second, 20));
        assert_eq!(reply_timeout(10 * second, 0), 100 * second);
    }
}
