//! The time without a server: how long to wait before the next attempt, what to say meanwhile, and when to give up.

use std::time::{Duration, Instant};

use crate::error::{Failure, Kind};

/// The longest first wait; doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often an outage is spoken of while it lasts.
const REMINDER: Duration = Duration::from_secs(30);

/// An outage, or none.
#[derive(Debug)]
pub(super) struct Outage {
    /// Give up after this long; `None` is never.
    retry_for: Option<Duration>,
    began: Option<Instant>,
    said: Option<Instant>,
    attempts: u32,
}

impl Outage {
    /// No outage yet.
    pub(super) fn new(retry_for: Option<Duration>) -> Self {
        Self {
            retry_for,
            began: None,
            said: None,
            attempts: 0,
        }
    }

    /// Says that there is no server because of `why`, at most every 30 s, and waits until it is time for another attempt.
    ///
    /// # Errors
    /// Exit code 7 when it has lasted longer than `--retry-for`.
    pub(super) async fn wait(&mut self, why: &str) -> Result<(), Failure> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if let Some(limit) = self.retry_for
            && began.elapsed() >= limit
        {
            return Err(Failure::new(
                Kind::Unreachable,
                format!(
                    "no server for {:.0?}, longer than --retry-for: {why}",
                    began.elapsed()
                ),
            )
            .way_out("--retry-for forever keeps trying"));
        }
        if self.said.is_none_or(|said| said.elapsed() >= REMINDER) {
            self.said = Some(Instant::now());
            if self.attempts == 0 {
                tracing::warn!("connection lost, trying again: {why}");
            } else {
                tracing::warn!("still no connection after {:.0?}: {why}", began.elapsed());
            }
        }
        let longest = FIRST_WAIT
            .saturating_mul(1 << self.attempts.min(10))
            .min(LONGEST_WAIT);
        let left = self
            .retry_for
            .map_or(LONGEST_WAIT, |limit| limit.saturating_sub(began.elapsed()));
        self.attempts += 1;
        // Full jitter: clients that lost one server together do not come back together.
        tokio::time::sleep(longest.mul_f64(fastrand::f64()).min(left)).await;
        Ok(())
    }

    /// A reply came: the outage is over, if there was one.
    pub(super) fn over(&mut self) {
        if let Some(began) = self.began.take() {
            tracing::info!("connection is back after {:.1?}", began.elapsed());
            self.said = None;
            self.attempts = 0;
        }
    }
}
