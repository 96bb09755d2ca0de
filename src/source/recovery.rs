//! Recovery after an error, a missing reply or the end of a stream: the next attempt, and when to give up.
//! The meaning of an error is decided in `classify`.

mod doubt;
mod lost_history;
mod one_by_one;
mod reopening;
mod start_token;

use std::time::{Duration, Instant};

use mongodb::error::Error;

use crate::backoff::Backoff;
use crate::config::{Policies, StreamSpec};
use crate::error::Failure;
use crate::token::{self, ResumeToken};

use super::classify::{self, Verdict};
use super::connection::Connection;
use super::diagnosis::{self, Culprit};
use super::large_event;
use super::messages;
use super::position::StreamPosition;
use super::target::Target;
use super::unreachable::Unreached;
use super::watchdog::Unanswered;

pub(super) use self::one_by_one::Reply;

/// Number of times in a row, without a reply in between, that the server does not find the resume token before that is fatal.
const MAX_ERRORS: u32 = 2;

/// Number of failed logins in a row that is fatal. A password that is being changed works soon, and some systems lock an account after
/// many failures.
const MAX_LOGINS: u32 = 3;

/// Number of times in a row, without a reply in between, that another member is read from because it has history that the first one lacks.
const MAX_SWITCHES: u32 = 3;

/// Pause between two attempts to connect with `--wait`. As the driver's own monitors, it does not grow: the watch is to start as soon as
/// its server does.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Pause between two logins.
const LOGIN_PAUSE: Duration = Duration::from_secs(10);

/// The state of recovery: what the errors so far have shown, and how the stream is opened next.
#[derive(Debug)]
pub(super) struct Recovery {
    policies: Policies,
    pub(super) backoff: Backoff,
    pub(super) replies: Replies,
    /// Number of events after which replies of one event are full again.
    one_by_one_left: usize,
    pub(super) split: SplitStage,
    since_reply: SinceReply,
    /// When the stream was last opened again without a pause.
    reopened_at: Option<Instant>,
}

/// Size of the replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    /// Up to `--batch-size` events.
    Full,
    /// One event: see `one_by_one`.
    OneEvent,
}

/// Whether the pipeline has the stage that splits large events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SplitStage {
    /// It does not: no event has needed it yet.
    Off,
    /// It does: an event needed it, or the stream resumes after a fragment.
    On,
    /// The server does not know the stage.
    Unsupported,
}

/// Counts since the last reply.
#[derive(Debug, Default)]
struct SinceReply {
    /// Number of replies in a row that did not come in time.
    timeouts: u32,
    /// Number of errors in a row that may pass.
    errors: u32,
    /// Number of times in a row that another member was read from.
    switches: u32,
    /// Number of times in a row that the server closed the stream.
    closes: u32,
    /// When the first of the errors in doubt was received.
    doubted_at: Option<Instant>,
    /// Whether the stream starts at the oldest event, which may be overwritten at any moment.
    at_oldest: bool,
}

impl Recovery {
    /// Returns the recovery of other requests to the same deployment, with the same policies.
    pub(super) fn of_other_requests(&self) -> Self {
        let mut other = Self::new(self.policies, self.backoff.retry_for());
        other.backoff.reset();
        other
    }

    /// Creates the recovery of a stream that has had no error yet. `retry_for` is the longest outage; `None` has no limit.
    pub(super) fn new(policies: Policies, retry_for: Option<Duration>) -> Self {
        Self {
            policies,
            backoff: Backoff::new(retry_for),
            replies: Replies::Full,
            one_by_one_left: 0,
            split: SplitStage::Off,
            since_reply: SinceReply::default(),
            reopened_at: None,
        }
    }

    /// Prepares to resume after `token`. After a fragment, the stage that produced it must be in the pipeline.
    pub(super) fn resume_after(&mut self, token: &ResumeToken) {
        if matches!(token.kind(), token::Kind::Fragment(_)) {
            self.split = SplitStage::On;
        }
    }

    /// Records progress: an event, or a reply for a stream that stays open.
    pub(super) fn reply_received(&mut self) {
        self.backoff.reset();
        self.since_reply = SinceReply::default();
    }

    /// Returns the number of replies in a row that did not come in time.
    pub(super) fn timeouts(&self) -> u32 {
        self.since_reply.timeouts
    }

    /// Awaits an attempt on `connection`, for no longer than `--retry-for` allows.
    ///
    /// # Errors
    /// Exit code 7 when the outage is longer than `--retry-for`.
    pub(super) async fn within_limit<T>(
        &self,
        connection: Option<&Connection>,
        attempt: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = attempt => Ok(result),
            () = self.backoff.limit_reached() => {
                Err(self.backoff.cut_short(connection.and_then(|connection| connection.reports.failures())))
            }
        }
    }

    /// Waits before the next attempt to connect. With `waits`, a server that cannot be reached is retried too.
    ///
    /// # Errors
    /// The failure, when another attempt cannot help.
    pub(super) async fn after_failed_connect(
        &mut self,
        mut unreached: Unreached,
        waits: bool,
        spec: &StreamSpec,
    ) -> Result<(), Failure> {
        match (unreached.verdict(), unreached.replied_error()) {
            (Verdict::Retry, _) if waits => {
                let reason = unreached.reason();
                self.backoff.wait_for(CONNECT_PAUSE, &reason).await
            }
            (Verdict::Retry | Verdict::Doubt, Some(error)) => {
                let failure = unreached.failure(spec);
                self.retry_in_doubt(error, failure).await
            }
            _ => {
                unreached.test_tls().await;
                Err(unreached.failure(spec))
            }
        }
    }

    /// Waits before the next attempt to find the start point.
    ///
    /// # Errors
    /// The failure, when another attempt cannot help.
    async fn after_failed_start(&mut self, target: &Target, error: &Error) -> Result<(), Failure> {
        match classify::classify(error) {
            Verdict::Retry => {
                target.connection.read_from(None);
                self.backoff.wait(&messages::describe(error)).await
            }
            Verdict::Login => Err(messages::failure(error, &target.spec)),
            _ => self.after_refusal(target, error, None).await,
        }
    }

    /// Waits before the stream is opened again because a reply is missing.
    ///
    /// # Errors
    /// Exit code 7 when the outage is longer than `--retry-for`.
    pub(super) async fn after_no_reply(
        &mut self,
        target: &Target,
        unanswered: &Unanswered,
    ) -> Result<(), Failure> {
        target.connection.read_from(None);
        if matches!(unanswered, Unanswered::Silent(_)) {
            self.since_reply.timeouts += 1;
            // The first event that matches, or that a slow connection has carried, then comes sooner.
            self.read_one_by_one(target);
        }
        self.backoff.wait(&unanswered.to_string()).await
    }

    /// Prepares another attempt after `error`, or gives up. `replied` is whether the stream had a reply before the error: then the error
    /// counts only when a fresh stream fails with it too. `opened` is the token after which the stream was opened.
    ///
    /// # Errors
    /// The reason why the stream cannot continue.
    pub(super) async fn after_error(
        &mut self,
        target: &Target,
        error: &Error,
        replied: bool,
        opened: &ResumeToken,
        position: &mut StreamPosition,
    ) -> Result<(), Failure> {
        tracing::debug!(
            code = classify::code(error),
            replied,
            "{}",
            messages::describe(error)
        );
        let verdict = classify::classify(error);
        if verdict == Verdict::Retry {
            target.connection.read_from(None);
            return self.backoff.wait(&messages::describe(error)).await;
        }
        if replied {
            return self.reopen(&messages::describe(error)).await;
        }
        let code = classify::code(error);
        if self.split == SplitStage::On && code == Some(classify::UNKNOWN_STAGE) {
            self.split = SplitStage::Unsupported;
            self.read_one_by_one(target);
            return Ok(());
        }
        if matches!(verdict, Verdict::Fatal | Verdict::Doubt)
            && self
                .step_towards_failing_event(target, error, position)
                .await?
        {
            return Ok(());
        }
        let failure = || messages::failure(error, &target.spec);
        match verdict {
            Verdict::Retry => Ok(()),
            Verdict::Fatal | Verdict::Doubt => {
                self.after_refusal(target, error, Some(opened)).await
            }
            Verdict::Login => self.after_failed_login(error, &target.spec).await,
            Verdict::TokenNotFound if position.start_replay() => {
                tracing::debug!("token not found, starting at its time instead");
                Ok(())
            }
            // The empty reply to the opening moved the position to a high-water mark, which every stream accepts. Up to that mark there is
            // no event: the event at which the server missed the token comes later, and a stream from the mark delivers it.
            Verdict::TokenNotFound if position.token() != opened => Ok(()),
            Verdict::TokenNotFound => self.retry_or_fail(failure(), error).await,
            Verdict::EventTooLarge => self.after_large_event(target, error, position).await,
            Verdict::Overtaken => self.after_overtaking(target, error, position).await,
            Verdict::HistoryLost => self.after_lost_history(target, error, position).await,
        }
    }

    /// Waits before the next login, or fails after [`MAX_LOGINS`] in a row.
    ///
    /// # Errors
    /// Exit code 8 when the login keeps failing, 7 when the outage is longer than `--retry-for`.
    pub(super) async fn after_failed_login(
        &mut self,
        error: &Error,
        spec: &StreamSpec,
    ) -> Result<(), Failure> {
        self.since_reply.errors += 1;
        if self.since_reply.errors >= MAX_LOGINS {
            return Err(messages::failure(error, spec));
        }
        let why = messages::describe(error);
        self.backoff.wait_for(LOGIN_PAUSE, &why).await
    }

    /// Waits before the stream is opened again, or fails with `failure` after [`MAX_ERRORS`] errors in a row.
    async fn retry_or_fail(&mut self, failure: Failure, error: &Error) -> Result<(), Failure> {
        self.since_reply.errors += 1;
        if self.since_reply.errors >= MAX_ERRORS {
            return Err(failure);
        }
        self.backoff.wait(&messages::describe(error)).await
    }

    /// Takes the next step towards an event that is too large: first replies of one event, which deliver everything before it; then the
    /// split stage, which delivers the event in fragments; then replies of one event again, up to an event that cannot be split. The token
    /// version changes with the split stage, and so it changes at the same event wherever the stream was opened.
    async fn after_large_event(
        &mut self,
        target: &Target,
        error: &Error,
        position: &StreamPosition,
    ) -> Result<(), Failure> {
        match (self.replies, self.split) {
            (Replies::Full, _) => {
                // The server has the same error for a filter that is too large.
                if let Culprit::Stage(origin) = diagnosis::culprit(target, error, None).await {
                    return Err(messages::refused_stage(error, &origin));
                }
                self.read_one_by_one(target);
            }
            (Replies::OneEvent, SplitStage::Off) => {
                self.replies = Replies::Full;
                self.split = SplitStage::On;
            }
            (Replies::OneEvent, split) => {
                let can_split = split == SplitStage::On;
                let message = messages::describe(error);
                return Err(large_event::failure(target, position, can_split, &message).await);
            }
        }
        Ok(())
    }
}
