//! What is said on stderr, and how it looks: text for people, or one JSON object a line.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::{Log, LogFormat};
use crate::telemetry;

/// The target of what a signal asked for: said with `--quiet` too.
pub const STATUS: &str = "cswatch_status";

/// Starts logging to stderr as the flags say.
pub fn start(log: &Log) {
    let level = match (log.quiet, log.verbose) {
        (true, _) => "error",
        (false, 0) => "cswatch=info",
        (false, 1) => "cswatch=debug",
        (false, _) => "cswatch=trace,mongodb=debug",
    };
    let level = format!("{level},{STATUS}=info");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(|| Stderr);
    match log.log_format {
        LogFormat::Text => builder
            .event_format(Text {
                // Whoever collects a sidecar's messages needs the time; at a prompt it is in the way.
                with_time: !std::io::stderr().is_terminal(),
            })
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
}

/// stderr, above the status line where there is one.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        telemetry::above_line(|| io::stderr().write_all(message))?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `cswatch: error: message`, with the time in front where stderr is no terminal.
struct Text {
    with_time: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.with_time {
            write!(writer, "{:.3} ", jiff::Timestamp::now())?;
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        };
        write!(writer, "cswatch: {level}")?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
