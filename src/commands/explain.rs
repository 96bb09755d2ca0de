//! `--explain`: the aggregate command that a watch would send to the server.

use std::fmt::Display;

use bson::{Document, RawDocumentBuf, doc};

use crate::config::{Config, Start};
use crate::error::{Failure, Kind};
use crate::extjson::{self, pretty};
use crate::shell_syntax;

/// Returns a call that runs the command in mongosh.
///
/// # Errors
/// Exit code 1 when the resume token is not BSON.
pub(crate) fn shell_call(config: &Config) -> Result<String, Failure> {
    // JSON text is text of JavaScript too.
    let db = serde_json::Value::from(config.stream.scope.database());
    let command = shell_syntax::to_shell(&command(config)?);
    Ok(format!("db.getSiblingDB({db}).runCommand({command})"))
}

/// Returns the command as indented Extended JSON, with the database it runs on.
///
/// # Errors
/// Exit code 1 when the command cannot be encoded as BSON or Extended JSON.
pub(crate) fn extended_json(config: &Config) -> Result<String, Failure> {
    let mut command = command(config)?;
    command.insert("$db", config.stream.scope.database());
    let raw = RawDocumentBuf::try_from(&command).map_err(|error| failure(&error))?;
    let line = extjson::to_text(&raw, config.output.mode).map_err(|error| failure(&error))?;
    let mut text = Vec::new();
    pretty::indent(line.as_bytes(), false, &mut text);
    String::from_utf8(text).map_err(|error| failure(&error))
}

fn command(config: &Config) -> Result<Document, Failure> {
    let start = match &config.start {
        Some(Start::After(token)) => {
            let token = Document::try_from(token.as_raw()).map_err(|error| failure(&error))?;
            doc! { "startAfter": token }
        }
        Some(Start::At(_)) | None => Document::new(),
    };
    Ok(config.stream.aggregate(start, config.stream.batch_size))
}

fn failure(error: &dyn Display) -> Failure {
    Failure::new(Kind::Other, format!("cannot show the command: {error}"))
}
