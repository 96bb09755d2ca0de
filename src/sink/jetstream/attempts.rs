//! Attempts of a request, until it succeeds or fails for good.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::Failure;

use super::client::Connection;
use super::failures::Trouble;

/// The attempts of a request so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    backoff: Backoff,
    is_patient: bool,
}

impl Attempts {
    /// Begins attempts that are made for `retry_for` at most. Without `is_patient` there is one.
    pub(crate) fn new(is_patient: bool, retry_for: Option<Duration>) -> Self {
        Self {
            backoff: Connection::backoff(retry_for),
            is_patient,
        }
    }

    /// Returns the value of an attempt that succeeded. Otherwise waits, and returns `None` when the next attempt is due.
    ///
    /// # Errors
    /// The failure of an attempt that is the last one.
    pub(crate) async fn value<T>(
        &mut self,
        attempt: Result<T, Trouble>,
    ) -> Result<Option<T>, Failure> {
        match attempt {
            Ok(value) => {
                self.backoff.reset();
                return Ok(Some(value));
            }
            Err(Trouble::Passing(reason)) if self.is_patient => self.backoff.wait(&reason).await?,
            Err(trouble) => return Err(trouble.failure()),
        }
        Ok(None)
    }
}
