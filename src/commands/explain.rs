//! `--explain`: the commands that a watch would send to the server.

use std::fmt::Display;

use bson::{Document, RawDocumentBuf, doc};

use crate::config::{Config, Start};
use crate::error::{Failure, Kind};
use crate::extjson::{self, pretty};
use crate::shell_syntax;

/// Returns a call that runs the command in mongosh, and with `--snapshot` a second one, each on its own lines.
///
/// # Errors
/// Exit code 1 when the resume token is not BSON.
pub(crate) fn shell_calls(config: &Config) -> Result<String, Failure> {
    let calls: Vec<String> = commands(config)?
        .into_iter()
        .map(|(db, command)| {
            // JSON text is text of JavaScript too.
            let db = serde_json::Value::from(db);
            let command = shell_syntax::to_shell(&command);
            format!("db.getSiblingDB({db}).runCommand({command})")
        })
        .collect();
    Ok(calls.join("\n"))
}

/// Returns the commands as indented Extended JSON, each with the database that it runs on.
///
/// # Errors
/// Exit code 1 when a command cannot be encoded as BSON or Extended JSON.
pub(crate) fn extended_json(config: &Config) -> Result<String, Failure> {
    let mut text = Vec::new();
    for (db, mut command) in commands(config)? {
        if !text.is_empty() {
            text.push(b'\n');
        }
        command.insert("$db", db);
        let raw = RawDocumentBuf::try_from(&command).map_err(|error| failure(&error))?;
        let line = extjson::to_text(&raw, config.output.mode).map_err(|error| failure(&error))?;
        pretty::indent(line.as_bytes(), false, &mut text);
    }
    String::from_utf8(text).map_err(|error| failure(&error))
}

/// Returns the command that opens the stream, and with `--snapshot` the one that reads documents, each with its database.
fn commands(config: &Config) -> Result<Vec<(&str, Document)>, Failure> {
    let mut commands = vec![(config.stream.scope.database(), command(config)?)];
    if config.snapshot {
        commands.push(config.stream.snapshot_command());
    }
    Ok(commands)
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
