//! `cswatch completions SHELL`: shell completion scripts.

use std::io;

/// Writes the script that completes `command` in `shell`.
pub(crate) fn write(
    shell: clap_complete::Shell,
    mut command: clap::Command,
    out: &mut impl io::Write,
) {
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, out);
}
