//! clap's errors as failures: one line that names the argument, and one with the tips, which clap and cswatch give.

use std::env;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::LogFormat;
use crate::error::Failure;
use crate::redaction;

use super::escaped::escaped;
use super::{command, habits};

/// Returns the failure for a usage error.
pub(super) fn failure(error: clap::Error) -> Failure {
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let subcommand = subcommand(&arguments);
    // The other subcommands have few arguments, and none that other tools have too.
    let is_watch = matches!(subcommand.as_deref(), None | Some("check"));
    let misused = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(word)) => Some(word.clone()),
            _ => None,
        });
    let unknown = misused.as_ref().filter(|word| {
        matches!(
            error.kind(),
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
        ) || error.kind() == ErrorKind::ArgumentConflict
            && !is_subcommand(word)
            && error.get(ContextKind::InvalidSubcommand).is_some()
    });
    let own = match (unknown, &misused) {
        (Some(word), _) if redaction::is_connection_string(word) => {
            Some("give the connection string as --uri mongodb://...".to_owned())
        }
        (Some(word), _) if is_watch => habits::tip(word, &arguments),
        (None, Some(word)) if is_subcommand(word) => {
            Some(format!("write the subcommand first: cswatch {word} ..."))
        }
        _ => None,
    };
    let is_conflict = error.kind() == ErrorKind::ArgumentConflict;
    let is_stray_word = error.kind() == ErrorKind::InvalidSubcommand;
    let environment = environment(error.kind());
    let unknown = unknown.cloned();
    let error = escaped(error);
    let Rendered { mut message, tips } = Rendered::of(&error.render().to_string());
    if let (Some(word), true) = (unknown, is_conflict) {
        // clap takes it for a subcommand.
        message = format!("unexpected argument '{word}' found");
    }
    let tips: Vec<String> = match own {
        Some(own) => vec![own],
        None => tips.into_iter().chain(environment).collect(),
    };
    let hint = match (tips.is_empty(), subcommand) {
        (false, _) => tips.join("; "),
        (true, None) if is_stray_word => "name a database with --db, a collection with --coll; cswatch --help lists the subcommands".to_owned(),
        (true, Some(subcommand)) => format!("cswatch {subcommand} --help lists the options"),
        (true, None) => "cswatch --help lists the options".to_owned(),
    };
    Failure::usage(message).hint(hint)
}

/// Returns the format of messages that the command line asks for, as far as can be seen in one that cannot be parsed.
pub(super) fn log_format() -> LogFormat {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let is_json = arguments
        .iter()
        .any(|argument| argument == "--log-format=json")
        || arguments
            .windows(2)
            .any(|pair| pair == ["--log-format", "json"])
        || env::var_os("CSWATCH_LOG_FORMAT").is_some_and(|format| format == "json");
    match is_json {
        true => LogFormat::Json,
        false => LogFormat::Text,
    }
}

/// An error as clap renders it.
struct Rendered {
    message: String,
    tips: Vec<String>,
}

impl Rendered {
    /// Reads the text of an error in which line breaks of values are escaped: paragraphs with the message, tips and the usage.
    fn of(text: &str) -> Self {
        let mut paragraphs = text.split("\n\n");
        let first = paragraphs.next().unwrap_or_default();
        let mut tips = Vec::new();
        let mut message = Vec::new();
        for line in first.trim_start_matches("error: ").lines().map(str::trim) {
            match line.strip_prefix("[possible values: ") {
                Some(values) => tips.push(format!("use one of {}", values.trim_end_matches(']'))),
                None => message.push(line),
            }
        }
        let lines = paragraphs.flat_map(str::lines).map(str::trim);
        tips.extend(lines.filter_map(|line| line.strip_prefix("tip: ").map(ToOwned::to_owned)));
        Self {
            message: message.join(" "),
            tips,
        }
    }
}

/// Returns the tip that names the variables which set options. clap names an option even if its value came from the environment.
fn environment(kind: ErrorKind) -> Option<String> {
    if !matches!(
        kind,
        ErrorKind::ArgumentConflict | ErrorKind::InvalidValue | ErrorKind::ValueValidation
    ) {
        return None;
    }
    let names: Vec<String> = command()
        .get_arguments()
        .filter_map(clap::Arg::get_env)
        .filter(|name| env::var_os(name).is_some())
        .map(|name| name.display().to_string())
        .collect();
    (!names.is_empty()).then(|| format!("set in the environment: {}", names.join(", ")))
}

fn subcommand(arguments: &[String]) -> Option<String> {
    let first = arguments.first()?;
    is_subcommand(first).then(|| first.clone())
}

fn is_subcommand(word: &str) -> bool {
    command().find_subcommand(word).is_some()
}
