//! Requests by signal: to shut down, or to reopen the output file. The second request to shut down ends the process immediately.

use tokio::sync::{mpsc, watch};

use crate::platform::ShutdownSignals;

/// The requests that signals have made so far.
#[derive(Debug)]
pub(crate) struct Signals {
    shutdown: watch::Receiver<bool>,
    reopen: mpsc::UnboundedReceiver<()>,
}

/// A request made by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// Write what was read, and end.
    Shutdown,
    /// Reopen the output file by its name.
    Reopen,
}

impl Signals {
    /// Listens for SIGINT, SIGTERM and SIGHUP. With `reopens`, SIGHUP requests to reopen the output file; otherwise it requests a
    /// shutdown, as when a terminal closes. SIGINT and that SIGHUP stay ignored if the process was started with them ignored.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen(reopens: bool) -> std::io::Result<Self> {
        let mut signals = ShutdownSignals::listen(reopens)?;
        let (shutdown_sender, shutdown) = watch::channel(false);
        let (reopen_sender, reopen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let signal = signals.next().await;
                if reopens && signal.is_hangup {
                    // The receiver is gone once the watch has ended.
                    let _ = reopen_sender.send(());
                } else if shutdown_sender.send_replace(true) {
                    std::process::exit(signal.exit_code);
                }
            }
        });
        Ok(Self { shutdown, reopen })
    }

    /// Waits for the next request. After a request to shut down, every call returns it again.
    pub(crate) async fn next_request(&mut self) -> SignalRequest {
        tokio::select! {
            () = wait_until_set(&mut self.shutdown) => SignalRequest::Shutdown,
            Some(()) = self.reopen.recv() => SignalRequest::Reopen,
        }
    }

    /// Waits until a shutdown is requested.
    pub(crate) async fn shutdown_requested(&mut self) {
        wait_until_set(&mut self.shutdown).await;
    }
}

async fn wait_until_set(flag: &mut watch::Receiver<bool>) {
    // The sender lives as long as the runtime.
    let _ = flag.wait_for(|is_set| *is_set).await;
}
