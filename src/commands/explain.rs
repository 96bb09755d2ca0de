//! `--explain`: the aggregate command that a watch would send to the server.

use bson::{Document, RawDocumentBuf, doc};

use crate::config::{Config, Start};
use crate::error::{Failure, Kind};
use crate::extjson::{self, pretty};

/// Returns the command as indented Extended JSON, with the database it runs on.
///
/// # Errors
/// Exit code 1 when the command cannot be encoded as BSON or Extended JSON.
pub(crate) fn command(config: &Config) -> Result<String, Failure> {
    let failure = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Other, format!("cannot show the command: {error}"))
    };
    let start = match &config.start {
        Some(Start::After(token)) => {
            let token = Document::try_from(token.as_raw()).map_err(|error| failure(&error))?;
            doc! { "startAfter": token }
        }
        Some(Start::At(_)) | None => Document::new(),
    };
    let mut command = config.stream.aggregate(start, config.stream.batch_size);
    command.insert("$db", config.stream.scope.database());
    let raw = RawDocumentBuf::try_from(&command).map_err(|error| failure(&error))?;
    let line = extjson::to_text(&raw, config.output.mode).map_err(|error| failure(&error))?;
    let mut text = Vec::new();
    pretty::indent(line.as_bytes(), false, &mut text);
    String::from_utf8(text).map_err(|error| failure(&error))
}
