//! `cswatch token`: the content of resume tokens, each printed as soon as it is read.
//! Works offline; knows no server and no settings of a watch.

mod input;
mod report;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal as _};
use std::path::Path;

use bson::{Bson, RawDocumentBuf};
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;

use crate::config::TokenConfig;
use crate::error::{Failure, Kind};
use crate::extjson;
use crate::shell_syntax;
use crate::sink::{Output, ReaderState};

use self::input::{INPUT_HINT, Input, InputSource};
use self::report::Report;

/// Prints the content of each token in the input.
///
/// # Errors
/// Exit code 2 at the first input that is not a token, 6 when stdout cannot be written, and 1 at the end when only the time of some token
/// could be decoded.
pub(crate) fn run(config: &TokenConfig) -> Result<(), Failure> {
    let (source, text) = open(config.source.as_deref())?;
    let is_pipe = matches!(source, InputSource::Stdin);
    let mut input = Input::new(source, text);
    let mut output = Output::stdout()?;
    let zone = TimeZone::system();
    let (mut shown, mut incomplete) = (0, 0);
    while let Some(token) = input.next_token()? {
        let report = Report::of(&token);
        let mut text = String::new();
        if config.json {
            report.write_json(&mut text);
        } else {
            if shown > 0 {
                text.push('\n');
            }
            report.write_lines(&zone, &mut text);
        }
        if output.print(text.as_bytes())? == ReaderState::Gone {
            return Ok(());
        }
        shown += 1;
        incomplete += usize::from(!report.is_complete());
    }
    // A watch whose output is piped here may print no event. A file is named because it should hold a token.
    if shown == 0 && !is_pipe {
        return Err(input.without_token());
    }
    if incomplete > 0 {
        let tokens = if shown == 1 { "token" } else { "tokens" };
        return Err(Failure::new(
            Kind::Other,
            format!("only the time could be decoded of {incomplete} of {shown} {tokens}"),
        ));
    }
    Ok(())
}

/// Opens the argument, which is a token, the path of a file, or `-` for stdin; stdin without one.
fn open(argument: Option<&Path>) -> Result<(InputSource<'_>, Box<dyn BufRead + '_>), Failure> {
    let path = match argument {
        Some(path) if path != Path::new("-") => path,
        _ => {
            let stdin = io::stdin().lock();
            if stdin.is_terminal() {
                tracing::info!("reading tokens and events from the terminal; press Ctrl-D to end");
            }
            return Ok((InputSource::Stdin, Box::new(stdin)));
        }
    };
    if let Some(text) = path.to_str()
        && is_token(text.trim())
    {
        let text: Box<dyn BufRead> = match from_shell(text) {
            Some(text) => Box::new(Cursor::new(text)),
            None => Box::new(text.as_bytes()),
        };
        return Ok((InputSource::Argument, text));
    }
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!(
            "'{}' is neither a resume token nor a readable file: {error}",
            path.display()
        ))
        .hint(INPUT_HINT)
    })?;
    Ok((InputSource::File(path), Box::new(BufReader::new(file))))
}

/// Returns an object in mongosh syntax as Extended JSON; `None` if `text` is none. JSON is not changed, because a resume file has a
/// checksum of its text.
fn from_shell(text: &str) -> Option<String> {
    if !text.contains('{') || serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return None;
    }
    let Ok(Bson::Document(document)) = shell_syntax::parse(text) else {
        return None;
    };
    let raw = RawDocumentBuf::try_from(&document).ok()?;
    extjson::to_text(&raw, extjson::Mode::Canonical).ok()
}

/// Returns whether `text` is meant as a token rather than a path. A leading `./` makes anything a path.
fn is_token(text: &str) -> bool {
    text.starts_with(['{', '"']) || text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
