//! The one tokio runtime of the test binary, on which plain tests use the driver and the proxy.

use std::future::IntoFuture;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The shared runtime. Lives as long as the process: a client's monitors run on it.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a tokio runtime")
    })
}

/// Waits for a future, or for one of the driver's actions as it is, from a plain thread.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    runtime().block_on(async { future.await })
}
