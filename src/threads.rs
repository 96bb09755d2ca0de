//! Threads for whatever may block: a reader, a disk, a supervisor. The task that starts one never waits longer for it than it chooses to,
//! and one that is stuck ends with the process.

use tokio::sync::oneshot;

use crate::error::{Failure, Kind};

/// A thread that returns a `T`. It is not stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread<T> {
    name: &'static str,
    result: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts a thread that calls `run`.
    ///
    /// # Errors
    /// Exit code 1 when the system refuses a thread.
    pub(crate) fn start(
        name: &'static str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, Failure> {
        let (sender, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || {
            // The receiver is gone if nothing waits for the result any more.
            let _ = sender.send(run());
        });
        match started {
            Ok(_) => Ok(Self { name, result }),
            Err(error) => Err(Failure::new(
                Kind::Other,
                format!("cannot start the thread {name}: {error}"),
            )),
        }
    }

    /// Waits for what the thread returns. May be dropped and called again until it has returned.
    ///
    /// # Errors
    /// Exit code 1 when the thread panicked.
    pub(crate) async fn result(&mut self) -> Result<T, Failure> {
        (&mut self.result).await.map_err(|_| {
            let message = format!("the thread {} stopped unexpectedly", self.name);
            Failure::new(Kind::Other, message)
        })
    }
}

/// Calls `run` on a thread, and returns what it returns.
///
/// # Errors
/// As [`Thread::start`] and [`Thread::result`].
pub(crate) async fn run<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    Thread::start(name, run)?.result().await
}
