//! The lock of a resume file: a file next to it, which the running watch holds locked and which names that process.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Failure, Kind};
use crate::files::{self, LOCK_MARK, LockState, NeighborError};
use crate::platform;

/// What messages call the file.
const ROLE: &str = "lock file";

/// Attempts to lock the file, and the pause between them. `cswatch health` holds the lock for a moment to see whether a watch does.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// The lock of a resume file, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Never unlinked: a second instance could then lock another file of the same name.
    _file: File,
    /// Whether other instances are kept away. False where the file system has no locks.
    pub(super) is_exclusive: bool,
}

impl Lock {
    /// Locks the lock file next to the resume file at `path`, and writes into it which process holds the lock.
    ///
    /// # Errors
    /// Exit code 5 when another process holds the lock, or the lock file cannot be used.
    pub(crate) fn acquire(path: &Path) -> Result<Self, Failure> {
        let lock_path = path_next_to(path);
        let failed = |error| match error {
            NeighborError::Io(error) if platform::is_lock_violation(&error) => in_use(path, ""),
            NeighborError::Io(error) => cannot_lock(path, &lock_path, &error),
            foreign @ NeighborError::Foreign(_) => foreign.failure(ROLE, &lock_path),
        };
        let mut file = files::open_own(&lock_path).map_err(failed)?;
        let state = lock(&file, path).map_err(|error| failed(error.into()))?;
        if state == LockState::InUse {
            return Err(in_use(path, &holder(&mut file)));
        }
        let holder = format!(
            "pid {} on host {}\n",
            std::process::id(),
            platform::host_name()
        );
        let text = [LOCK_MARK, holder.as_bytes()].concat();
        // Overwritten first and cut afterwards: at no moment would a process that finds it half written take it for another program's.
        file.write_all(&text)
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            _file: file,
            is_exclusive: state == LockState::Acquired,
        })
    }
}

/// Locks `file`, the lock file of the resume file at `path`.
fn lock(file: &File, path: &Path) -> io::Result<LockState> {
    let shown = format!("resume file {}", path.display());
    let mut state = files::lock_state(file.try_lock(), &shown)?;
    for _ in 1..ATTEMPTS {
        if state != LockState::InUse {
            break;
        }
        std::thread::sleep(PAUSE);
        state = files::lock_state(file.try_lock(), &shown)?;
    }
    Ok(state)
}

/// Checks that the lock file next to the resume file at `path` is cswatch's, if there is one.
///
/// # Errors
/// Exit code 5 when it is not.
pub(super) fn ensure_usable(path: &Path) -> Result<(), Failure> {
    let lock_path = path_next_to(path);
    files::ensure_own(&lock_path)
        .map(drop)
        .map_err(|error| error.failure(ROLE, &lock_path))
}

/// The process that holds the lock of a resume file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// None.
    Nobody,
    /// The one with this process ID; `None` if that cannot be found out. Also where the file system has no locks.
    Process(Option<u32>),
}

/// Returns the holder of the lock of the resume file at `path`.
///
/// # Errors
/// The error of the file system, and when the lock file is not cswatch's.
pub(crate) fn holder_of(path: &Path) -> Result<Holder, NeighborError> {
    let file = match files::open_own_to_read(&path_next_to(path)) {
        Err(NeighborError::Io(error)) if platform::is_lock_violation(&error) => {
            return Ok(Holder::Process(None));
        }
        opened => opened?,
    };
    let Some(mut file) = file else {
        return Ok(Holder::Nobody);
    };
    // Shared, so that neither two checks nor a lock file that may only be read are in the way. Released when the file is closed.
    let state = files::lock_state(file.try_lock_shared(), &path.display())?;
    if state == LockState::Acquired {
        return Ok(Holder::Nobody);
    }
    let text = holder(&mut file);
    let mut words = text.split(' ');
    Ok(Holder::Process(match (words.next(), words.next()) {
        (Some("pid"), Some(pid)) => pid.parse().ok(),
        _ => None,
    }))
}

/// Returns the failure of a watch that cannot lock the resume file at `path` because of this error of the lock file.
fn cannot_lock(path: &Path, lock_path: &Path, error: &io::Error) -> Failure {
    let (path, lock_path) = (path.display(), lock_path.display());
    let hint = match error.kind() {
        io::ErrorKind::InvalidFilename => {
            "give a --resume-file with a shorter name: the files next to it have longer ones"
        }
        _ => {
            "make sure that its directory exists and is writable, give another --resume-file, or use --no-resume"
        }
    };
    Failure::new(
        Kind::ResumeFile,
        format!("cannot lock resume file {path}: {lock_path}: {error}"),
    )
    .hint(hint)
}

fn path_next_to(path: &Path) -> PathBuf {
    files::neighbor(path, "lock")
}

/// Returns what the lock file says of the process that holds the lock; empty if it cannot be read.
fn holder(lock: &mut File) -> String {
    let mut text = Vec::new();
    // If the holder is unknown, the refusal is still right.
    let _ = lock
        .rewind()
        .and_then(|()| lock.take(files::HEAD_BYTES).read_to_end(&mut text));
    let holder = text.strip_prefix(LOCK_MARK).unwrap_or_default();
    String::from_utf8_lossy(holder).trim().to_owned()
}

/// Returns the failure of a watch whose resume file at `path` is locked by `holder`.
fn in_use(path: &Path, holder: &str) -> Failure {
    let holder = match holder {
        "" => "another cswatch",
        holder => holder,
    };
    Failure::new(
        Kind::ResumeFile,
        format!("resume file {} is in use by {holder}", path.display()),
    )
    .hint("stop that process, give another --resume-file, or use --no-resume")
}
