//! `cswatch man`: the manual page.

use std::io;

/// Writes the manual page of `command` in roff.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write(command: clap::Command, out: &mut impl io::Write) -> io::Result<()> {
    clap_mangen::Man::new(command).render(out)
}
