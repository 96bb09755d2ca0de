//! A sign of life beside the position file, for `cswatch health`: who watches, and when the server was last last_reply. For a container
//! health check that needs no port.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::time::since_epoch;

use super::Snapshot;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    /// The process.
    pub pid: u32,
    /// Milliseconds since 1970 of the server's last reply; `None` before the first.
    pub last_reply: Option<u64>,
    /// Milliseconds since 1970 when this was written.
    pub written: u64,
    /// Whether the stream was open.
    pub open: bool,
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
        }
    }

    /// How long ago the server was last_reply; `None` when it never was, zero when that is in the future.
    pub(crate) fn time_since_reply(&self) -> Option<Duration> {
        let now = millis(SystemTime::now());
        self.last_reply
            .map(|last_reply| Duration::from_millis(now.saturating_sub(last_reply)))
    }

    /// Reads the one beside the position file at `resume_file`; `None` when nobody watches.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub(crate) fn read(resume_file: &Path) -> io::Result<Option<Self>> {
        match fs::read(path(resume_file)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file, kept up to date while the watch lives, and removed at its end.
#[derive(Debug)]
pub(crate) struct HeartbeatFile {
    path: PathBuf,
    /// The position file.
    resume_file: PathBuf,
    failed: bool,
}

impl HeartbeatFile {
    /// The one beside the position file at `resume_file`, which must be locked.
    pub(crate) fn next_to(resume_file: &Path) -> Self {
        Self {
            path: path(resume_file),
            resume_file: resume_file.to_owned(),
            failed: false,
        }
    }

    /// Writes a sign of life. A failure is said once, and the next one is tried all the same.
    pub(super) fn beat(&mut self, snapshot: &Snapshot) {
        match self.write(&Heartbeat::of(snapshot)) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(
                    "the sign of life {} cannot be written, cswatch health will fail: {error}",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    /// Over the old one by a rename, so that it is never read half; not synced, because it means nothing after a crash.
    fn write(&self, heartbeat: &Heartbeat) -> io::Result<()> {
        let mut temporary = files::new_temporary(&self.resume_file)?;
        temporary.write_all(&serde_json::to_vec(heartbeat)?)?;
        temporary.persist(&self.path)?;
        Ok(())
    }
}

impl Drop for HeartbeatFile {
    fn drop(&mut self) {
        // One that stays is seen through by its age.
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
