//! The command line. The doc comment of a field is its help text: the first line for `-h`, all of it for `--help`.
//! Holds the arguments as typed; `config` validates them.

mod command;
mod distinct_files;
mod escaped;
mod habits;
mod help;
mod misplaced;
mod options;
mod resolve;
mod usage_error;

use clap::builder::PossibleValuesParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueHint};

use crate::commands::man;
use crate::config::{LogConfig, OperationType};
use crate::error::Failure;

pub(crate) use self::command::{Command, HealthArgs, TokenArgs};
pub(crate) use self::options::WatchArgs;
pub(crate) use self::resolve::{health, log, token, watch};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Watch MongoDB change streams: one line of JSON per event, nothing lost.
///
/// Opens a change stream on a collection, a database or a whole deployment, filters it on the server and prints each event
/// exactly as the server sent it, in Extended JSON. Saves the resume token of the last printed event in a resume file, so that the next run
/// resumes after it. stdout carries only events; everything else goes to stderr. Every option can also be set by an environment
/// variable: CSWATCH_ and its name in capitals, as in CSWATCH_RESUME_FILE.
#[derive(Debug, Parser)]
#[command(
    name = "cswatch",
    version,
    args_conflicts_with_subcommands = true,
    styles = STYLES,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// The subcommand; `None` watches.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The options of a watch.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

impl Cli {
    /// Parses the command line. Prints the help and exits with 0 if it asks for that.
    ///
    /// # Errors
    /// Exit code 2 when it is invalid.
    pub(crate) fn from_command_line() -> Result<Self, Failure> {
        misplaced::ensure_none_in_arguments()?;
        let refused = |error: clap::Error| match error.use_stderr() {
            true => usage_error::failure(error),
            false => error.exit(),
        };
        let matches = command().try_get_matches().map_err(refused)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(refused)?;
        cli.watch.record_typed(&matches);
        if let (Some(Command::Check(check)), Some((_, matches))) =
            (&mut cli.command, matches.subcommand())
        {
            check.watch.record_typed(matches);
        }
        Ok(cli)
    }
}

/// Returns the settings of the messages about a command line that is invalid.
pub(crate) fn log_of_usage_error() -> LogConfig {
    LogConfig {
        quiet: false,
        verbose: 0,
        format: usage_error::log_format(),
    }
}

/// Returns clap's definition of the command line. The environment variables are hidden: the help states the one rule for their names.
pub(crate) fn command() -> clap::Command {
    let prepared = |arg: clap::Arg| {
        let arg = arg.hide_env(true);
        // Unless its type is a path, a value is not a file. Shells complete files for values of which nothing is known.
        match arg.get_value_hint() {
            ValueHint::Unknown if arg.get_action().takes_values() => {
                arg.value_hint(ValueHint::Other)
            }
            _ => arg,
        }
    };
    let mut command = help::extended(Cli::command())
        .mut_args(prepared)
        .mut_subcommands(|command| help::extended(command.mut_args(prepared)));
    // clap adds the command `help` while building.
    command.build();
    command.mut_subcommand("help", |help| help.hide(true))
}

/// Returns the command line with values that shells can offer although others are valid too.
pub(crate) fn command_for_completions() -> clap::Command {
    let op = OperationType::ALL.iter().map(|kind| kind.name);
    let op = PossibleValuesParser::new(op);
    let with_values = |command: clap::Command| {
        command
            .mut_arg("op", |arg| arg.value_parser(op.clone()))
            .mut_arg("start", |arg| arg.value_parser(["now", "earliest"]))
            .mut_arg("until", |arg| arg.value_parser(["now"]))
            .mut_arg("retry_for", |arg| arg.value_parser(["forever"]))
    };
    with_values(command()).mut_subcommand("check", with_values)
}

/// Writes a manual page: of the command with this name, or of the watch.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write_manual(
    name: Option<&str>,
    out: &mut impl std::io::Write,
) -> std::io::Result<()> {
    let mut command = command();
    let command = match name {
        Some(name) => command.find_subcommand_mut(name),
        None => Some(&mut command),
    };
    let command = command.expect("only names of commands are valid");
    let page = help::page(command.get_name());
    man::write(command, &page, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn gives_every_watch_option_an_environment_variable_named_after_it() {
        for option in command().get_arguments() {
            let name = option.get_id().as_str();
            if matches!(name, "help" | "version") {
                continue;
            }
            let long = option.get_long().expect("every option has a long name");
            let expected = format!("CSWATCH_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                option.get_env().and_then(|env| env.to_str()),
                Some(expected.as_str())
            );
        }
    }
}
