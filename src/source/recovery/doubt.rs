//! Errors that another attempt may or may not repeat: what the server refuses ends the watch, the rest is retried for a limited time.

use std::time::{Duration, Instant};

use mongodb::error::Error;

use crate::error::Failure;
use crate::source::classify::{self, Verdict};
use crate::source::diagnosis::{self, Culprit};
use crate::source::messages;
use crate::source::privilege::{self, User};
use crate::source::target::Target;
use crate::time;
use crate::token::ResumeToken;

use super::Recovery;

/// Time without progress after which an error in doubt ends the watch. A shorter `--retry-for` shortens it.
const MAX_DOUBT: Duration = Duration::from_secs(30);

impl Recovery {
    /// Prepares another attempt after an error that is permanent or in doubt. `opened` is the token after which the stream was opened.
    ///
    /// # Errors
    /// The failure, if the server refuses the filter or the token, if the error is permanent, or if it has been repeated for
    /// [`MAX_DOUBT`].
    pub(super) async fn after_refusal(
        &mut self,
        target: &Target,
        error: &Error,
        opened: Option<&ResumeToken>,
    ) -> Result<(), Failure> {
        let failure = if classify::code(error) == Some(classify::UNAUTHORIZED) {
            let user = User::logged_in(&target.connection).await;
            privilege::failure(error, privilege::STREAM, &target.spec.scope, user.as_ref())
        } else {
            messages::failure(error, &target.spec)
        };
        let is_permanent = classify::classify(error) == Verdict::Fatal;
        let Some(code) = classify::code(error) else {
            return match is_permanent {
                true => Err(failure),
                false => self.retry_in_doubt(error, failure).await,
            };
        };
        if is_permanent && classify::is_clear(code) {
            return Err(failure);
        }
        target.connection.read_from(None);
        match diagnosis::culprit(target, error, opened).await {
            Culprit::Stage(origin) => Err(messages::refused_stage(error, &origin)),
            Culprit::Token => Err(messages::bad_token(error)),
            Culprit::Stream if is_permanent => Err(failure),
            Culprit::Stream | Culprit::Unknown => self.retry_in_doubt(error, failure).await,
        }
    }

    /// Waits before the next attempt after an error in doubt.
    ///
    /// # Errors
    /// `failure`, after [`MAX_DOUBT`] without progress.
    pub(in crate::source) async fn retry_in_doubt(
        &mut self,
        error: &Error,
        failure: Failure,
    ) -> Result<(), Failure> {
        let limit = self.backoff.retry_for().unwrap_or(MAX_DOUBT).min(MAX_DOUBT);
        let since = *self.since_reply.doubted_at.get_or_insert_with(Instant::now);
        let left = limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            let message = match limit.as_secs() {
                0 => failure.message,
                _ => format!("{} for {}", failure.message, time::readable(limit)),
            };
            return Err(Failure { message, ..failure });
        }
        self.backoff
            .wait_at_most(left, &messages::describe(error))
            .await
    }
}
