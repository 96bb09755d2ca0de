//! A regular file that holds each event exactly once. Its lines after the saved length move the checkpoint forward on restart, and a file
//! that another program changed is refused. What a file is, is decided by its content: a device or an inode number changes with a mount.

mod comparison;
mod failures;
mod lines;
mod path;
mod renamed;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, OutputMark};
use crate::error::Failure;
use crate::files::{self, LockState};
use crate::platform;
use crate::snapshot::ScanPosition;
use crate::token::ResumeToken;

use self::comparison::{Comparison, SHORTER};
use self::failures::{cannot, mismatch, missing, unusable};
use self::path::{ensure_directory, ensure_regular, is_missing};
use self::renamed::Renamed;

pub(crate) use self::path::ensure_openable;

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
    /// Whether the file had a name when it was opened. Some file systems count no names.
    is_linked: bool,
}

/// State of an output file before a watch starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file can be appended to.
    Usable,
    /// There is no file yet, but a directory to create it in.
    Missing,
    /// Another process writes to the file.
    InUse,
    /// The file was renamed to this one, and a watch would continue in a new file.
    Renamed(PathBuf),
}

/// An output file that is ready for new lines.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file.
    pub(crate) file: OutputFile,
    /// The token of the last line that was written after the checkpoint was saved; `None` if there is none.
    pub(crate) newest_token: Option<ResumeToken>,
    /// The position of the last line of a snapshot among them.
    pub(crate) snapshot: Option<ScanPosition>,
}

impl OutputFile {
    /// Opens `path` for appending and brings it into the state that `saved` describes.
    ///
    /// Lines after the saved length were written after the last save: the token of the last whole one is the newest checkpoint, and is
    /// returned. A torn last line is cut. If the file was renamed since, that is done to the renamed file, and `path` is a new one.
    ///
    /// # Errors
    /// Exit code 6 when it cannot be opened, is not a regular file, or was not written by cswatch; exit code 5 when it is not the file that
    /// the checkpoint was saved with. It is then untouched.
    pub(crate) fn open(path: &Path, saved: Option<&Checkpoint>) -> Result<Opened, Failure> {
        let Some((saved, mark)) = with_mark(saved) else {
            let file = Self::open_own(path)?;
            return Ok(Opened {
                file,
                newest_token: None,
                snapshot: None,
            });
        };
        if is_new(path, mark) {
            let Some(mut renamed) = renamed::find(path, mark, &saved.token) else {
                return match path.exists() {
                    true => Err(mismatch(path, SHORTER)),
                    false => Err(missing(path, &saved.token)),
                };
            };
            // Nothing else is created or changed if this is refused.
            let file = Self::open_own(path)?;
            renamed.file.cut_at(renamed.found.end)?;
            tracing::info!(
                "output file {} was renamed to {}: it is complete, and {} is new",
                path.display(),
                renamed.file.path.display(),
                path.display()
            );
            return Ok(Opened {
                file,
                newest_token: renamed.found.newest_token,
                snapshot: renamed.found.snapshot,
            });
        }
        let mut file = Self::open_unchecked(path, false)?;
        let found = file.compare(mark, &saved.token)?;
        file.cut_at(found.end)?;
        Ok(Opened {
            file,
            newest_token: found.newest_token,
            snapshot: found.snapshot,
        })
    }

    /// Returns what [`OutputFile::open`] would find, without creating or changing anything.
    ///
    /// # Errors
    /// As [`OutputFile::open`].
    pub(crate) fn inspect(path: &Path, saved: Option<&Checkpoint>) -> Result<Found, Failure> {
        let saved = with_mark(saved);
        if let Some((saved, mark)) = saved
            && is_new(path, mark)
        {
            return match renamed::find(path, mark, &saved.token) {
                Some(Renamed { file, .. }) => Ok(Found::Renamed(file.path)),
                None if path.exists() => Err(mismatch(path, SHORTER)),
                None => Err(missing(path, &saved.token)),
            };
        }
        if is_missing(path) {
            return ensure_openable(path).map(|()| Found::Missing);
        }
        let Some(file) = Self::open_unless_in_use(path, false)? else {
            return Ok(Found::InUse);
        };
        match saved {
            Some((saved, mark)) => file.compare(mark, &saved.token).map(drop)?,
            None => file.ensure_own()?,
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
        *self = Self::open_own(&self.path)?;
        Ok(())
    }

    /// Returns whether there is no file at `path`.
    pub(crate) fn is_missing(path: &Path) -> bool {
        is_missing(path)
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
        if self.is_linked && !platform::is_linked(&metadata) {
            return Err(self.deleted());
        }
        Ok(OutputMark {
            length: self.length,
            tail: lines::tail_checksum(&self.file, self.length).map_err(cannot_read)?,
        })
    }

    /// Cuts the torn line that a failed write left, as far as that is possible, and returns the failure. The next start would cut the
    /// line too; cutting it now frees space that the disk may lack.
    pub(crate) fn fail_write(&self, error: &io::Error) -> Failure {
        let _ = self.file.set_len(self.length);
        let fix = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on that disk",
            io::ErrorKind::FileTooLarge => {
                "raise the limit on the size of files (ulimit -f) or rotate the file"
            }
            _ => "check that disk",
        };
        cannot("write", &self.path, error)
            .hint(format!("{fix} and start cswatch again: no event is lost"))
    }

    /// Opens `path`, which no checkpoint knows, and creates it if there is no file yet.
    fn open_own(path: &Path) -> Result<Self, Failure> {
        let file = Self::open_unchecked(path, true)?;
        file.ensure_own()?;
        Ok(file)
    }

    fn deleted(&self) -> Failure {
        unusable(&self.path, "was deleted or replaced while cswatch wrote to it; the lines written since the last checkpoint are lost with it, the events are not")
            .hint("start cswatch again: it names the command that prints those events into a new file (to rotate the file, rename it and send SIGHUP)")
    }

    fn open_unchecked(path: &Path, create: bool) -> Result<Self, Failure> {
        Self::open_unless_in_use(path, create)?.ok_or_else(|| {
            unusable(path, "is in use by another cswatch")
                .hint("give each cswatch its own output file")
        })
    }

    /// Returns `None` if another process writes to the file.
    fn open_unless_in_use(path: &Path, create: bool) -> Result<Option<Self>, Failure> {
        ensure_regular(path)?;
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
        let attempt = platform::lock_for_writing(&file);
        let shown = format!("output file {}", path.display());
        if files::lock_state(attempt, &shown).map_err(cannot_open)? == LockState::InUse {
            return Ok(None);
        }
        let metadata = file.metadata().map_err(cannot_open)?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            length: metadata.len(),
            is_sync_lost: false,
            is_linked: platform::is_linked(&metadata),
        }))
    }

    /// Cuts what follows `end`, and moves the offset to where the next line goes.
    fn cut_at(&mut self, end: u64) -> Result<(), Failure> {
        let cut = || -> io::Result<()> {
            if end < self.length {
                self.file.set_len(end)?;
                self.file.sync_data()?;
            }
            // Reading has moved the offset.
            (&self.file).seek(SeekFrom::End(0)).map(drop)
        };
        cut().map_err(|error| cannot("cut the torn last line of", &self.path, &error))?;
        self.length = end;
        Ok(())
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        cannot("read", &self.path, error)
    }
}

/// Returns the checkpoint with the state of the output file in it; `None` if it has none.
fn with_mark(saved: Option<&Checkpoint>) -> Option<(&Checkpoint, &OutputMark)> {
    saved.and_then(|saved| Some((saved, saved.output.as_ref()?)))
}

/// Returns whether there is no file at `path`, or a new one, although the checkpoint knows a file there.
fn is_new(path: &Path, mark: &OutputMark) -> bool {
    match path.metadata() {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0 && mark.length > 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
