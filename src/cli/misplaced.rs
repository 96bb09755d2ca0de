//! Connection strings with a login in the place of another value. They are refused before they are parsed, printed or saved.

use crate::error::Failure;
use crate::redaction;

/// Hint for a connection string in the place of another value.
const HINT: &str =
    "give the connection string as --uri mongodb://..., or with --uri-file or CSWATCH_URI";

/// Hint for the URL of a NATS server in the place of another value.
#[cfg(feature = "nats")]
const NATS_HINT: &str = "give the URL of NATS as --nats nats://..., or with CSWATCH_NATS";
#[cfg(not(feature = "nats"))]
const NATS_HINT: &str = "this cswatch was built without the feature nats";

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
        Some((place, value)) => Err(failure(&place, &value)),
        None => Ok(()),
    }
}

/// Checks the environment variables of the watch options of `command`.
///
/// # Errors
/// Exit code 2 when a variable other than that of `--uri` is a connection string with a login.
pub(super) fn ensure_none_in_environment(command: &clap::Command) -> Result<(), Failure> {
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    for name in names {
        let value = std::env::var_os(name).unwrap_or_default();
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if is_misplaced(&name, &value) {
            return Err(failure(&name, &value));
        }
    }
    Ok(())
}

/// `value` is only used to choose the hint.
fn failure(place: &str, value: &str) -> Failure {
    let hint = match redaction::is_nats_url(value) {
        true => NATS_HINT,
        false => HINT,
    };
    Failure::usage(format!("{place}: a connection string is not valid here")).hint(hint)
}

/// Returns whether `value` is a connection string with a login that the option or environment variable `name` does not take.
fn is_misplaced(name: &str, value: &str) -> bool {
    let is_taken = match redaction::is_nats_url(value) {
        true => matches!(name, "--nats" | "CSWATCH_NATS"),
        false => matches!(name, "--uri" | "CSWATCH_URI"),
    };
    !is_taken && redaction::is_connection_string(value) && redaction::redacted(value) != value
}

/// Returns the option whose value is a connection string with a login that it does not take, or what to call an argument without an
/// option; and the value.
fn misplaced(arguments: &[String]) -> Option<(String, String)> {
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
        if is_misplaced(flag, value) {
            // A flag may be a connection string itself: --mongodb://user:password@host.
            return Some((redaction::redacted(flag), value.to_owned()));
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
            misplaced(&arguments).map(|(place, _)| place)
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
        assert_eq!(found(&["--nats", SECRET]).as_deref(), Some("--nats"));
        const NATS_SECRET: &str = "nats://user:one@host";
        assert_eq!(found(&["--nats", NATS_SECRET]), None);
        assert_eq!(found(&["--uri", NATS_SECRET]).as_deref(), Some("--uri"));
    }
}
