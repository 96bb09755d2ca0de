//! A reporter on its own thread, because reporting may block: a heartbeat is written to a disk, a supervisor is sent to a socket.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::error::Failure;
use crate::threads::Thread;

/// How long [`ReporterThread::stop`] waits for a report that is under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A thread that reports again and again.
#[derive(Debug)]
pub(super) struct ReporterThread {
    thread: Thread<()>,
    /// Dropped to stop the thread.
    stop: mpsc::Sender<()>,
}

impl ReporterThread {
    /// Starts a thread that calls `report`, and calls it again after the pause that it returns.
    ///
    /// # Errors
    /// Exit code 1 when the system refuses a thread.
    pub(super) fn start(
        name: &'static str,
        mut report: impl FnMut() -> Duration + Send + 'static,
    ) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let thread = Thread::start(name, move || {
            while stopped.recv_timeout(report()) == Err(RecvTimeoutError::Timeout) {}
        })?;
        Ok(Self { thread, stop })
    }

    /// Stops the thread and drops what it reports with. A thread that is stuck is left to end with the process.
    pub(super) async fn stop(self) {
        let Self { mut thread, stop } = self;
        drop(stop);
        // Without a result the thread is stuck, or panicked and has said so.
        let _ = tokio::time::timeout(STOP_TIMEOUT, thread.result()).await;
    }
}
