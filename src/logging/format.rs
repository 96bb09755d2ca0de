//! Formats of a message: text for people, or one JSON object on one line. Here secrets are masked, and text from outside is escaped and
//! bounded, so that a message is one line whatever a server, a name or a file put into it.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::text;

/// Name of the event field that holds the message.
const MESSAGE: &str = "message";

/// Name of the event field that holds the hint: what to do about the message.
const HINT: &str = "hint";

/// Names of the event fields that hold the invalid part of the input, and the caret below it.
const EXCERPT: &str = "excerpt";
const CARET: &str = "caret";

/// Indentation of the invalid part of the input.
const INDENT: &str = "    ";

/// Format of text messages: `cswatch: error: MESSAGE`, and `cswatch: hint: HINT` on a line of its own; between them the invalid part of
/// the input with a caret. The time comes first where stderr is not a terminal.
pub(super) struct Text {
    with_time: bool,
}

impl Text {
    /// Returns the format for the stderr of this process.
    pub(super) fn for_stderr() -> Self {
        Self {
            // Collected logs need the time; at a prompt it is in the way.
            with_time: !io::stderr().is_terminal(),
        }
    }

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
        let mut fields = Fields::of(event);
        for (name, value) in fields.others {
            write!(fields.message, " {name}={value}")?;
        }
        self.write_line(&mut writer, level, &text::message(&fields.message))?;
        for line in [fields.excerpt, fields.caret].into_iter().flatten() {
            self.write_line(&mut writer, INDENT, &text::message(&line))?;
        }
        match fields.hint {
            Some(hint) => self.write_line(&mut writer, "hint: ", &text::hint(&hint)),
            None => Ok(()),
        }
    }
}

/// Format of JSON messages: an object with `timestamp`, `level`, `message`, `excerpt`, `caret` and `hint` if there are any, and the other
/// fields.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
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
        let fields = Fields::of(event);
        let mut object = Map::new();
        let mut insert = |name: &str, value: Value| object.insert(name.to_owned(), value);
        insert("timestamp", format!("{:.6}", jiff::Timestamp::now()).into());
        insert("level", event.metadata().level().as_str().into());
        insert(MESSAGE, text::message_for_json(&fields.message).into());
        for (name, line) in [(EXCERPT, fields.excerpt), (CARET, fields.caret)] {
            if let Some(line) = line {
                insert(name, text::message_for_json(&line).into());
            }
        }
        if let Some(hint) = fields.hint {
            insert(HINT, text::hint_for_json(&hint).into());
        }
        for (name, value) in fields.others {
            insert(name, value);
        }
        let json = Value::Object(object).to_string();
        writeln!(writer, "{}", text::escaped_json(&json))
    }
}

/// Fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    excerpt: Option<String>,
    caret: Option<String>,
    hint: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => value.clone_into(&mut self.message),
            EXCERPT => self.excerpt = Some(value.to_owned()),
            CARET => self.caret = Some(value.to_owned()),
            HINT => self.hint = Some(value.to_owned()),
            name => self
                .others
                .push((name, text::message_for_json(value).into())),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
}
