//! `cswatch man`.

use std::io;

use crate::cli;

/// Writes the manual page, in roff.
///
/// # Errors
/// What `out` fails with.
pub fn write(out: &mut impl io::Write) -> io::Result<()> {
    clap_mangen::Man::new(cli::command()).render(out)
}
