//! Recovery after an error, a missing reply or the end of a stream: the next attempt, and when to give up.
//! The meaning of an error is decided in `classify`.

mod one_by_one;
mod start_token;

use std::time::Duration;

use mongodb::error::Error;

use crate::config::{OnInvalidate, Policies, Scope, When};
use crate::error::{Failure, Kind};
use crate::time;
use crate::token::{self, ResumeToken};

use super::backoff::Backoff;
use super::classify::{self, Verdict};
use super::large_event;
use super::messages;
use super::position::StreamPosition;
use super::target::Target;
use super::watchdog::Unanswered;

pub(super) use self::one_by_one::Reply;

/// Number of times in a row, without a reply in between, after which an error that may pass is fatal.
const MAX_ERRORS: u32 = 2;

/// Number of failed logins in a row that is fatal. A password that is being changed works soon, and some systems lock an account after
/// many failures.
const MAX_LOGINS: u32 = 3;

/// Number of times in a row, without a reply in between, that another member is read from because it has history that the first one lacks.
const MAX_SWITCHES: u32 = 3;

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
    /// Whether the stream starts at the oldest event, which may be overwritten at any moment.
    at_oldest: bool,
}

impl Recovery {
    /// Creates the recovery of a stream that has had no error yet. `retry_for` is the longest outage; `None` has no limit.
    pub(super) fn new(policies: Policies, retry_for: Option<Duration>) -> Self {
        Self {
            policies,
            backoff: Backoff::new(retry_for),
            replies: Replies::Full,
            one_by_one_left: 0,
            split: SplitStage::Off,
            since_reply: SinceReply::default(),
        }
    }

    /// Prepares to resume after `token`. After a fragment, the stage that produced it must be in the pipeline.
    pub(super) fn resume_after(&mut self, token: &ResumeToken) {
        if matches!(token.kind(), token::Kind::Fragment(_)) {
            self.split = SplitStage::On;
        }
    }

    /// Records that the server replied.
    fn reply_received(&mut self) {
        self.backoff.reset();
        self.since_reply = SinceReply::default();
    }

    /// Returns the number of replies in a row that did not come in time.
    pub(super) fn timeouts(&self) -> u32 {
        self.since_reply.timeouts
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
            Verdict::Fatal | Verdict::Reopen | Verdict::Login => {
                Err(messages::failure(error, &target.spec))
            }
            _ => Err(Failure::new(Kind::Other, messages::describe(error))),
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

    /// Applies `--on-invalidate` to a stream of `scope` that ended at `position`.
    ///
    /// # Errors
    /// Exit code 4 with `--on-invalidate exit`.
    pub(super) fn after_invalidate(
        &self,
        scope: &Scope,
        position: &StreamPosition,
    ) -> Result<(), Failure> {
        if self.policies.on_invalidate == OnInvalidate::Reopen {
            tracing::info!("{scope} was dropped or renamed, reopening the stream");
            return Ok(());
        }
        Err(Failure::new(
            Kind::Invalidated,
            format!(
                "{scope} was dropped or renamed at {}, which ends its stream",
                time::rfc3339(position.token().time())
            ),
        )
        .hint("start again to continue after it, or use --on-invalidate reopen"))
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
            return Ok(());
        }
        let code = classify::code(error);
        if self.split == SplitStage::On && code == Some(classify::UNKNOWN_STAGE) {
            self.split = SplitStage::Unsupported;
            self.read_one_by_one(target);
            return Ok(());
        }
        if matches!(verdict, Verdict::Fatal | Verdict::Reopen)
            && self
                .step_towards_failing_event(target, error, position)
                .await?
        {
            return Ok(());
        }
        let failure = || messages::failure(error, &target.spec);
        match verdict {
            Verdict::Retry => Ok(()),
            Verdict::Fatal => Err(failure()),
            Verdict::Reopen => self.retry_or_fail(failure(), error).await,
            Verdict::Login => {
                self.since_reply.errors += 1;
                if self.since_reply.errors >= MAX_LOGINS {
                    return Err(failure());
                }
                let why = messages::describe(error);
                self.backoff.wait_for(LOGIN_PAUSE, &why).await
            }
            Verdict::TokenNotFound if position.start_replay() => {
                tracing::debug!("token not found, starting at its time instead");
                Ok(())
            }
            // The empty reply to the opening moved the position to a high-water mark, which every stream accepts. Up to that mark there is
            // no event: the event at which the server missed the token comes later, and a stream from the mark delivers it.
            Verdict::TokenNotFound if position.token() != opened => Ok(()),
            Verdict::TokenNotFound => self.retry_or_fail(failure(), error).await,
            Verdict::EventTooLarge => self.after_large_event(target, error, position).await,
            Verdict::HistoryLost => {
                let token = if self.since_reply.at_oldest {
                    // Nothing was delivered yet, so no event is lost: by now another event is the oldest.
                    self.token_at(target, When::Earliest).await?
                } else if self.switch_member(target, position.token().time()).await {
                    return Ok(());
                } else {
                    let subject = "the checkpoint is from";
                    self.token_after_gap(target, subject, position.token())
                        .await?
                };
                *position = StreamPosition::after(token);
                Ok(())
            }
        }
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
            (Replies::Full, _) => self.read_one_by_one(target),
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
