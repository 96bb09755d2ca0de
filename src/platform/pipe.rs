//! Writes to a stdout pipe that fail instead of waiting. Only Linux has them.
//!
//! The pipe's own flag (`O_NONBLOCK`) would have the same effect, but every process that has the pipe open shares it.

use std::fs::File;
use std::io;

/// Returns stdout if it is a pipe that [`try_write_now`] may be able to write to.
#[cfg(target_os = "linux")]
pub(crate) fn stdout_pipe() -> Option<File> {
    use std::os::fd::AsFd as _;
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    let is_pipe = stdout
        .metadata()
        .is_ok_and(|metadata| super::is_pipe(&metadata));
    is_pipe.then_some(stdout)
}

/// Writes all of `bytes` to `pipe` without waiting, or nothing.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the pipe is too full or `bytes` are more than it accepts as one write;
/// [`io::ErrorKind::Unsupported`] for named pipes and on older kernels (`pwritev2(2)`; measured on Linux 6.18).
#[cfg(target_os = "linux")]
pub(crate) fn try_write_now(pipe: &File, bytes: &[u8]) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    use rustix::pipe::PIPE_BUF;
    /// The offset at which a plain `write` would write.
    const CURRENT_OFFSET: u64 = u64::MAX;
    // A pipe accepts up to this many bytes as a whole or not at all, see `pipe(7)`.
    if bytes.len() > PIPE_BUF {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    pwritev2(
        pipe,
        &[io::IoSlice::new(bytes)],
        CURRENT_OFFSET,
        ReadWriteFlags::NOWAIT,
    )?;
    Ok(())
}

/// Returns `None`: no pipe can be written to without waiting here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stdout_pipe() -> Option<File> {
    None
}

/// Writes nothing.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn try_write_now(_: &File, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (File::from(reader), File::from(writer))
    }

    fn error_kind(result: io::Result<()>) -> io::ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn writes_lines_whole_or_not_at_all() {
        let (mut reader, writer) = pipe();
        let line = [b'x'; 1000];
        let mut accepted = 0;
        let refused = loop {
            match try_write_now(&writer, &line) {
                Ok(()) => accepted += 1,
                refused => break refused,
            }
        };
        assert_eq!(error_kind(refused), io::ErrorKind::WouldBlock);
        assert!(accepted > 10);
        let mut read = vec![0; 8 * 1024];
        reader.read_exact(&mut read).unwrap();
        try_write_now(&writer, &line).unwrap();
        drop(writer);
        let rest = reader.read_to_end(&mut read).unwrap();
        assert_eq!(8 * 1024 + rest, (accepted + 1) * line.len());
    }

    #[test]
    fn refuses_more_than_a_pipe_accepts_as_one_write() {
        let (_reader, writer) = pipe();
        let refused = try_write_now(&writer, &[b'x'; 4097]);
        assert_eq!(error_kind(refused), io::ErrorKind::WouldBlock);
        try_write_now(&writer, &[b'x'; 4096]).unwrap();
    }

    #[test]
    fn fails_without_a_reader() {
        let (reader, writer) = pipe();
        drop(reader);
        let failed = try_write_now(&writer, b"line");
        assert_eq!(error_kind(failed), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn writes_to_another_file_whole_or_not_at_all() {
        let mut file = tempfile::tempfile().unwrap();
        // Some file systems support it.
        let is_written = try_write_now(&file, b"line").is_ok();
        let mut content = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, if is_written { "line" } else { "" });
    }
}
