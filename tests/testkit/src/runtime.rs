//! The tokio runtime of the test binary, on which the driver and the proxy run. Tests themselves are not async.

use std::future::IntoFuture;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Returns the shared runtime. It lives as long as the process, because the monitoring tasks of every client run on it.
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

/// Blocks the current thread until a future, or an action of the driver, has completed.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    runtime().block_on(async { future.await })
}
