//! What is said on stderr, and how it looks: text for people, or one JSON object a line.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Log, LogFormat};
use crate::telemetry;

/// The target of what a signal asked for: said with `--quiet` too.
pub const STATUS: &str = "cswatch_status";

/// Starts logging to stderr as the flags say.
pub fn start(log: &Log) {
    let level = match (log.quiet, log.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let heard = Targets::new()
        .with_target("cswatch", level)
        .with_target(STATUS, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
    let layer = match log.log_format {
        LogFormat::Text => layer
            .event_format(Text {
                // Whoever collects a sidecar's messages needs the time; at a prompt it is in the way.
                with_time: !io::stderr().is_terminal(),
            })
            .boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_target(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(heard))
        .init();
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
