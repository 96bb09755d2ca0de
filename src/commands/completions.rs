//! `cswatch completions SHELL`.

use std::io;

use crate::cli;

/// Writes the completion script of `shell`.
pub fn write(shell: clap_complete::Shell, out: &mut impl io::Write) {
    clap_complete::generate(shell, &mut cli::command(), "cswatch", out);
}
