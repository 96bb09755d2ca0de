//! The time without a server: how long to wait before the next attempt, what to say meanwhile, and when to give up.

use std::time::{Duration, Instant};

use crate::error::{Failure, Kind};

/// The longest first wait; doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// No wait is longer.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often an backoff is spoken of while it lasts.
const REMINDER: Duration = Duration::from_secs(30);

/// An backoff, or none.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Give up after this long; `None` is never.
    retry_for: Option<Duration>,
    began: Option<Instant>,
    said: Option<Instant>,
    attempts: u32,
    /// Whether there ever was a connection.
    connected: bool,
}

impl Backoff {
    /// No backoff yet.
    pub(super) fn new(retry_for: Option<Duration>) -> Self {
        Self {
            retry_for,
            began: None,
            said: None,
            attempts: 0,
            connected: false,
        }
    }

    /// Says that there is no server because of `why`, at most every 30 s, and waits until it is time for another attempt.
    ///
    /// # Errors
    /// Exit code 7 when it has lasted longer than `--retry-for`.
    pub(super) async fn wait(&mut self, why: &str) -> Result<(), Failure> {
        // Full jitter: clients that lost one server together do not come back together.
        let lasted = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let pause = longest_wait(self.attempts, lasted).mul_f64(fastrand::f64());
        self.wait_for(pause, why).await
    }

    /// As [`Backoff::wait`], for a time of the caller's choice.
    ///
    /// # Errors
    /// Exit code 7 when it has lasted longer than `--retry-for`.
    pub(super) async fn wait_for(&mut self, pause: Duration, why: &str) -> Result<(), Failure> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let left = match self.retry_for {
            None => Duration::MAX,
            Some(limit) => {
                let left = limit.saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Err(Failure::new(
                        Kind::Unreachable,
                        format!("no server for {limit:?}, longer than --retry-for: {why}"),
                    )
                    .hint("--retry-for forever keeps trying"));
                }
                left
            }
        };
        self.say(began, why);
        self.attempts += 1;
        tokio::time::sleep(pause.min(left)).await;
        Ok(())
    }

    fn say(&mut self, began: Instant, why: &str) {
        if self.said.is_some_and(|said| said.elapsed() < REMINDER) {
            return;
        }
        self.said = Some(Instant::now());
        if self.attempts > 0 {
            tracing::warn!("still no connection after {:.0?}: {why}", began.elapsed());
        } else if self.connected {
            tracing::warn!("connection lost, trying again: {why}");
        } else {
            tracing::warn!("no connection yet, trying again: {why}");
        }
    }

    /// A reply came: the backoff is over, if there was one.
    pub(super) fn end(&mut self) {
        let began = self.began.take();
        if let Some(began) = began {
            let state = if self.connected { "back" } else { "there" };
            tracing::info!("connection is {state} after {:.1?}", began.elapsed());
            self.said = None;
            self.attempts = 0;
        }
        self.connected = true;
    }
}

/// The longest wait after so many attempts that failed. Not longer than the backoff has `lasted`: short waits, which chance gives too, use
/// attempts up, and a wait of 16 s after 5 s would make the backoff four times as long as it was.
fn longest_wait(attempts: u32, lasted: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts);
    FIRST_WAIT
        .saturating_mul(doubled)
        .min(MAX_WAIT)
        .min(lasted.max(FIRST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_the_wait_up_to_half_a_minute() {
        let hour = Duration::from_secs(3600);
        let waits = [0, 1, 2, 6, 7, 100].map(|attempts| longest_wait(attempts, hour).as_millis());
        assert_eq!(waits, [250, 500, 1000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn does_not_wait_for_longer_than_the_outage_has_lasted() {
        let after = |seconds| longest_wait(6, Duration::from_secs(seconds)).as_millis();
        assert_eq!([0, 5, 20].map(after), [250, 5000, 16_000]);
    }
}
