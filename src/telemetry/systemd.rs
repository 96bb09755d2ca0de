//! Notifications to systemd for `Type=notify`: ready, watchdog, stopping, and the status line. Sends nothing without `NOTIFY_SOCKET`.
//! See <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>.

#[cfg(unix)]
pub(super) use self::unix::Supervisor;

#[cfg(unix)]
mod unix {
    use std::time::{Duration, Instant};

    use sd_notify::NotifyState;

    use crate::telemetry::Snapshot;
    use crate::telemetry::status::Rates;

    /// The supervisor of this process, which reads `NOTIFY_SOCKET`.
    #[derive(Debug)]
    pub(in crate::telemetry) struct Supervisor {
        is_ready: bool,
        /// How often the watchdog is notified; `None` without one.
        watchdog_interval: Option<Duration>,
        last_watchdog: Instant,
        /// The status line sent last.
        status: String,
        rates: Rates,
    }

    impl Supervisor {
        /// Returns the supervisor that the environment names; `None` without one.
        pub(in crate::telemetry) fn from_environment() -> Option<Self> {
            std::env::var_os("NOTIFY_SOCKET")?;
            Some(Self {
                is_ready: false,
                // Twice as often as required, as the manual advises.
                watchdog_interval: sd_notify::watchdog_enabled().map(|timeout| timeout / 2),
                last_watchdog: Instant::now(),
                status: String::new(),
                rates: Rates::new(),
            })
        }

        /// Sends what changed since the last call.
        pub(in crate::telemetry) fn notify(&mut self, snapshot: &Snapshot) {
            let mut states = Vec::new();
            let status = self.rates.line(snapshot);
            if status != self.status {
                self.status = status;
                states.push(NotifyState::Status(&self.status));
            }
            if snapshot.is_open && !self.is_ready {
                self.is_ready = true;
                states.push(NotifyState::Ready);
            }
            // Also during an outage: restarting cswatch would not bring the server back.
            if self
                .watchdog_interval
                .is_some_and(|interval| self.last_watchdog.elapsed() >= interval)
            {
                self.last_watchdog = Instant::now();
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
            tracing::debug!("cannot notify the supervisor: {error}");
        }
    }
}

#[cfg(not(unix))]
pub(super) use self::unsupported::Supervisor;

#[cfg(not(unix))]
mod unsupported {
    use crate::telemetry::Snapshot;

    /// A supervisor, which this system does not have.
    #[derive(Debug)]
    pub(in crate::telemetry) enum Supervisor {}

    impl Supervisor {
        /// Returns `None`.
        pub(in crate::telemetry) fn from_environment() -> Option<Self> {
            None
        }

        /// Is never called, because there is no value of this type.
        pub(in crate::telemetry) fn notify(&mut self, _: &Snapshot) {
            match *self {}
        }
    }
}
