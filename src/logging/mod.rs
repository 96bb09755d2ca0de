//! Messages on stderr: text for people, or one JSON object per line, and the status line below them.
//! Knows nothing about what they report, and never waits for stderr.

mod format;
mod stderr;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::redaction::redacted;
use crate::{error, text};

use self::format::{Json, Text};
use self::stderr::Stderr;

/// Target of the messages that a signal asked for. They are logged with `--quiet` too.
pub(crate) const STATUS: &str = "cswatch_status";

/// How long the end of the process waits for stderr to accept the last messages.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The stderr of this process.
static STDERR: Stderr = Stderr::new();

/// Logs the error that ends the process, with the invalid part of the input and the hint.
pub(crate) fn error(error: &anyhow::Error) {
    let hint = error::hint(error);
    let [excerpt, caret] = match error::excerpt(error) {
        Some(lines) => lines.each_ref().map(|line| Some(line.as_str())),
        None => [None, None],
    };
    tracing::error!(excerpt, caret, hint, "{error:#}");
}

/// Starts logging to stderr.
pub(crate) fn start(log: LogConfig) {
    STDERR.start();
    let level = match (log.quiet, log.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_target("cswatch", level)
        .with_target(STATUS, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer().with_writer(Post);
    let layer = match log.format {
        LogFormat::Text => layer.event_format(Text::for_stderr()).boxed(),
        LogFormat::Json => layer.event_format(Json).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .init();
}

/// Prints the message of a panic without the connection strings in it, and with hidden characters escaped.
pub(crate) fn redact_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let text = match backtrace.status() {
            BacktraceStatus::Captured => format!("{panic}\n{backtrace}"),
            _ => panic.to_string(),
        };
        let text = redacted(&text);
        let lines: Vec<_> = text.lines().map(text::escaped).collect();
        // Fails without a stderr.
        let _ = writeln!(io::stderr(), "cswatch: error: {}", lines.join("\n"));
    }));
}

/// Waits until stderr has accepted all messages, for at most a second. To be called at the end of the process.
pub(crate) fn flush() {
    STDERR.flush(FLUSH_TIMEOUT);
}

/// Shows `text` as the status line: at the bottom of the terminal, below all messages.
pub(crate) fn show_status_line(text: &str) {
    STDERR.set_status(Some(text::message(text)));
}

/// Removes the status line.
pub(crate) fn clear_status_line() {
    STDERR.set_status(None);
}

/// Queues the messages of a level for stderr.
struct Posted {
    is_error: bool,
}

impl io::Write for Posted {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        STDERR.post(message, self.is_error);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the writer of each message.
struct Post;

impl MakeWriter<'_> for Post {
    type Writer = Posted;

    fn make_writer(&self) -> Posted {
        Posted { is_error: false }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Posted {
        Posted {
            is_error: *metadata.level() == Level::ERROR,
        }
    }
}
