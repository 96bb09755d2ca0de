//! `cswatch token`: what resume tokens say, one after the other, each as soon as it was read.
//! Connects to nothing.

mod input;
mod report;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;

use jiff::tz::TimeZone;

use crate::config::TokenConfig;
use crate::error::{Failure, Kind};
use crate::sink::{Output, ReaderState};

use self::input::{FORMS, Input, InputSource};
use self::report::Report;

/// Prints what each token in the input says.
///
/// # Errors
/// Exit code 2 at the first that is none, 6 when stdout cannot be written, and 1 in the end when of some only the time was known.
pub(crate) fn run(config: &TokenConfig) -> Result<(), Failure> {
    let (source, text) = open(config.source.as_deref())?;
    let is_pipe = matches!(source, InputSource::Stdin);
    let mut input = Input::new(source, text);
    let mut output = Output::stdout()?;
    let zone = TimeZone::system();
    let (mut shown, mut not_decoded) = (0, 0);
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
        not_decoded += usize::from(!report.is_complete());
    }
    // A watch whose output is piped here may see no event; a file is named for what is in it.
    if shown == 0 && !is_pipe {
        return Err(input.without_token());
    }
    if not_decoded > 0 {
        return Err(Failure::new(
            Kind::Other,
            format!("not decoded beyond the time: {not_decoded} of {shown} tokens"),
        ));
    }
    Ok(())
}

/// What the argument means.
fn open(argument: Option<&Path>) -> Result<(InputSource<'_>, Box<dyn BufRead + '_>), Failure> {
    let path = match argument {
        Some(path) if path != Path::new("-") => path,
        _ => {
            let stdin = io::stdin().lock();
            if stdin.is_terminal() {
                tracing::info!("reading tokens and events from the terminal; ^D ends it");
            }
            return Ok((InputSource::Stdin, Box::new(stdin)));
        }
    };
    if let Some(text) = path.to_str()
        && is_token(text.trim())
    {
        return Ok((InputSource::Argument, Box::new(text.as_bytes())));
    }
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!(
            "'{}' is no token, and cannot be read as a file: {error}",
            path.display()
        ))
        .hint(FORMS)
    })?;
    Ok((InputSource::File(path), Box::new(BufReader::new(file))))
}

/// Whether this is meant as a token rather than as the path of a file; `./` in front makes anything a path.
fn is_token(text: &str) -> bool {
    text.starts_with(['{', '"']) || text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
