//! A regular file that holds each event exactly once. Its lines after the saved length move the checkpoint forward on restart, and a file
//! that another program changed is refused.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::checkpoint::OutputMark;
use crate::error::{Failure, Kind};
use crate::files;
use crate::platform::{self, FileId};
use crate::token::ResumeToken;

/// A regular file that events are appended to, each exactly once.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    pub(super) file: File,
    /// Bytes of whole lines. Counted instead of read from the file's metadata: lines of another writer must be noticed, not adopted.
    length: u64,
    /// Whether a sync failed. Linux reports lost pages once, and the next sync succeeds without them
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    is_sync_lost: bool,
}

/// State of an output file before a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file can be appended to.
    Usable,
    /// There is no file yet, but a directory to create it in.
    Missing,
    /// Another process writes to the file.
    InUse,
}

/// Bytes before the saved length that are compared on restart.
const TAIL_BYTES: u64 = 4096;

impl OutputFile {
    /// Opens `path` for appending and brings it into the state that `saved` describes.
    ///
    /// Lines after the saved length were written after the last save: the token of the last whole one is the newest checkpoint, and is
    /// returned. A torn last line is cut.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be opened or is not a regular file; exit code 5 when it is not the file that the checkpoint was saved
    /// with, which is then left untouched.
    pub(crate) fn open(
        path: &Path,
        saved: Option<&OutputMark>,
    ) -> Result<(Self, Option<ResumeToken>), Failure> {
        let Some(saved) = saved else {
            let output = Self::open_unchecked(path, true)?;
            output.ensure_whole_lines()?;
            return Ok((output, None));
        };
        ensure_exists(path, Some(saved))?;
        let mut output = Self::open_unchecked(path, false)?;
        let (appended, newest_token) = output.compare(saved)?;
        output
            .cut_at(appended.end)
            .map_err(|error| cannot("cut the torn last line of", path, &error))?;
        Ok((output, newest_token))
    }

    /// Returns what [`OutputFile::open`] would find, without creating or changing anything.
    ///
    /// # Errors
    /// As [`OutputFile::open`].
    pub(crate) fn inspect(path: &Path, saved: Option<&OutputMark>) -> Result<Found, Failure> {
        if saved.is_none() && matches!(path.try_exists(), Ok(false)) {
            ensure_directory(path)?;
            return Ok(Found::Missing);
        }
        ensure_exists(path, saved)?;
        let Some(output) = Self::open_unless_in_use(path, false)? else {
            return Ok(Found::InUse);
        };
        match saved {
            Some(saved) => drop(output.compare(saved)?),
            None => output.ensure_whole_lines()?,
        }
        Ok(Found::Usable)
    }

    /// Reopens the file by its name, as after a rotation.
    ///
    /// # Errors
    /// Exit code 6 when that cannot be done.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        // If the file was not rotated away, its own lock would prevent opening it again.
        let _ = platform::release(&self.file);
        let reopened = Self::open_unchecked(&self.path, true)?;
        reopened.ensure_whole_lines()?;
        *self = reopened;
        Ok(())
    }

    /// Returns the path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records that whole lines of this many bytes were written.
    pub(crate) fn record_written(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// Syncs the lines, so that they survive a power loss, and returns the state to save with a checkpoint.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be synced or read, 5 when another program truncated it or wrote to it.
    pub(crate) fn sync_and_mark(&mut self) -> Result<OutputMark, Failure> {
        if self.is_sync_lost {
            return Err(self.fail_write(&io::Error::other("an earlier sync failed")));
        }
        let synced = self.file.sync_data();
        self.is_sync_lost = synced.is_err();
        synced.map_err(|error| self.fail_write(&error))?;
        let cannot_read = |error| self.cannot_read(&error);
        let metadata = self.file.metadata().map_err(cannot_read)?;
        if metadata.len() != self.length {
            return Err(mismatch(
                &self.path,
                "was truncated or written to by another program (to rotate it, rename it and send SIGHUP)",
            ));
        }
        let FileId { device, inode } = platform::file_id(&self.file).map_err(cannot_read)?;
        Ok(OutputMark {
            device,
            inode,
            length: self.length,
            tail: self.tail_checksum(self.length).map_err(cannot_read)?,
        })
    }

    /// Cuts the torn line that a failed write left, as far as that is possible, and returns the failure. The next start would cut the
    /// line too; cutting it now frees space that the disk may lack.
    pub(crate) fn fail_write(&self, error: &io::Error) -> Failure {
        let _ = self.file.set_len(self.length);
        cannot("write", &self.path, error)
            .hint("free space on that disk and start cswatch again: no event is lost")
    }

    fn open_unchecked(path: &Path, create: bool) -> Result<Self, Failure> {
        Self::open_unless_in_use(path, create)?.ok_or_else(|| {
            unusable(path, "is in use by another cswatch")
                .hint("give each cswatch its own output file")
        })
    }

    /// Returns `None` if another process writes to the file.
    fn open_unless_in_use(path: &Path, create: bool) -> Result<Option<Self>, Failure> {
        // Checked before the file is opened: opening a pipe without a reader would block.
        if let Ok(metadata) = path.metadata()
            && !metadata.is_file()
        {
            let why = if metadata.is_dir() {
                "is a directory"
            } else if platform::is_pipe(&metadata) {
                "is a pipe, which cannot hold each event exactly once"
            } else {
                "is a device, which cannot hold each event exactly once"
            };
            return Err(
                unusable(path, why).hint("name a regular file, or omit --output to use stdout")
            );
        }
        let cannot_open = |error: io::Error| cannot("open", path, &error);
        let file = match platform::open_to_append(path, create) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    ensure_directory(path)?;
                }
                return Err(cannot_open(error));
            }
        };
        let length = file.metadata().map_err(cannot_open)?.len();
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            length,
            is_sync_lost: false,
        }))
    }

    /// Checks that this is the file of `saved`, and returns what was appended to it since, with the newest token in it.
    fn compare(&self, saved: &OutputMark) -> Result<(Appended, Option<ResumeToken>), Failure> {
        self.ensure_same(saved)?;
        let appended = self
            .read_appended(saved.length)
            .map_err(|error| self.cannot_read(&error))?;
        let newest_token = self.newest_token(&appended)?;
        Ok((appended, newest_token))
    }

    /// Fails if the last line is unfinished: another program wrote it.
    fn ensure_whole_lines(&self) -> Result<(), Failure> {
        let mut last = [b'\n'];
        if self.length > 0 {
            platform::read_at(&self.file, self.length - 1, &mut last)
                .map_err(|error| self.cannot_read(&error))?;
        }
        if last == *b"\n" {
            return Ok(());
        }
        Err(unusable(&self.path, "does not end with a newline")
            .hint("another program wrote to it: name another file, or add the newline"))
    }

    fn ensure_same(&self, saved: &OutputMark) -> Result<(), Failure> {
        let cannot_read = |error| self.cannot_read(&error);
        let saved_id = FileId {
            device: saved.device,
            inode: saved.inode,
        };
        let why = if platform::file_id(&self.file).map_err(cannot_read)? != saved_id {
            "is not the file that the checkpoint was saved with"
        } else if self.length < saved.length {
            "is shorter than when the checkpoint was saved"
        } else if self.tail_checksum(saved.length).map_err(cannot_read)? != saved.tail {
            "was edited after the checkpoint was saved"
        } else {
            return Ok(());
        };
        Err(mismatch(&self.path, why))
    }

    /// Reads the lines after the saved length.
    fn read_appended(&self, saved_length: u64) -> io::Result<Appended> {
        let mut appended = Appended {
            end: saved_length,
            last_line: Vec::new(),
            torn: Vec::new(),
        };
        let mut reader = io::BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(saved_length))?;
        loop {
            let mut line = Vec::new();
            io::BufRead::read_until(&mut reader, b'\n', &mut line)?;
            // A line of JSON holds no zero byte, but a power loss may leave some where data never reached the disk.
            if line.last() != Some(&b'\n') || line.contains(&0) {
                appended.torn = line;
                return Ok(appended);
            }
            appended.end += line.len() as u64;
            appended.last_line = line;
        }
    }

    /// Returns the token of the last appended line, if there is one.
    fn newest_token(&self, appended: &Appended) -> Result<Option<ResumeToken>, Failure> {
        let foreign = |why: &str| {
            mismatch(
                &self.path,
                &format!("was written to by another program: {why}"),
            )
        };
        if !matches!(appended.torn.first(), None | Some(b'{' | 0)) {
            return Err(foreign(
                "the bytes after its last whole line are not an event",
            ));
        }
        if appended.last_line.is_empty() {
            return Ok(None);
        }
        token_of_line(&appended.last_line)
            .map(Some)
            .map_err(|why| foreign(&format!("its last line is not an event of cswatch: {why}")))
    }

    fn cut_at(&mut self, end: u64) -> io::Result<()> {
        if end < self.length {
            self.file.set_len(end)?;
            self.file.sync_data()?;
            self.length = end;
        }
        // Reading has moved the offset; the next line goes to the end.
        self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    fn tail_checksum(&self, length: u64) -> io::Result<String> {
        let from = length.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; (length - from) as usize];
        platform::read_at(&self.file, from, &mut tail)?;
        Ok(const_hex::encode(Sha256::digest(&tail)))
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        cannot("read", &self.path, error)
    }
}

/// Fails if `path` does not exist although a checkpoint was saved with an output file.
fn ensure_exists(path: &Path, saved: Option<&OutputMark>) -> Result<(), Failure> {
    match (saved, path.try_exists()) {
        (Some(_), Ok(false)) => Err(mismatch(
            path,
            "does not exist, although the checkpoint was saved with an output file",
        )),
        _ => Ok(()),
    }
}

/// Fails if the directory of the file at `path` does not exist.
fn ensure_directory(path: &Path) -> Result<(), Failure> {
    let directory = files::parent_dir(path);
    if directory.is_dir() {
        return Ok(());
    }
    let why = format!("directory {} does not exist", directory.display());
    Err(cannot("open", path, &why).hint("create that directory, or name a file elsewhere"))
}

/// Returns the failure of an operation on the file.
fn cannot(operation: &str, path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Kind::Output,
        format!("cannot {operation} output file {}: {why}", path.display()),
    )
}

/// Returns the failure of a file that no watch can write to.
fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::Output,
        format!("output file {} {why}", path.display()),
    )
}

/// Returns the failure of a file that does not match the checkpoint.
fn mismatch(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("output file {} {why}", path.display()),
    )
    .hint(
        "restore that file, or give another --output, another --resume-file and --start-after TOKEN (the _id of the last line you have)",
    )
}

/// The part of an output file after the saved length.
struct Appended {
    /// The end of the last whole line.
    end: u64,
    /// The last whole line; empty if there is none.
    last_line: Vec<u8>,
    /// The bytes that follow it, up to the next newline.
    torn: Vec<u8>,
}

/// Returns the resume token that a line carries as its `_id`.
fn token_of_line(line: &[u8]) -> Result<ResumeToken, String> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(rename = "_id")]
        id: serde_json::Value,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    ResumeToken::parse(&line.id.to_string()).map_err(|error| error.to_string())
}
