//! Standard output as the destination of events. Where it is a regular file, as with `>> FILE`, no line is left torn: a later run appends
//! to it, and half a line would make the next one invalid too.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

use crate::platform;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    stream: platform::Stdout,
    /// The same open file, if it is a regular one.
    file: Option<File>,
    /// Whether the file ends in the middle of a line that an earlier process left.
    is_torn: bool,
}

impl Stdout {
    /// Opens the standard output of this process.
    ///
    /// # Errors
    /// When it is closed.
    pub(super) fn open() -> io::Result<Self> {
        let stream = platform::stdout()?;
        let file = platform::stdout_file().ok().filter(is_regular);
        Ok(Self {
            is_torn: file.as_ref().is_some_and(ends_in_a_line),
            stream,
            file,
        })
    }

    /// Ends the line that an earlier process left torn, if there is one, so that the next one is whole.
    ///
    /// # Errors
    /// The error of the write.
    pub(super) fn end_torn_line(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.stream.write_all(b"\n")?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Writes some of `bytes`, and returns how many.
    ///
    /// # Errors
    /// The error of the write.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// Waits until it accepts more bytes.
    ///
    /// # Errors
    /// When that cannot be waited for.
    pub(super) fn wait_writable(&self) -> io::Result<()> {
        platform::wait_writable(&self.stream)
    }

    /// Cuts the last `torn` bytes, which this process has just written, from a regular file. Bytes that another process has written after
    /// them stay, and so do these.
    pub(super) fn cut(&self, torn: usize) {
        let torn = torn as u64;
        let Some(mut file) = self.file.as_ref() else {
            return;
        };
        // Also in append mode the offset is where the last write of this process ended.
        let (Ok(end), Ok(metadata)) = (file.stream_position(), file.metadata()) else {
            return;
        };
        if torn == 0 || metadata.len() != end || end < torn {
            return;
        }
        if file.set_len(end - torn).is_ok() {
            // Without append mode a later process that shares the offset would leave a hole.
            let _ = file.seek(SeekFrom::Start(end - torn));
        }
    }
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Returns whether the next write to `file` comes after something else than a newline. False where that cannot be read.
fn ends_in_a_line(mut file: &File) -> bool {
    let is_append = platform::is_append(file);
    let end = match is_append {
        true => file.metadata().map(|metadata| metadata.len()),
        false => file.stream_position(),
    };
    let Some(last) = end.ok().and_then(|end| end.checked_sub(1)) else {
        return false;
    };
    let mut byte = [b'\n'];
    // A file that a shell opened for `>>` can only be written to.
    let is_read =
        platform::reopen_to_read(file).and_then(|file| platform::read_at(&file, last, &mut byte));
    is_read.is_ok() && byte != *b"\n"
}
