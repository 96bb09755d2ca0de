//! Messages on stderr: text for people, or one JSON object per line, and the status line below them.
//! Knows nothing about what they report, and never waits for stderr.

mod stderr;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::error;
use crate::redaction::{redact_json, redacted};

use self::stderr::Stderr;

/// Target of the messages that a signal asked for. They are logged with `--quiet` too.
pub(crate) const STATUS: &str = "cswatch_status";

/// Name of the event field that holds the hint: what to do about the message.
const HINT: &str = "hint";

/// How long the end of the process waits for stderr to accept the last messages.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The stderr of this process.
static STDERR: Stderr = Stderr::new();

/// Names of the event fields that hold the invalid part of the input, and the caret below it.
const EXCERPT: &str = "excerpt";
const CARET: &str = "caret";

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
    let layer = tracing_subscriber::fmt::layer().with_writer(Post::Text);
    let layer = match log.format {
        LogFormat::Text => layer
            .event_format(Text {
                // Collected logs need the time; at a prompt it is in the way.
                with_time: !io::stderr().is_terminal(),
            })
            .boxed(),
        LogFormat::Json => layer
            .with_writer(Post::Json)
            .json()
            .flatten_event(true)
            .with_target(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .init();
}

/// Prints the message of a panic without the connection strings in it.
pub(crate) fn redact_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let text = match backtrace.status() {
            BacktraceStatus::Captured => format!("{panic}\n{backtrace}"),
            _ => panic.to_string(),
        };
        // Fails without a stderr.
        let _ = writeln!(io::stderr(), "cswatch: error: {}", redacted(&text));
    }));
}

/// Waits until stderr has accepted all messages, for at most a second. To be called at the end of the process.
pub(crate) fn flush() {
    STDERR.flush(FLUSH_TIMEOUT);
}

/// Shows `text` as the status line: at the bottom of the terminal, below all messages.
pub(crate) fn show_status_line(text: String) {
    STDERR.set_status(Some(text));
}

/// Removes the status line.
pub(crate) fn clear_status_line() {
    STDERR.set_status(None);
}

/// Queues the messages of a level for stderr, without the connection strings in them.
struct Posted {
    format: Post,
    is_error: bool,
}

impl io::Write for Posted {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(message);
        let shown = self.format.redacted(&text);
        STDERR.post(shown.as_bytes(), self.is_error);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the writer of each message.
#[derive(Clone, Copy)]
enum Post {
    Text,
    Json,
}

impl Post {
    fn redacted(self, message: &str) -> String {
        let shown = redacted(message);
        // Within JSON, a secret ends where its string does.
        if let (Self::Json, Ok(mut value)) = (self, serde_json::from_str(message))
            && shown != message
        {
            redact_json(&mut value);
            return format!("{value}\n");
        }
        shown
    }
}

impl MakeWriter<'_> for Post {
    type Writer = Posted;

    fn make_writer(&self) -> Posted {
        Posted {
            format: *self,
            is_error: false,
        }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Posted {
        Posted {
            format: *self,
            is_error: *metadata.level() == Level::ERROR,
        }
    }
}

/// Format of text messages: `cswatch: error: MESSAGE`, and `cswatch: hint: HINT` on a line of its own; between them the invalid part of
/// the input with a caret. The time comes first where stderr is not a terminal.
struct Text {
    with_time: bool,
}

impl Text {
    fn write_line(&self, writer: &mut Writer<'_>, level: &str, message: &str) -> fmt::Result {
        if self.with_time {
            write!(writer, "{:.3} ", jiff::Timestamp::now())?;
        }
        writeln!(writer, "cswatch: {level}{message}")
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.write_line(&mut writer, level, &fields.text)?;
        for (label, line) in [
            (INDENT, fields.excerpt),
            (INDENT, fields.caret),
            ("hint: ", fields.hint),
        ] {
            if let Some(line) = line {
                self.write_line(&mut writer, label, &line)?;
            }
        }
        Ok(())
    }
}

/// Indentation of the invalid part of the input.
const INDENT: &str = "    ";

/// Fields of an event: its message followed by the other fields, and those that get their own line.
#[derive(Default)]
struct Fields {
    text: String,
    excerpt: Option<String>,
    caret: Option<String>,
    hint: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.text.insert_str(0, &format!("{value:?}")),
            HINT => self.hint = Some(format!("{value:?}")),
            EXCERPT => self.excerpt = Some(format!("{value:?}")),
            CARET => self.caret = Some(format!("{value:?}")),
            // Writing to a string cannot fail.
            name => drop(write!(self.text, " {name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
