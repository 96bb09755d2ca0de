//! What a watch opens before it connects: its files, and what it is reported with.

use std::io::IsTerminal as _;
use std::sync::Arc;

use crate::config::{Config, DrawStatusLine};
use crate::error::Failure;
use crate::platform;
use crate::shutdown::Signals;
use crate::source::ClusterClock;
use crate::telemetry::{MetricsServer, Monitor, Reporters, StatusLine, Telemetry};
use crate::threads;

/// What is open.
pub(super) struct Opened<T> {
    pub(super) files: T,
    pub(super) telemetry: Telemetry,
    pub(super) monitor: Monitor<ClusterClock>,
}

/// Opens the address for metrics and the files that `open_files` opens, and starts to report. Returns `None` if a shutdown was requested
/// meanwhile.
///
/// # Errors
/// Exit code 2 for the address; those of `open_files`.
pub(super) async fn open<T: Send + 'static>(
    config: &Arc<Config>,
    signals: &mut Signals,
    open_files: impl FnOnce(&Config) -> Result<T, Failure> + Send + 'static,
) -> Result<Option<Opened<T>>, Failure> {
    let opening = threads::run("opening", {
        let config = Arc::clone(config);
        move || {
            // Looks up a host name.
            let metrics_addr = config.monitoring.metrics_addr.as_deref();
            let server = metrics_addr.map(MetricsServer::bind).transpose()?;
            Ok::<_, Failure>((server, open_files(&config)?))
        }
    });
    let (server, files) = tokio::select! {
        opened = opening => opened??,
        () = signals.shutdown_requested() => return Ok(None),
    };
    let telemetry = Telemetry::new(config.stream.max_await);
    let reporters = Reporters {
        server,
        status_line: draws_status_line(config).then(StatusLine::new),
    };
    let monitor = Monitor::start(&telemetry, reporters)?;
    Ok(Some(Opened {
        files,
        telemetry,
        monitor,
    }))
}

/// Returns whether to draw a status line: stderr is a terminal, and no events appear on the same one. The reader of a pipe may print them
/// there.
fn draws_status_line(config: &Config) -> bool {
    std::io::stderr().is_terminal()
        && match config.monitoring.status_line {
            DrawStatusLine::Never => false,
            DrawStatusLine::ApartFromEvents => {
                config.output.file.is_some()
                    || platform::stdout_file().is_ok_and(|stdout| platform::is_unread(&stdout))
            }
            DrawStatusLine::Always => true,
        }
}
