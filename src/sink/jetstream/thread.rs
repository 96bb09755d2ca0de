//! The thread of the NATS client, with a runtime of its own: what takes long for one server never delays the other.

use std::future::Future;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Failure, Kind};
use crate::threads::Thread;

/// A thread that runs futures of the NATS client. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct NatsThread {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<()>,
}

/// A future that runs on the thread.
#[derive(Debug)]
pub(crate) struct Running<T>(tokio::task::JoinHandle<T>);

impl NatsThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Exit code 1 when the system refuses a thread or a runtime.
    pub(crate) fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::new(Kind::Other, format!("cannot start the runtime: {error}"))
            })?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel();
        Thread::start("nats", move || {
            // Ends with an error when the sender is dropped, as it must.
            let _: Result<(), _> = runtime.block_on(stopped);
            // A name that is being looked up must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            runtime: handle,
            _running: running,
        })
    }

    /// Starts `future` on the thread.
    pub(crate) fn start_future<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Running<T> {
        Running(self.runtime.spawn(future))
    }

    /// Runs `future` on the thread, and returns what it returns. Dropping this ends it.
    ///
    /// # Errors
    /// As [`Running::result`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.start_future(future).result().await
    }
}

impl<T> Running<T> {
    /// Waits for what the future returns. May be dropped and called again until it has returned.
    ///
    /// # Errors
    /// Exit code 1 when it panicked.
    pub(crate) async fn result(&mut self) -> Result<T, Failure> {
        (&mut self.0)
            .await
            .map_err(|_| Failure::new(Kind::Other, "the thread nats stopped unexpectedly"))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
