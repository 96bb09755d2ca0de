//! Reopening of a stream that the server closed, or whose error counts only when a fresh stream fails with it too.

use std::time::{Duration, Instant};

use crate::config::{OnInvalidate, Scope};
use crate::error::{Failure, Kind};
use crate::source::position::StreamPosition;
use crate::time;

use super::Recovery;

/// Pause before a stream is opened again that was opened again less than this time ago.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// Pause before a stream is opened again that the server has closed without an event since it was last opened.
const CLOSE_PAUSE: Duration = Duration::from_secs(1);

/// The reason of a close without an event, for messages.
const CLOSED_AT_ONCE: &str = "the server closes the stream as soon as it is opened";

impl Recovery {
    /// Prepares to open the stream again at once; waits if that happens too often.
    ///
    /// # Errors
    /// Exit code 7 when the outage is longer than `--retry-for`.
    pub(super) async fn reopen(&mut self, reason: &str) -> Result<(), Failure> {
        let is_frequent = self
            .reopened_at
            .is_some_and(|reopened_at| reopened_at.elapsed() < MIN_INTERVAL);
        if is_frequent {
            self.backoff.wait_for(MIN_INTERVAL, reason).await?;
        }
        self.reopened_at = Some(Instant::now());
        Ok(())
    }

    /// Applies `--on-invalidate` to a stream of `scope` that ended at `position`. Waits if the server keeps closing it.
    ///
    /// # Errors
    /// Exit code 4 with `--on-invalidate exit`, 7 when the server keeps closing the stream for longer than `--retry-for`.
    pub(in crate::source) async fn after_invalidate(
        &mut self,
        scope: &Scope,
        position: &StreamPosition,
    ) -> Result<(), Failure> {
        if self.policies.on_invalidate == OnInvalidate::Exit {
            return Err(Failure::new(
                Kind::Invalidated,
                format!(
                    "{scope} was dropped or renamed at {}, which ends its stream",
                    time::rfc3339(position.token().time())
                ),
            )
            .hint("start again to continue after it, or use --on-invalidate reopen"));
        }
        self.since_reply.closes += 1;
        if self.since_reply.closes > 1 {
            return self.backoff.wait_for(CLOSE_PAUSE, CLOSED_AT_ONCE).await;
        }
        tracing::info!("{scope} was dropped or renamed, reopening the stream");
        Ok(())
    }
}
