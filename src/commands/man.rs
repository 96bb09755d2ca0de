//! `cswatch man`.

use std::io;

/// Writes the manual page of `command` in roff.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(command: clap::Command, out: &mut impl io::Write) -> io::Result<()> {
    clap_mangen::Man::new(command).render(out)
}
