//! `--explain`: the aggregate command that a watch would send.

use bson::{Document, RawDocumentBuf, doc};

use crate::config::{Config, Start};
use crate::error::{Failure, Kind};
use crate::extjson::{self, pretty};

/// The command as indented Extended JSON, with the database it runs on.
///
/// # Errors
/// Exit code 1 when a flag's value cannot be shown as BSON.
pub(crate) fn command(config: &Config) -> Result<String, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Other, format!("the command cannot be shown: {error}"))
    };
    let start = match &config.start {
        Start::After(token) => {
            let token = Document::try_from(token.as_raw()).map_err(|error| cannot(&error))?;
            doc! { "startAfter": token }
        }
        Start::At(_) => Document::new(),
    };
    let mut command = config.stream.aggregate(start, config.stream.batch_size);
    command.insert("$db", config.stream.scope.database());
    let raw = RawDocumentBuf::try_from(&command).map_err(|error| cannot(&error))?;
    let line = extjson::to_text(&raw, config.output.mode).map_err(|error| cannot(&error))?;
    let mut text = Vec::new();
    pretty::indent(line.as_bytes(), false, &mut text);
    String::from_utf8(text).map_err(|error| cannot(&error))
}
