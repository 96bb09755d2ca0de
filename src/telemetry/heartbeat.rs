//! Heartbeat file next to the resume file, for `cswatch health`: which process watches, and when the server last replied. Lets a
//! container be checked without a port.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::time::since_epoch;

use super::Snapshot;

/// The content of a heartbeat file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
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

    /// Reads the heartbeat next to `resume_file`; `None` if there is none, because no watch is running.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold a heartbeat.
    pub(crate) fn read(resume_file: &Path) -> io::Result<Option<Self>> {
        match fs::read(path(resume_file)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The heartbeat file of a running watch. It is removed on drop.
#[derive(Debug)]
pub(crate) struct HeartbeatFile {
    path: PathBuf,
    resume_file: PathBuf,
    /// Whether the last write failed.
    has_failed: bool,
}

impl HeartbeatFile {
    /// Returns the heartbeat file next to `resume_file`, which must be locked by this process.
    pub(crate) fn next_to(resume_file: &Path) -> Self {
        Self {
            path: path(resume_file),
            resume_file: resume_file.to_owned(),
            has_failed: false,
        }
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
    fn write(&self, heartbeat: &Heartbeat) -> io::Result<()> {
        let mut temporary = files::new_temporary(&self.resume_file)?;
        temporary.write_all(&serde_json::to_vec(heartbeat)?)?;
        temporary.persist(&self.path)?;
        Ok(())
    }
}

impl Drop for HeartbeatFile {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm: `cswatch health` looks at the age of the last reply.
        let _ = fs::remove_file(&self.path);
    }
}

fn path(resume_file: &Path) -> PathBuf {
    let mut name: OsString = resume_file.file_name().unwrap_or_default().to_owned();
    name.push(".heartbeat");
    resume_file.with_file_name(name)
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_millis()).unwrap_or(u64::MAX)
}
