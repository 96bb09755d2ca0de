//! `cswatch man`.

use std::io;

use clap::CommandFactory as _;

use crate::cli::Cli;

/// Writes the manual page, in roff.
///
/// # Errors
/// What `out` fails with.
pub fn write(out: &mut impl io::Write) -> io::Result<()> {
    clap_mangen::Man::new(Cli::command()).render(out)
}
