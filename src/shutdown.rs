//! Signals: the first one asks for the end, the second one is the end.

use tokio::sync::{mpsc, watch};

use crate::platform::ShutdownSignals;

/// What signals have asked for so far.
#[derive(Debug)]
pub(crate) struct Signals {
    stop: watch::Receiver<bool>,
    reopen: mpsc::UnboundedReceiver<()>,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Finish what was begun, and end.
    Stop,
    /// Reopen the output file by its name.
    Reopen,
}

impl Signals {
    /// Listens for SIGINT, SIGTERM and SIGHUP. With `reopens`, SIGHUP asks to reopen the output; else it asks for the end, as when a
    /// terminal closes.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen(reopens: bool) -> std::io::Result<Self> {
        let mut requests = ShutdownSignals::listen()?;
        let (stop_sender, stop) = watch::channel(false);
        let (reopen_sender, reopen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let request = requests.next().await;
                if reopens && request.is_hang_up {
                    // Nobody to tell once the watch has ended.
                    let _ = reopen_sender.send(());
                } else if stop_sender.send_replace(true) {
                    std::process::exit(request.exit_code);
                }
            }
        });
        Ok(Self { stop, reopen })
    }

    /// The next thing a signal asks for. Once the end was asked for, it is asked for again at each call.
    pub(crate) async fn asked(&mut self) -> Asked {
        tokio::select! {
            // The sender lives as long as the runtime.
            _ = self.stop.wait_for(|stop| *stop) => Asked::Stop,
            Some(()) = self.reopen.recv() => Asked::Reopen,
        }
    }

    /// Waits until the end is asked for.
    pub(crate) async fn stop(&mut self) {
        let _ = self.stop.wait_for(|stop| *stop).await;
    }
}
