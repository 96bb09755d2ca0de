//! Recovery after an error, a missing reply or the end of a stream: the next attempt, and when to give up.
//! The meaning of an error is decided in `classify`.

use std::time::Duration;

use bson::Timestamp;
use mongodb::error::Error;

use crate::config::{OnHistoryLost, OnInvalidate, Policies, Scope, Start, When};
use crate::error::{Failure, Kind};
use crate::time;
use crate::token::{self, ResumeToken};

use super::backoff::Backoff;
use super::classify::{self, Verdict};
use super::messages;
use super::position::StreamPosition;
use super::target::Target;
use super::watchdog::Unanswered;
use super::{large_event, members, start};

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
    pub(super) split: SplitStage,
    since_reply: SinceReply,
}

/// Size of the replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    /// Up to `--batch-size` events.
    Full,
    /// One event, so that every event before one that the server cannot send is delivered.
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
    pub(super) fn reply_received(&mut self) {
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
            self.replies = Replies::OneEvent;
            return Ok(());
        }
        let failure = || messages::failure(error, &target.spec);
        match verdict {
            Verdict::Retry => Ok(()),
            // The failed reply also held the events before the one without an image.
            Verdict::Fatal if self.replies == Replies::Full && code == Some(classify::NO_IMAGE) => {
                self.replies = Replies::OneEvent;
                Ok(())
            }
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
            (Replies::Full, _) => self.replies = Replies::OneEvent,
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

    /// Returns the token to start a first run after, or the one that `--on-history-lost` continues at when the server no longer has the
    /// history after it. Must be called before the token is saved, because a checkpoint binds all later runs.
    ///
    /// # Errors
    /// As [`Self::token_at`], and exit code 3 for lost history.
    pub(super) async fn first_token(
        &mut self,
        target: &Target,
        start: &Start,
    ) -> Result<ResumeToken, Failure> {
        let (token, subject) = match start {
            Start::After(token) => (token.clone(), "the token of --start-after is from"),
            Start::At(when @ (When::Now | When::Earliest)) => {
                return self.token_at(target, *when).await;
            }
            Start::At(when) => (self.token_at(target, *when).await?, "--start is at"),
        };
        loop {
            match start::has_history(&target.connection, &target.spec, token.time()).await {
                Ok(true) => return Ok(token),
                Ok(false) if self.switch_member(target, token.time()).await => return Ok(token),
                Ok(false) => return self.token_after_gap(target, subject, &token).await,
                Err(error) => self.after_failed_start(target, &error).await?,
            }
        }
    }

    /// Returns a token that sorts before every event at or after `when`.
    ///
    /// # Errors
    /// Exit code 2 for a time ahead of the server's, because the server would silently skip all events until then (measured on MongoDB
    /// 6.0.27); otherwise the reason why the server returns no token.
    async fn token_at(&mut self, target: &Target, when: When) -> Result<ResumeToken, Failure> {
        let start = match (when, target.deployment.cluster_time) {
            (When::Now | When::Earliest, _) | (_, None) => None,
            (_, Some(now)) => {
                let start = when.begins_at(now);
                if time::is_ahead(start, now) {
                    return Err(Failure::usage(format!(
                        "--start: {}",
                        time::ahead_of_server(start, now)
                    ))
                    .hint("use --start now"));
                }
                Some(start)
            }
        };
        let Target {
            connection, spec, ..
        } = target;
        loop {
            let attempt = async {
                let start = match when {
                    When::Earliest => Some(start::earliest(connection, spec).await?),
                    _ => start,
                };
                start::token(connection, spec, start).await
            };
            match attempt.await {
                Ok(token) => {
                    self.since_reply.at_oldest = when == When::Earliest;
                    return Ok(token);
                }
                // The oldest entry was overwritten during the search: search again.
                Err(error)
                    if when == When::Earliest
                        && classify::classify(&error) == Verdict::HistoryLost => {}
                Err(error) => self.after_failed_start(target, &error).await?,
            }
        }
    }

    /// Reads from a member that still has the history after `time`, if there is one. Returns whether there is.
    async fn switch_member(&mut self, target: &Target, time: Timestamp) -> bool {
        if self.since_reply.switches >= MAX_SWITCHES {
            return false;
        }
        let Target {
            connection, spec, ..
        } = target;
        let Some(found) = members::with_history(connection, spec, time).await else {
            return false;
        };
        self.since_reply.switches += 1;
        tracing::warn!(
            "the events after {} are no longer on {}, reading from {}",
            time::rfc3339(time),
            found.names_without(),
            found.member
        );
        connection.read_from(Some(found.member));
        true
    }

    /// Returns the token that `--on-history-lost` continues at when the history after `lost` is gone on every member. `subject` begins the
    /// clause of a message that says from when `lost` is.
    ///
    /// # Errors
    /// Exit code 3 with `--on-history-lost fail`, and as [`Self::token_at`].
    async fn token_after_gap(
        &mut self,
        target: &Target,
        subject: &str,
        lost: &ResumeToken,
    ) -> Result<ResumeToken, Failure> {
        let Target {
            connection, spec, ..
        } = target;
        let from = time::rfc3339(lost.time());
        let when = match self.policies.on_history_lost {
            OnHistoryLost::Now => When::Now,
            OnHistoryLost::Earliest => {
                if let Ok((_, member @ Some(_))) = members::earliest(connection, spec).await {
                    connection.read_from(member);
                }
                When::Earliest
            }
            OnHistoryLost::Fail => {
                let oldest = members::earliest(connection, spec).await;
                let oldest = oldest.map_or_else(
                    |_| "unknown".to_owned(),
                    |(oldest, _)| time::rfc3339(oldest),
                );
                return Err(messages::history_lost(format!(
                    "history lost: {subject} {from}, the oldest event the server still has is from {oldest}"
                )));
            }
        };
        let token = self.token_at(target, when).await?;
        tracing::warn!(
            "history lost: events from {from} to {} are missing",
            time::rfc3339(token.time())
        );
        Ok(token)
    }
}
