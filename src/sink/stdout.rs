//! Standard output as the destination of events. Where it is a regular file, as with `>> FILE`, no line is left torn: a later run appends
//! to it, and half a line would make the next one invalid too.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use crate::error::{Failure, Kind};
use crate::platform;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    stream: platform::Stdout,
    /// The same open file, if it is a regular one.
    file: Option<Arc<StdoutFile>>,
    /// Whether the file ends in the middle of a line that an earlier process left.
    is_torn: bool,
}

/// A regular file that is standard output.
#[derive(Debug)]
pub(super) struct StdoutFile {
    file: File,
    /// Whether the file had a name when this process started. One that never had a name needs none.
    is_linked: bool,
}

impl Stdout {
    /// Opens the standard output of this process.
    ///
    /// # Errors
    /// When it is closed.
    pub(super) fn open() -> io::Result<Self> {
        let stream = platform::stdout()?;
        let file = platform::stdout_file().ok().and_then(StdoutFile::new);
        Ok(Self {
            is_torn: file.as_ref().is_some_and(StdoutFile::ends_in_a_line),
            stream,
            file: file.map(Arc::new),
        })
    }

    /// Returns the file that it is, if it is a regular one.
    pub(super) fn file(&self) -> Option<&Arc<StdoutFile>> {
        self.file.as_ref()
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

    /// Cuts the last `torn` bytes, which this process has just written, from a regular file.
    pub(super) fn cut(&self, torn: usize) {
        if let Some(file) = &self.file
            && torn > 0
        {
            // Without that, the next run ends the torn line.
            let _ = file.cut(torn as u64);
        }
    }
}

impl StdoutFile {
    /// Returns `None` if `file` is not a regular file.
    fn new(file: File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| Self {
            file,
            is_linked: platform::is_linked(&metadata),
        })
    }

    /// Checks that the file was not deleted: lines in it would be lost, and must not count as printed.
    ///
    /// # Errors
    /// Exit code 6 when it was.
    pub(super) fn ensure_linked(&self) -> Result<(), Failure> {
        let is_deleted = self
            .file
            .metadata()
            .is_ok_and(|metadata| self.is_linked && !platform::is_linked(&metadata));
        match is_deleted {
            true => Err(Failure::new(
                Kind::Output,
                "the file that stdout goes to was deleted or replaced while cswatch wrote to it",
            )
            .hint("start cswatch again: it prints the events after the last save again")),
            false => Ok(()),
        }
    }

    /// Returns whether the next write comes after something else than a newline. False where that cannot be read.
    fn ends_in_a_line(&self) -> bool {
        let mut file = &self.file;
        let end = match platform::is_append(file) {
            true => file.metadata().map(|metadata| metadata.len()),
            false => file.stream_position(),
        };
        let Some(last) = end.ok().and_then(|end| end.checked_sub(1)) else {
            return false;
        };
        let mut byte = [b'\n'];
        // A file that a shell opened for `>>` can only be written to.
        let is_read = platform::reopen_to_read(file)
            .and_then(|file| platform::read_at(&file, last, &mut byte));
        is_read.is_ok() && byte != *b"\n"
    }

    /// Cuts the last `torn` bytes. They stay if another process has written after them.
    fn cut(&self, torn: u64) -> io::Result<()> {
        let mut file = &self.file;
        // Also in append mode the offset is where the last write of this process ended.
        let end = file.stream_position()?;
        if file.metadata()?.len() != end || end < torn {
            return Ok(());
        }
        file.set_len(end - torn)?;
        // Without append mode a later process that shares the offset would leave a hole.
        file.seek(SeekFrom::Start(end - torn)).map(drop)
    }
}
