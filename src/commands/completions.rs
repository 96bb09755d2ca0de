//! `cswatch completions SHELL`.

use std::io;

use clap::CommandFactory as _;

use crate::cli::Cli;

/// Writes the completion script of `shell`.
pub fn write(shell: clap_complete::Shell, out: &mut impl io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "cswatch", out);
}
