//! A regular file that holds each event exactly once: its lines beyond the saved position are the newest position, and a file that
//! something else changed is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Failure, Kind};
use crate::resume_file::OutputMark;
use crate::token::ResumeToken;

/// A regular file that events are appended to, each exactly once.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    pub(super) file: File,
    /// Bytes of whole lines. Counted, not asked: another writer must be noticed, not adopted.
    length: u64,
    /// Whether a sync failed. Linux tells of lost pages once, and the next sync succeeds without them
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    is_unsynced: bool,
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
    pub fn open(
        path: &Path,
        saved: Option<&OutputMark>,
    ) -> Result<(Self, Option<ResumeToken>), Failure> {
        let Some(saved) = saved else {
            let output = Self::open_unchecked(path, true)?;
            output.ensure_whole_lines()?;
            return Ok((output, None));
        };
        if matches!(path.try_exists(), Ok(false)) {
            return Err(not_the_one(
                path,
                "is not there, though the position was saved together with a file",
            ));
        }
        let mut output = Self::open_unchecked(path, false)?;
        output.ensure_same(saved)?;
        let beyond = output
            .read_beyond(saved.length)
            .map_err(|error| output.cannot("cannot be read", &error))?;
        let newest = output.newest(&beyond)?;
        output
            .cut_at(beyond.end)
            .map_err(|error| output.cannot("cannot be cut behind its last whole line", &error))?;
        Ok((output, newest))
    }

    /// Reopens the file by its name, as after a rotation.
    ///
    /// # Errors
    /// Exit code 6 when that cannot be done.
    pub fn reopen(&mut self) -> Result<(), Failure> {
        // The lock of a file that was not rotated away would be in the way of its own successor.
        let _ = self.file.unlock();
        let reopened = Self::open_unchecked(&self.path, true)?;
        reopened.ensure_whole_lines()?;
        *self = reopened;
        Ok(())
    }

    /// The name that was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts `bytes` of whole lines as written.
    pub fn count(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// Makes the lines survive a power loss, and describes the file for a position that is saved now.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be synced or read, 5 when something else wrote to it or cut it.
    pub fn sync_and_mark(&mut self) -> Result<OutputMark, Failure> {
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
        Ok(OutputMark {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: self.length,
            tail: self.tail_checksum(self.length).map_err(cannot_be_read)?,
        })
    }

    /// The failure of a write, after the torn line it left was cut as far as possible: the next start cuts it too, now it frees what
    /// the disk may be short of.
    pub fn cannot_be_written(&self, error: &io::Error) -> Failure {
        let _ = self.file.set_len(self.length);
        self.cannot("cannot be written", error)
            .way_out("make room there and start again: nothing is lost")
    }

    fn open_unchecked(path: &Path, create: bool) -> Result<Self, Failure> {
        let cannot =
            |what: &str| Failure::new(Kind::Output, format!("--output {}: {what}", path.display()));
        // Looked at before it is opened: opening a pipe that nobody reads would wait for ever.
        if let Ok(metadata) = path.metadata()
            && !metadata.is_file()
        {
            let file_type = metadata.file_type();
            let what = if file_type.is_dir() {
                "is a folder"
            } else if file_type.is_fifo() {
                "is a pipe, where no event can be written exactly once"
            } else {
                "is a device, where no event can be written exactly once"
            };
            return Err(
                cannot(what).way_out("name a regular file, or leave --output out and use stdout")
            );
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(create)
            .open(path)
            .map_err(|error| cannot(&error.to_string()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(cannot("another cswatch writes to it")
                    .way_out("give each one a file of its own"));
            }
            // Without locks (some network file systems) the position file's lock is what there is.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let length = file
            .metadata()
            .map_err(|error| cannot(&error.to_string()))?
            .len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            is_unsynced: false,
        })
    }

    /// Refuses to append to a line that somebody else left unfinished.
    fn ensure_whole_lines(&self) -> Result<(), Failure> {
        let mut last = [b'\n'];
        if self.length > 0 {
            read_at(&self.file, self.length - 1, &mut last)
                .map_err(|error| self.cannot("cannot be read", &error))?;
        }
        if last == *b"\n" {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Output,
            format!("--output {}: its last line has no end", self.path.display()),
        )
        .way_out("it was written by something else; name another file, or end that line"))
    }

    fn ensure_same(&self, saved: &OutputMark) -> Result<(), Failure> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| self.cannot("cannot be read", &error))?;
        let why = if (metadata.dev(), metadata.ino()) != (saved.device, saved.inode) {
            "is not the file that the position was saved with"
        } else if metadata.len() < saved.length {
            "is shorter than when the position was saved"
        } else if self
            .tail_checksum(saved.length)
            .map_err(|error| self.cannot("cannot be read", &error))?
            != saved.tail
        {
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
        Ok(())
    }

    fn tail_checksum(&self, length: u64) -> io::Result<String> {
        let from = length.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; (length - from) as usize];
        read_at(&self.file, from, &mut tail)?;
        Ok(const_hex::encode(Sha256::digest(&tail)))
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Failure {
        Failure::new(
            Kind::Output,
            format!("--output {}: {what}: {error}", self.path.display()),
        )
    }
}

/// The failure of a file that is not as the position says.
fn not_the_one(path: &Path, why: &str) -> Failure {
    Failure::new(Kind::PositionFile, format!("--output {} {why}", path.display())).way_out(
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

fn read_at(file: &File, from: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, from)
}
