//! `--explain`: the aggregate command that a watch would send.

use bson::{Document, RawDocumentBuf, doc};

use crate::error::{Failure, Kind};
use crate::extjson;
use crate::pretty;
use crate::settings::{Settings, Start};

/// The command as indented Extended JSON, with the database it runs on.
///
/// # Errors
/// Exit code 1 when a flag's value cannot be shown as BSON.
pub fn command(settings: &Settings) -> Result<String, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Other, format!("the command cannot be shown: {error}"))
    };
    let start = match &settings.start {
        Start::After(token) => {
            let token = Document::try_from(token.as_raw()).map_err(|error| cannot(&error))?;
            doc! { "startAfter": token }
        }
        Start::At(_) => Document::new(),
    };
    let mut command = settings.stream.aggregate(start, settings.stream.batch_size);
    command.insert("$db", settings.stream.scope.database());
    let raw = RawDocumentBuf::try_from(&command).map_err(|error| cannot(&error))?;
    let line = extjson::to_text(&raw, settings.output.mode).map_err(|error| cannot(&error))?;
    let mut text = Vec::new();
    pretty::indent(line.as_bytes(), false, &mut text);
    String::from_utf8(text).map_err(|error| cannot(&error))
}
