//! What follows a command of the scan that failed.

use std::time::Duration;

use bson::RawDocument;
use mongodb::error::Error;

use crate::error::{Failure, Kind};
use crate::extjson;
use crate::snapshot::Collection;
use crate::source::classify::{self, Verdict};
use crate::source::messages;
use crate::source::privilege::User;
use crate::source::watchdog::Unanswered;

use super::Scan;
use super::reader::ReadError;

/// Number of failed commands in a row that are not reported: the stream reports the outage that both have.
const MAX_UNREPORTED: u32 = 2;

/// Pause before a command is repeated without a report.
const PAUSE: Duration = Duration::from_millis(250);

/// Maximum number of characters of a key in a message.
const MAX_KEY: usize = 200;

impl Scan<'_> {
    /// Prepares another attempt after `error`, or gives up. `collection` is the one that was read.
    ///
    /// # Errors
    /// The reason why the scan cannot continue.
    pub(super) async fn after_error(
        &mut self,
        collection: Option<&Collection>,
        error: ReadError,
    ) -> Result<(), Failure> {
        let (error, key) = match error {
            ReadError::Failed(error, key) => (error, key),
            ReadError::Unanswered(unanswered) => {
                if matches!(unanswered, Unanswered::Silent(_)) {
                    self.ease();
                }
                return self.retry(collection, &unanswered.to_string()).await;
            }
            ReadError::ChangedId => return Err(changed_id()),
            // The caller handles it.
            ReadError::Moved(_) => return Ok(()),
        };
        tracing::debug!(
            code = classify::code(&error),
            "cannot read the snapshot: {}",
            messages::describe(&error)
        );
        if self.reader.simplify(&error) {
            return Ok(());
        }
        let code = classify::code(&error);
        if code == Some(classify::MAX_TIME_EXPIRED) {
            self.ease();
        }
        let verdict = match code {
            Some(code) if classify::is_passing_for_reads(code) => Verdict::Retry,
            _ => classify::classify(&error),
        };
        match verdict {
            Verdict::Retry => self.retry(collection, &messages::describe(&error)).await,
            Verdict::Login => self.recovery.after_failed_login(&error, &self.spec).await,
            _ if code.is_some_and(classify::is_clear) => {
                Err(self.failure(collection, &error).await)
            }
            // The documents before the one that the stages fail on are read first.
            _ if self.reader.has_stages() && self.size.halve() => Ok(()),
            _ => match (key, collection) {
                (Some(key), Some(collection)) => Err(failing_document(&error, collection, &key)),
                _ => self.after_refusal(collection, verdict, &error).await,
            },
        }
    }

    /// Reads less with the next command, and waits longer for it.
    fn ease(&mut self) {
        self.size.halve();
        self.reply_timeout = self.reply_timeout.saturating_mul(2);
    }

    /// Waits before the next attempt.
    async fn retry(
        &mut self,
        collection: Option<&Collection>,
        reason: &str,
    ) -> Result<(), Failure> {
        self.failures += 1;
        let may_retry = self.recovery.backoff.retry_for() != Some(Duration::ZERO);
        if may_retry && self.failures <= MAX_UNREPORTED {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        let what = match collection {
            Some(collection) => collection.to_string(),
            None => "the list of collections".to_owned(),
        };
        let reason = format!("cannot read {what} for the snapshot: {reason}");
        self.recovery.backoff.wait(&reason).await
    }

    async fn failure(&self, collection: Option<&Collection>, error: &Error) -> Failure {
        let user = match classify::code(error) {
            Some(classify::UNAUTHORIZED) => User::logged_in(&self.connection).await,
            _ => None,
        };
        messages::scan_failure(error, collection, &self.spec, user.as_ref())
    }

    async fn after_refusal(
        &mut self,
        collection: Option<&Collection>,
        verdict: Verdict,
        error: &Error,
    ) -> Result<(), Failure> {
        let failure = self.failure(collection, error).await;
        match verdict {
            Verdict::Fatal => Err(failure),
            _ => self.recovery.retry_in_doubt(error, failure).await,
        }
    }
}

/// Returns the failure of stages that fail on a document.
fn failing_document(error: &Error, collection: &Collection, key: &RawDocument) -> Failure {
    let key = extjson::to_text(key, extjson::Mode::Canonical).unwrap_or_default();
    let shown: String = key.chars().take(MAX_KEY).collect();
    let rest = if shown.len() < key.len() { "..." } else { "" };
    Failure::new(
        Kind::Refused,
        format!(
            "the server fails on a document: {collection} {shown}{rest}: {}",
            messages::describe(error)
        ),
    )
    .hint("change --pipeline or --match so that it accepts the document ($convert has onError)")
}

fn changed_id() -> Failure {
    Failure::new(
        Kind::Refused,
        "the server returned a document of the snapshot without the _id that it was given",
    )
    .hint("the pipeline drops or changes _id, which is the resume token; keep it as it is")
}
