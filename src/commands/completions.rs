//! `cswatch completions SHELL`: shell completion scripts.

use std::io;

use clap_complete::Shell;

/// Writes the script that completes `command` in `shell`.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write(
    shell: Shell,
    mut command: clap::Command,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    for arg in command.get_arguments() {
        if arg.get_value_delimiter() == Some(',') {
            script = completing_lists(&script, shell, arg);
        }
    }
    if shell == Shell::Fish {
        script = completing_everywhere(&script, &command);
    }
    out.write_all(script.as_bytes())
}

/// Returns a script for fish without three gaps of clap_complete 4.6: it completes no value of an option before a command, no value of
/// a positional argument, and files where a command takes none.
fn completing_everywhere(script: &str, command: &clap::Command) -> String {
    let name = command.get_name();
    // argparse fails on an option whose value is about to be completed.
    let parse = format!("argparse -s (__fish_{name}_global_optspecs) -- $cmd 2>/dev/null\n");
    let retry = format!("{parse}    or begin\n        set -e cmd[-1]\n        {parse}    end\n");
    let mut script = script.replace(&parse, &retry);
    for subcommand in command.get_subcommands() {
        let mut positionals = subcommand.get_positionals();
        let positional = positionals.next();
        let values = positional.map(clap::Arg::get_possible_values);
        let values = values.unwrap_or_default();
        if positional.is_some() && values.is_empty() {
            continue;
        }
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        let subcommand = subcommand.get_name();
        script +=
            &format!("complete -c {name} -n \"__fish_{name}_using_subcommand {subcommand}\" -f");
        if !names.is_empty() {
            script += &format!(" -a \"{}\"", names.join(" "));
        }
        script.push('\n');
    }
    script
}

/// Returns a script that also completes the values of `arg` after a comma, which clap_complete (4.6) does not.
fn completing_lists(script: &str, shell: Shell, arg: &clap::Arg) -> String {
    let values = arg.get_possible_values();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    let list = names.join(" ");
    let (one, several) = match shell {
        Shell::Bash => (
            format!(r#"compgen -W "{list}" -- "${{cur}}""#),
            format!(r#"compgen -P "${{cur%"${{cur##*,}}"}}" -W "{list}" -- "${{cur##*,}}""#),
        ),
        Shell::Fish => (
            format!("-a \"{}\\t''\"", names.join("\\t''\n")),
            format!(r#"-a "(__fish_append , {list})""#),
        ),
        Shell::Zsh => (
            format!(":({list})'"),
            format!(":_sequence compadd - {list}'"),
        ),
        _ => return script.to_owned(),
    };
    script.replace(&one, &several)
}
