//! Heartbeat file next to the resume file, for `cswatch health`: which process watches, and when the server last replied. Lets a
//! container be checked without a port.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::files::{self, NeighborError};
use crate::platform::{self, FileId};
use crate::time::since_epoch;

use super::Snapshot;

/// What messages call the file.
const ROLE: &str = "heartbeat file";

/// Version of the file's format.
const FORMAT_VERSION: u32 = 1;

/// The largest heartbeat file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// How far ahead of this clock a heartbeat may have been written: where the clock was set back, or on another machine. A watch writes one
/// at least this often, so only one that no running watch wrote stays further ahead.
const MAX_AHEAD: Duration = Duration::from_secs(5);

/// The content of a heartbeat file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    /// Version of the format. This field and the next come first: by them `files` recognizes the file.
    version: u32,
    program: String,
    /// Process ID of the watch.
    pub pid: u32,
    /// Time of the server's last reply, in milliseconds since 1970; `None` before the first.
    pub last_reply: Option<u64>,
    /// Time at which this was written, in milliseconds since 1970.
    pub written: u64,
    /// Whether the stream was open.
    pub open: bool,
    /// The longest time since the last reply for which the watch is healthy, in milliseconds. It follows from its `--max-await`.
    pub max_reply_age: u64,
}

impl Heartbeat {
    fn of(snapshot: &Snapshot) -> Self {
        let now = SystemTime::now();
        let last_reply = snapshot
            .lag
            .time_since_reply
            .and_then(|age| now.checked_sub(age));
        Self {
            version: FORMAT_VERSION,
            program: "cswatch".to_owned(),
            pid: std::process::id(),
            last_reply: last_reply.map(millis),
            written: millis(now),
            open: snapshot.is_open,
            max_reply_age: u64::try_from(snapshot.max_reply_age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns the time since the server's last reply: `None` before the first, zero if the clock was set back since.
    pub(crate) fn time_since_reply(&self) -> Option<Duration> {
        let now = millis(SystemTime::now());
        self.last_reply
            .map(|last_reply| Duration::from_millis(now.saturating_sub(last_reply)))
    }

    /// Returns how far the heartbeat is ahead of the clock, if that is more than a running watch can cause.
    pub(crate) fn time_ahead(&self) -> Option<Duration> {
        let latest = self.written.max(self.last_reply.unwrap_or(0));
        let ahead = Duration::from_millis(latest.saturating_sub(millis(SystemTime::now())));
        (ahead > MAX_AHEAD).then_some(ahead)
    }

    /// Reads the heartbeat next to `resume_file`; `None` if there is none, because no watch is running.
    ///
    /// # Errors
    /// If the file cannot be read, is not cswatch's, or does not hold a heartbeat.
    pub(crate) fn read(resume_file: &Path) -> Result<Option<Self>, NeighborError> {
        let Some(file) = files::open_own_to_read(&path(resume_file))? else {
            return Ok(None);
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        let heartbeat = serde_json::from_slice(&text).map_err(io::Error::from)?;
        Ok(Some(heartbeat))
    }
}

/// The heartbeat file of a running watch. It is removed on drop.
#[derive(Debug)]
pub(crate) struct HeartbeatFile {
    path: PathBuf,
    resume_file: PathBuf,
    /// The file that was written last.
    written: Option<FileId>,
    /// Whether the last write failed.
    has_failed: bool,
}

impl HeartbeatFile {
    /// Returns the heartbeat file next to `resume_file`, which must be locked by this process. Removes the heartbeat that a killed watch
    /// left: `cswatch health` would take it for one of this watch.
    ///
    /// # Errors
    /// Exit code 5 when the file there is not cswatch's. It is then untouched.
    pub(crate) fn next_to(resume_file: &Path) -> Result<Self, Failure> {
        let path = path(resume_file);
        files::remove_own(&path).map_err(|error| error.failure(ROLE, &path))?;
        Ok(Self {
            path,
            resume_file: resume_file.to_owned(),
            written: None,
            has_failed: false,
        })
    }

    /// Checks that the file next to `resume_file` is cswatch's, if there is one.
    ///
    /// # Errors
    /// Exit code 5 when it is not.
    pub(crate) fn ensure_usable(resume_file: &Path) -> Result<(), Failure> {
        let path = path(resume_file);
        files::ensure_own(&path).map_err(|error| error.failure(ROLE, &path))
    }

    /// Writes a heartbeat. Warns about the first of several failures in a row; the next heartbeat is tried in any case.
    pub(super) fn beat(&mut self, snapshot: &Snapshot) {
        match self.write(&Heartbeat::of(snapshot)) {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::warn!(
                    "cannot write the heartbeat file {}, so cswatch health will fail: {error}",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    /// Replaces the file by a rename, so that a reader never sees half of it. Does not sync, because a heartbeat means nothing after a
    /// crash of the machine.
    fn write(&mut self, heartbeat: &Heartbeat) -> Result<(), NeighborError> {
        let text = serde_json::to_vec(heartbeat).map_err(io::Error::from)?;
        let mut temporary = files::new_temporary(&self.resume_file)?;
        temporary.write_all(&text)?;
        let id = platform::file_id(temporary.as_file())?;
        // Another file may have been put there meanwhile.
        files::ensure_own(&self.path)?;
        temporary.persist(&self.path).map_err(|error| error.error)?;
        self.written = Some(id);
        Ok(())
    }

    /// Removes the file if this watch wrote it: the next one may have started already.
    fn remove(&self) -> Result<(), NeighborError> {
        let file = files::open_own_to_read(&self.path)?;
        let id = file.map(|file| platform::file_id(&file)).transpose()?;
        if id.is_some() && id == self.written {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for HeartbeatFile {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm: `cswatch health` looks at the lock and at the age of the last reply.
        let _ = self.remove();
    }
}

fn path(resume_file: &Path) -> PathBuf {
    files::neighbor(resume_file, "heartbeat")
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_millis()).unwrap_or(u64::MAX)
}
