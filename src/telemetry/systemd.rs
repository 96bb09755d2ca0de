//! What systemd is notified under `Type=notify`: ready, alive, stopping, and the status line. Does nothing where nobody listens.
//! See <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>.

#[cfg(unix)]
pub(super) use self::unix::Supervisor;

#[cfg(unix)]
mod unix {
    use std::time::{Duration, Instant};

    use sd_notify::NotifyState;

    use crate::telemetry::{Snapshot, status};

    /// The supervisor of this process, if it has one.
    #[derive(Debug)]
    pub(in crate::telemetry) struct Supervisor {
        is_ready: bool,
        /// How often it wants to hear of this process.
        watchdog: Option<Duration>,
        notified: Instant,
        /// The line that it was notified last.
        line: String,
    }

    impl Supervisor {
        /// The one that the environment names.
        pub(in crate::telemetry) fn from_environment() -> Option<Self> {
            std::env::var_os("NOTIFY_SOCKET")?;
            Some(Self {
                is_ready: false,
                // Twice as often as must be, as the manual advises.
                watchdog: sd_notify::watchdog_enabled().map(|time| time / 2),
                notified: Instant::now(),
                line: String::new(),
            })
        }

        /// Tells what has changed.
        pub(in crate::telemetry) fn notify(&mut self, snapshot: &Snapshot, per_second: f64) {
            let mut states = Vec::new();
            let line = status::line(snapshot, per_second);
            if line != self.line {
                self.line = line;
                states.push(NotifyState::Status(&self.line));
            }
            if snapshot.is_open && !self.is_ready {
                self.is_ready = true;
                states.push(NotifyState::Ready);
            }
            // An outage of the server is no reason to be started again: alive is whoever can say so.
            if self
                .watchdog
                .is_some_and(|time| self.notified.elapsed() >= time)
            {
                self.notified = Instant::now();
                states.push(NotifyState::Watchdog);
            }
            if !states.is_empty() {
                send(&states);
            }
        }
    }

    impl Drop for Supervisor {
        fn drop(&mut self) {
            send(&[NotifyState::Stopping]);
        }
    }

    fn send(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!("the supervisor cannot be notified: {error}");
        }
    }
}

#[cfg(not(unix))]
pub(super) use self::elsewhere::Supervisor;

#[cfg(not(unix))]
mod elsewhere {
    use crate::telemetry::Snapshot;

    /// No supervisor.
    #[derive(Debug)]
    pub(in crate::telemetry) enum Supervisor {}

    impl Supervisor {
        /// Returns `None`.
        pub(in crate::telemetry) fn from_environment() -> Option<Self> {
            None
        }

        /// Cannot be called.
        pub(in crate::telemetry) fn notify(&mut self, _: &Snapshot, _: f64) {
            match *self {}
        }
    }
}
