//! Backoff between reconnect attempts: the next wait, the warnings during an outage, and when to give up.

use std::time::{Duration, Instant};

use crate::error::{Failure, Kind};

/// Upper bound of the first wait. It doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Upper bound of every wait.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Time between two warnings during one outage.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// Time that an attempt gets beyond `--retry-for`, for the driver to report the cause.
const GRACE: Duration = Duration::from_millis(500);

/// The waits of the current outage, if there is one.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The longest outage before giving up; `None` has no limit.
    retry_for: Option<Duration>,
    /// What messages begin with: which connection was lost. Empty for the one to MongoDB.
    peer: &'static str,
    outage_started_at: Option<Instant>,
    last_warning: Option<Instant>,
    /// The reason of the last attempt that failed during the outage.
    last_reason: String,
    attempts: u32,
    /// Whether the server ever replied.
    was_connected: bool,
}

impl Backoff {
    /// Creates a backoff without an outage yet.
    pub(crate) fn new(retry_for: Option<Duration>) -> Self {
        Self {
            retry_for,
            peer: "",
            outage_started_at: None,
            last_warning: None,
            last_reason: String::new(),
            attempts: 0,
            was_connected: false,
        }
    }

    /// Returns the backoff of a connection that messages call by this name.
    #[cfg(feature = "nats")]
    pub(crate) fn to(peer: &'static str, retry_for: Option<Duration>) -> Self {
        Self {
            peer,
            ..Self::new(retry_for)
        }
    }

    /// Returns the longest outage; `None` has no limit.
    pub(crate) fn retry_for(&self) -> Option<Duration> {
        self.retry_for
    }

    /// Begins an outage, if there is none, before its first attempt.
    pub(crate) fn begin_outage(&mut self) {
        self.outage_started_at.get_or_insert_with(Instant::now);
    }

    /// Waits until the outage has lasted longer than `--retry-for`; without end if there is no outage or no limit. For attempts of the driver,
    /// which waits for a server for as long as the connection string says.
    pub(crate) fn limit_reached(&self) -> impl Future<Output = ()> + use<> {
        let limit = self.retry_for.filter(|limit| !limit.is_zero());
        let started_at = self.outage_started_at;
        async move {
            match started_at.zip(limit) {
                Some((started_at, limit)) => {
                    tokio::time::sleep_until((started_at + limit + GRACE).into()).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the failure of an attempt that [`Self::limit_reached`] cut short. `cause` is why, if that is known; otherwise it is the reason of
    /// the attempt before.
    pub(crate) fn cut_short(&self, cause: Option<String>) -> Failure {
        let limit = self.retry_for.unwrap_or_default();
        let too_long = |limit, reason: &str| too_long(self.peer, limit, reason);
        match (cause, self.last_reason.as_str()) {
            (Some(cause), _) => too_long(limit, &cause),
            (None, "") => too_long(limit, "no reply"),
            (None, reason) => too_long(limit, reason),
        }
    }

    /// Waits until the next attempt is due. Warns that there is no connection because of `reason`, at most every 30 s.
    ///
    /// # Errors
    /// Exit code 7 when the outage has lasted longer than `--retry-for`.
    pub(crate) async fn wait(&mut self, reason: &str) -> Result<(), Failure> {
        self.wait_at_most(Duration::MAX, reason).await
    }

    /// Waits as [`Backoff::wait`] does, but for `limit` at most.
    ///
    /// # Errors
    /// Exit code 7 when the outage has lasted longer than `--retry-for`.
    pub(crate) async fn wait_at_most(
        &mut self,
        limit: Duration,
        reason: &str,
    ) -> Result<(), Failure> {
        // Full jitter: clients that lost their server together do not reconnect together.
        let outage = (self.outage_started_at).map_or(Duration::ZERO, |start| start.elapsed());
        let pause = max_wait(self.attempts, outage).mul_f64(fastrand::f64());
        self.wait_for(pause.min(limit), reason).await
    }

    /// Waits as [`Backoff::wait`] does, but for `pause`.
    ///
    /// # Errors
    /// Exit code 7 when the outage has lasted longer than `--retry-for`.
    pub(crate) async fn wait_for(&mut self, pause: Duration, reason: &str) -> Result<(), Failure> {
        let started_at = *self.outage_started_at.get_or_insert_with(Instant::now);
        let left = match self.retry_for {
            None => Duration::MAX,
            Some(limit) => {
                let left = limit.saturating_sub(started_at.elapsed());
                if left.is_zero() {
                    return Err(too_long(self.peer, limit, reason));
                }
                left
            }
        };
        reason.clone_into(&mut self.last_reason);
        self.warn(started_at, reason);
        self.attempts += 1;
        tokio::time::sleep(pause.min(left)).await;
        Ok(())
    }

    fn warn(&mut self, started_at: Instant, reason: &str) {
        if (self.last_warning).is_some_and(|warning| warning.elapsed() < WARNING_INTERVAL) {
            return;
        }
        self.last_warning = Some(Instant::now());
        let peer = self.peer;
        if self.attempts > 0 {
            tracing::warn!(
                "{peer}still no connection after {:.0?}: {reason}",
                started_at.elapsed()
            );
        } else if self.was_connected {
            tracing::warn!("{peer}connection lost, retrying: {reason}");
        } else {
            tracing::warn!("{peer}no connection yet, retrying: {reason}");
        }
    }

    /// Ends the outage, if there is one, because the server replied.
    pub(crate) fn reset(&mut self) {
        if let Some(started_at) = self.outage_started_at.take()
            && self.attempts > 0
        {
            let event = if self.was_connected {
                "reconnected"
            } else {
                "connected"
            };
            tracing::info!("{}{event} after {:.1?}", self.peer, started_at.elapsed());
            self.last_warning = None;
            self.last_reason.clear();
            self.attempts = 0;
        }
        self.was_connected = true;
    }
}

/// Returns the failure of an outage that has lasted longer than `limit`, the value of `--retry-for`.
fn too_long(peer: &str, limit: Duration, reason: &str) -> Failure {
    let message = match limit.is_zero() {
        true => format!("{peer}no connection, and --retry-for 0s allows no retry: {reason}"),
        false => format!("{peer}no connection for {limit:?}, the limit of --retry-for: {reason}"),
    };
    Failure::new(Kind::Unreachable, message)
        .hint("use a longer --retry-for, or --retry-for forever to keep trying")
}

/// Returns the upper bound of the next wait, after a number of failed attempts and an outage of this duration. The bound is not above the
/// duration of the outage: short random waits use up attempts, and a wait of 16 s after 5 s would make the outage four times as long.
fn max_wait(attempts: u32, outage: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts);
    FIRST_WAIT
        .saturating_mul(doubled)
        .min(MAX_WAIT)
        .min(outage.max(FIRST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_the_wait_up_to_30_seconds() {
        let hour = Duration::from_secs(3600);
        let waits = [0, 1, 2, 6, 7, 100].map(|attempts| max_wait(attempts, hour).as_millis());
        assert_eq!(waits, [250, 500, 1000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn waits_no_longer_than_the_outage_has_lasted() {
        let after = |seconds| max_wait(6, Duration::from_secs(seconds)).as_millis();
        assert_eq!([0, 5, 20].map(after), [250, 5000, 16_000]);
    }
}
