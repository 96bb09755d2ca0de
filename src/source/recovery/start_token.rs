//! Tokens to start after: of a first run, and after history that is lost on every member.

use bson::Timestamp;

use crate::config::{OnHistoryLost, Start, When};
use crate::error::Failure;
use crate::source::classify::{self, Verdict};
use crate::source::target::Target;
use crate::source::{members, messages, start};
use crate::time;
use crate::token::ResumeToken;

use super::{MAX_SWITCHES, Recovery};

impl Recovery {
    /// Returns the token to start a first run after, or the one that `--on-history-lost` continues at when the server no longer has the
    /// history after it. Must be called before the token is saved, because a checkpoint binds all later runs.
    ///
    /// # Errors
    /// As [`Self::token_at`], and exit code 3 for lost history.
    pub(in crate::source) async fn first_token(
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
            let has_history = start::has_history(&target.connection, &target.spec, token.time());
            match self
                .within_limit(Some(&target.connection), has_history)
                .await?
            {
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
    pub(super) async fn token_at(
        &mut self,
        target: &Target,
        when: When,
    ) -> Result<ResumeToken, Failure> {
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
            match self.within_limit(Some(connection), attempt).await? {
                Ok(token) => {
                    self.since_reply.at_oldest = when == When::Earliest;
                    return Ok(token);
                }
                // The oldest entry was overwritten during the search: search again.
                Err(error)
                    if when == When::Earliest
                        && classify::classify(&error) == Verdict::HistoryLost =>
                {
                    self.reopen(&messages::describe(&error)).await?;
                }
                Err(error) => self.after_failed_start(target, &error).await?,
            }
        }
    }

    /// Reads from a member that still has the history after `time`, if there is one. Returns whether there is.
    pub(super) async fn switch_member(&mut self, target: &Target, time: Timestamp) -> bool {
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
    pub(super) async fn token_after_gap(
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
