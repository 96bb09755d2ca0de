//! A regular file that holds each event exactly once: its lines beyond the saved position are the newest position, and a file that
//! something else changed is refused.

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
    /// Bytes of whole lines. Counted, not asked: another writer must be noticed, not adopted.
    length: u64,
    /// Whether a sync failed. Linux tells of lost pages once, and the next sync succeeds without them
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    is_unsynced: bool,
}

/// What a start would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A file that it can go on with.
    File,
    /// None yet, and a folder to make it in.
    Nothing,
    /// A file that another process writes to.
    InUse,
}

/// Bytes before the saved length that are compared on restart.
const TAIL_BYTES: u64 = 4096;

impl OutputFile {
    /// Opens `path` for appending and puts it into the state that `saved` describes.
    ///
    /// Lines beyond the saved length were written after the last save: the token of the last whole one is the newest position and
    /// is returned. A torn last line is cut.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be opened or is no regular file; exit code 5 when it is not the file the position was saved with,
    /// which is left as it is then.
    pub(crate) fn open(
        path: &Path,
        saved: Option<&OutputMark>,
    ) -> Result<(Self, Option<ResumeToken>), Failure> {
        let Some(saved) = saved else {
            let output = Self::open_unchecked(path, true)?;
            output.ensure_whole_lines()?;
            return Ok((output, None));
        };
        ensure_there(path, Some(saved))?;
        let mut output = Self::open_unchecked(path, false)?;
        let (beyond, newest) = output.compared(saved)?;
        output
            .cut_at(beyond.end)
            .map_err(|error| output.cannot("cannot be cut behind its last whole line", &error))?;
        Ok((output, newest))
    }

    /// As [`OutputFile::open`], but changes and makes nothing.
    ///
    /// # Errors
    /// As [`OutputFile::open`].
    pub(crate) fn look(path: &Path, saved: Option<&OutputMark>) -> Result<Found, Failure> {
        if saved.is_none() && matches!(path.try_exists(), Ok(false)) {
            let folder = files::folder(path);
            return match folder.is_dir() {
                true => Ok(Found::Nothing),
                false => Err(cannot_be_opened(
                    path,
                    &format!("there is no folder {}", folder.display()),
                )
                .hint("make it, or name a file elsewhere")),
            };
        }
        ensure_there(path, saved)?;
        let Some(output) = Self::open_unless_used(path, false)? else {
            return Ok(Found::InUse);
        };
        match saved {
            Some(saved) => drop(output.compared(saved)?),
            None => output.ensure_whole_lines()?,
        }
        Ok(Found::File)
    }

    /// Reopens the file by its name, as after a rotation.
    ///
    /// # Errors
    /// Exit code 6 when that cannot be done.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        // A file that was not rotated away would be in the way of its own successor.
        let _ = platform::let_go(&self.file);
        let reopened = Self::open_unchecked(&self.path, true)?;
        reopened.ensure_whole_lines()?;
        *self = reopened;
        Ok(())
    }

    /// The name that was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts `bytes` of whole lines as written.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// Makes the lines survive a power loss, and describes the file for a position that is saved now.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be synced or read, 5 when something else wrote to it or cut it.
    pub(crate) fn sync_and_mark(&mut self) -> Result<OutputMark, Failure> {
        if self.is_unsynced {
            return Err(self.cannot_be_written(&io::Error::other("it could not be synced before")));
        }
        let synced = self.file.sync_data();
        self.is_unsynced = synced.is_err();
        synced.map_err(|error| self.cannot_be_written(&error))?;
        let cannot_be_read = |error| self.cannot("cannot be read", &error);
        let metadata = self.file.metadata().map_err(cannot_be_read)?;
        if metadata.len() != self.length {
            return Err(not_the_one(
                &self.path,
                "was cut or written to by something else (to rotate it: rename it, and send SIGHUP)",
            ));
        }
        let FileId { device, inode } = platform::file_id(&self.file).map_err(cannot_be_read)?;
        Ok(OutputMark {
            device,
            inode,
            length: self.length,
            tail: self.tail_checksum(self.length).map_err(cannot_be_read)?,
        })
    }

    /// The failure of a write, after the torn line it left was cut as far as possible: the next start cuts it too, now it frees what
    /// the disk may be short of.
    pub(crate) fn cannot_be_written(&self, error: &io::Error) -> Failure {
        let _ = self.file.set_len(self.length);
        self.cannot("cannot be written", error)
            .hint("make room there and start again: nothing is lost")
    }

    fn open_unchecked(path: &Path, create: bool) -> Result<Self, Failure> {
        Self::open_unless_used(path, create)?.ok_or_else(|| {
            cannot_be_opened(path, "another cswatch writes to it")
                .hint("give each one a file of its own")
        })
    }

    /// Nothing when another process writes to it.
    fn open_unless_used(path: &Path, create: bool) -> Result<Option<Self>, Failure> {
        // Looked at before it is opened: opening a pipe that nobody reads would wait for ever.
        if let Ok(metadata) = path.metadata()
            && !metadata.is_file()
        {
            let what = if metadata.is_dir() {
                "is a folder"
            } else if platform::is_pipe(&metadata) {
                "is a pipe, where no event can be written exactly once"
            } else {
                "is a device, where no event can be written exactly once"
            };
            return Err(cannot_be_opened(path, what)
                .hint("name a regular file, or leave --output out and use stdout"));
        }
        let cannot = |error: io::Error| cannot_be_opened(path, &error.to_string());
        let file = match platform::open_to_append(path, create) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let length = file.metadata().map_err(cannot)?.len();
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            length,
            is_unsynced: false,
        }))
    }

    /// What stands beyond the saved length of a file that is the one of `saved`, and the newest position in it.
    fn compared(&self, saved: &OutputMark) -> Result<(Beyond, Option<ResumeToken>), Failure> {
        self.ensure_same(saved)?;
        let beyond = self
            .read_beyond(saved.length)
            .map_err(|error| self.cannot("cannot be read", &error))?;
        let newest = self.newest(&beyond)?;
        Ok((beyond, newest))
    }

    /// Refuses to append to a line that somebody else left unfinished.
    fn ensure_whole_lines(&self) -> Result<(), Failure> {
        let mut last = [b'\n'];
        if self.length > 0 {
            platform::read_at(&self.file, self.length - 1, &mut last)
                .map_err(|error| self.cannot("cannot be read", &error))?;
        }
        if last == *b"\n" {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Output,
            format!("--output {}: its last line has no end", self.path.display()),
        )
        .hint("it was written by something else; name another file, or end that line"))
    }

    fn ensure_same(&self, saved: &OutputMark) -> Result<(), Failure> {
        let cannot_be_read = |error| self.cannot("cannot be read", &error);
        let of_position = FileId {
            device: saved.device,
            inode: saved.inode,
        };
        let why = if platform::file_id(&self.file).map_err(cannot_be_read)? != of_position {
            "is not the file that the position was saved with"
        } else if self.length < saved.length {
            "is shorter than when the position was saved"
        } else if self.tail_checksum(saved.length).map_err(cannot_be_read)? != saved.tail {
            "was edited since the position was saved"
        } else {
            return Ok(());
        };
        Err(not_the_one(&self.path, why))
    }

    /// Reads the lines beyond the saved length.
    fn read_beyond(&self, saved_length: u64) -> io::Result<Beyond> {
        let mut beyond = Beyond {
            end: saved_length,
            last_line: Vec::new(),
            torn: Vec::new(),
        };
        let mut reader = io::BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(saved_length))?;
        loop {
            let mut line = Vec::new();
            io::BufRead::read_until(&mut reader, b'\n', &mut line)?;
            // No line of JSON holds a zero byte, but a power loss may leave some where data never reached the disk.
            if line.last() != Some(&b'\n') || line.contains(&0) {
                beyond.torn = line;
                return Ok(beyond);
            }
            beyond.end += line.len() as u64;
            beyond.last_line = line;
        }
    }

    /// The token of the last line beyond the saved length, if there is one.
    fn newest(&self, beyond: &Beyond) -> Result<Option<ResumeToken>, Failure> {
        let foreign = |why: &str| {
            not_the_one(
                &self.path,
                &format!("was written to by something else: {why}"),
            )
        };
        if !matches!(beyond.torn.first(), None | Some(b'{' | 0)) {
            return Err(foreign("what follows the last whole line is no event"));
        }
        if beyond.last_line.is_empty() {
            return Ok(None);
        }
        token_of_line(&beyond.last_line)
            .map(Some)
            .map_err(|why| foreign(&format!("its last line is no event of cswatch: {why}")))
    }

    fn cut_at(&mut self, end: u64) -> io::Result<()> {
        if end < self.length {
            self.file.set_len(end)?;
            self.file.sync_data()?;
            self.length = end;
        }
        // Where the next line goes, after what was read.
        self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    fn tail_checksum(&self, length: u64) -> io::Result<String> {
        let from = length.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; (length - from) as usize];
        platform::read_at(&self.file, from, &mut tail)?;
        Ok(const_hex::encode(Sha256::digest(&tail)))
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Failure {
        Failure::new(
            Kind::Output,
            format!("--output {}: {what}: {error}", self.path.display()),
        )
    }
}

fn cannot_be_opened(path: &Path, why: &str) -> Failure {
    Failure::new(Kind::Output, format!("--output {}: {why}", path.display()))
}

/// Refuses the name of a file that is gone since its position was saved.
fn ensure_there(path: &Path, saved: Option<&OutputMark>) -> Result<(), Failure> {
    match (saved, path.try_exists()) {
        (Some(_), Ok(false)) => Err(not_the_one(
            path,
            "is not there, though the position was saved together with a file",
        )),
        _ => Ok(()),
    }
}

/// The failure of a file that is not as the position says.
fn not_the_one(path: &Path, why: &str) -> Failure {
    Failure::new(Kind::ResumeFile, format!("--output {} {why}", path.display())).hint(
        "put that file back, or name another --output together with another --resume-file and --start-after TOKEN (the _id of the last line you have)",
    )
}

/// What an output file holds beyond the length that was saved.
struct Beyond {
    /// Where the last whole line ends.
    end: u64,
    /// The last whole line; empty when there is none.
    last_line: Vec<u8>,
    /// What follows it, as far as the next line end.
    torn: Vec<u8>,
}

/// The resume token that a line carries as its `_id`.
fn token_of_line(line: &[u8]) -> Result<ResumeToken, String> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(rename = "_id")]
        id: serde_json::Value,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    ResumeToken::parse(&line.id.to_string()).map_err(|error| error.to_string())
}
