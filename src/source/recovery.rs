//! What follows the end of a stream or an attempt: another one, at the same place or behind a gap, or giving up. Says what to do;
//! what an error means is decided in `classify`.

use std::time::Duration;

use mongodb::error::Error;

use crate::cli::{OnHistoryLost, OnInvalidate};
use crate::error::{Failure, Kind};
use crate::flag_value::{self, When};
use crate::token::ResumeToken;

use super::Source;
use super::classify::{self, Verdict};
use super::place::Place;
use super::watchdog::Unanswered;
use super::{large_event, opening};

/// Failures in a row, without a reply between, of which the last is believed.
const MOST_DOUBTS: u32 = 2;

/// Logins in a row that may fail: a password that is being changed works soon; and some systems lock an account that fails often.
const MOST_LOGINS: u32 = 3;

/// Between two logins.
const LOGIN_PAUSE: Duration = Duration::from_secs(10);

impl Source {
    /// Waits for another attempt, where one makes sense.
    pub(super) async fn after_failed_start(&mut self, error: &Error) -> Result<(), Failure> {
        match classify::classify(error, &self.spec) {
            Verdict::Retry => self.outage.wait(&classify::describe(error)).await,
            Verdict::Fatal(failure) | Verdict::Reopen(failure) | Verdict::Login(failure) => {
                Err(failure)
            }
            _ => Err(Failure::new(Kind::Other, classify::describe(error))),
        }
    }

    pub(super) async fn after_no_reply(&mut self, unanswered: &Unanswered) -> Result<(), Failure> {
        if matches!(unanswered, Unanswered::Silent(_)) {
            self.silences += 1;
        }
        self.outage.wait(&unanswered.to_string()).await
    }

    pub(super) fn after_invalidate(&self, place: &Place) -> Result<(), Failure> {
        let scope = &self.spec.scope;
        if self.policies.on_invalidate == OnInvalidate::Reopen {
            tracing::info!("{scope} was dropped or renamed, going on behind it");
            return Ok(());
        }
        Err(Failure::new(
            Kind::Invalidated,
            format!(
                "{scope} was dropped or renamed at {}, which ends its stream",
                flag_value::rfc3339(place.token().time())
            ),
        )
        .way_out("start again to go on behind it, or use --on-invalidate reopen"))
    }

    /// Mends what `error` is about, or gives up. `heard` says whether the stream had replied before: then the error is only trusted
    /// once a fresh stream gives it too. `opened` is the token that the stream was opened after.
    pub(super) async fn after_error(
        &mut self,
        error: &Error,
        heard: bool,
        opened: &ResumeToken,
        place: &mut Place,
    ) -> Result<(), Failure> {
        tracing::debug!(
            code = classify::code(error),
            heard,
            "{}",
            classify::describe(error)
        );
        let verdict = classify::classify(error, &self.spec);
        if verdict == Verdict::Retry {
            return self.outage.wait(&classify::describe(error)).await;
        }
        if heard {
            return Ok(());
        }
        if self.split && classify::code(error) == Some(classify::UNKNOWN_STAGE) {
            self.knows_split = false;
            self.split = false;
            self.one_by_one = true;
            return Ok(());
        }
        match verdict {
            Verdict::Retry => Ok(()),
            // The error took along what stands before its event in the same reply.
            Verdict::Fatal(_)
                if !self.one_by_one && classify::code(error) == Some(classify::NO_IMAGE) =>
            {
                self.one_by_one = true;
                Ok(())
            }
            Verdict::Fatal(failure) => Err(failure),
            Verdict::Reopen(failure) => self.doubt(failure, error).await,
            Verdict::Login(failure) => {
                self.doubts += 1;
                if self.doubts >= MOST_LOGINS {
                    return Err(failure);
                }
                let why = classify::describe(error);
                self.outage.wait_for(LOGIN_PAUSE, &why).await
            }
            Verdict::TokenNotFound if place.replay() => {
                tracing::debug!("starting at the time of the token instead");
                Ok(())
            }
            // The empty reply to the opening led on to a high-water mark, which every stream takes. The server had found no event up
            // to it: the one that it looks for the token at comes later.
            Verdict::TokenNotFound if place.token() != opened => Ok(()),
            Verdict::TokenNotFound => {
                let failure = Failure::new(
                    Kind::HistoryLost,
                    format!("the position cannot be resumed from: {}", classify::describe(error)),
                )
                .way_out("it is of another deployment or scope; start anew with --start WHEN and another --resume-file");
                self.doubt(failure, error).await
            }
            Verdict::EventTooLarge(message) => self.after_large_event(&message, place).await,
            Verdict::HistoryLost => {
                let token = if self.at_oldest {
                    // Nothing was handed on yet: the oldest is just another one by now.
                    self.token_at(When::Earliest).await?
                } else {
                    self.token_behind_gap(place.token()).await?
                };
                *place = Place::after(token);
                Ok(())
            }
        }
    }

    /// Opens the stream again, unless it failed before without a reply between: then `failure` is believed.
    async fn doubt(&mut self, failure: Failure, error: &Error) -> Result<(), Failure> {
        self.doubts += 1;
        if self.doubts >= MOST_DOUBTS {
            return Err(failure);
        }
        self.outage.wait(&classify::describe(error)).await
    }

    /// One after the other: what stands before the event is handed on by itself; the event is asked for in fragments; what stands
    /// before a later one that fragments do not help is handed on. So the tokens change their version at the same event whenever the
    /// stream was opened.
    async fn after_large_event(&mut self, message: &str, place: &Place) -> Result<(), Failure> {
        match (self.one_by_one, self.split) {
            (false, _) => self.one_by_one = true,
            (true, false) if self.knows_split => {
                self.one_by_one = false;
                self.split = true;
            }
            (true, _) => {
                let Self {
                    connection,
                    spec,
                    knows_split,
                    ..
                } = self;
                return Err(
                    large_event::failure(connection, spec, place, *knows_split, message).await,
                );
            }
        }
        Ok(())
    }

    /// Where to go on when what comes after `lost` is gone, as `--on-history-lost` says.
    pub(super) async fn token_behind_gap(
        &mut self,
        lost: &ResumeToken,
    ) -> Result<ResumeToken, Failure> {
        let from = flag_value::rfc3339(lost.time());
        let when = match self.policies.on_history_lost {
            OnHistoryLost::Now => When::Now,
            OnHistoryLost::Earliest => When::Earliest,
            OnHistoryLost::Fail => {
                let oldest = opening::earliest(&self.connection, &self.spec)
                    .await
                    .map_or_else(|_| "unknown".to_owned(), flag_value::rfc3339);
                return Err(Failure::new(
                    Kind::HistoryLost,
                    format!("history lost: the position is from {from}, the oldest the server still has is {oldest}"),
                )
                .way_out("accept the gap with --on-history-lost earliest or --on-history-lost now; against the next time raise the oplog's size or storage.oplogMinRetentionHours"));
            }
        };
        let token = self.token_at(when).await?;
        tracing::warn!(
            "history lost: events from {from} to {} are missing",
            flag_value::rfc3339(token.time())
        );
        Ok(token)
    }
}
