//! Connection strings with a login in the place of another value. They are refused before they are parsed, printed or saved.

use std::ffi::OsString;

use crate::error::Failure;
use crate::redaction;

/// Hint for a connection string in the place of another value.
const HINT: &str =
    "give the connection string as --uri mongodb://..., or with --uri-file or CSWATCH_URI";

/// The option that takes a connection string.
const URI: &str = "--uri";

/// Checks the arguments of this process.
///
/// # Errors
/// Exit code 2 when an argument is a connection string with a login and not the value of `--uri`. The message names its option.
pub(crate) fn ensure_none_in_arguments() -> Result<(), Failure> {
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match misplaced(&arguments) {
        Some(place) => Err(failure(&place)),
        None => Ok(()),
    }
}

/// Checks the environment variables of the watch options of `command`.
///
/// # Errors
/// Exit code 2 when a variable other than that of `--uri` is a connection string with a login.
pub(super) fn ensure_none_in_environment(command: &clap::Command) -> Result<(), Failure> {
    let is_misplaced = |name: &OsString| {
        name != "CSWATCH_URI"
            && std::env::var_os(name).is_some_and(|value| is_secret(&value.to_string_lossy()))
    };
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    match names.map(ToOwned::to_owned).find(is_misplaced) {
        Some(name) => Err(failure(&name.to_string_lossy())),
        None => Ok(()),
    }
}

fn failure(place: &str) -> Failure {
    Failure::usage(format!("{place}: a connection string is not valid here")).hint(HINT)
}

fn is_secret(value: &str) -> bool {
    redaction::is_connection_string(value) && redaction::redacted(value) != value
}

/// Returns the option whose value is a connection string with a login, or what to call an argument without an option.
fn misplaced(arguments: &[String]) -> Option<String> {
    let mut previous = "";
    for argument in arguments {
        let is_long = argument.starts_with("--");
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if is_long => (flag, value),
            // The value may follow the letter, as in -dVALUE and -d=VALUE.
            _ if argument.starts_with('-') && !is_long => {
                let (flag, value) = argument.split_at_checked(2).unwrap_or((argument, ""));
                (flag, value.strip_prefix('=').unwrap_or(value))
            }
            _ if previous.starts_with('-') && !previous.contains('=') && previous != "--" => {
                (previous, &argument[..])
            }
            _ => ("an argument", &argument[..]),
        };
        if flag != URI && is_secret(value) {
            // A flag may be a connection string itself: --mongodb://user:password@host.
            return Some(redaction::redacted(flag));
        }
        previous = argument;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_connection_string_that_is_not_the_value_of_uri() {
        const SECRET: &str = "mongodb://user:one@host";
        let found = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            misplaced(&arguments)
        };
        let attached = |flag: &str| format!("{flag}{SECRET}");
        assert_eq!(found(&["--uri", SECRET]), None);
        assert_eq!(found(&[&attached("--uri=")]), None);
        assert_eq!(found(&["--coll", "mongodb://host"]), None);
        assert_eq!(
            found(&["--match", r#"{"a":"mongodb://user:one@host"}"#]),
            None
        );
        assert_eq!(found(&["--coll", SECRET]).as_deref(), Some("--coll"));
        assert_eq!(found(&["-d", SECRET]).as_deref(), Some("-d"));
        assert_eq!(found(&[&attached("-d")]).as_deref(), Some("-d"));
        let with_option = format!("-d=@{SECRET}/?tls=true");
        assert_eq!(found(&[&with_option]).as_deref(), Some("-d"));
        assert_eq!(found(&["--", SECRET]).as_deref(), Some("an argument"));
        assert_eq!(found(&[&attached("--db=")]).as_deref(), Some("--db"));
        assert_eq!(
            found(&[&attached("--pipeline=@")]).as_deref(),
            Some("--pipeline")
        );
        assert_eq!(found(&["token", SECRET]).as_deref(), Some("an argument"));
        assert_eq!(found(&["--db=a", SECRET]).as_deref(), Some("an argument"));
    }
}
