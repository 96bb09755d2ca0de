//! What some file systems lack: locks, and directories that can be synced. One policy for every file of cswatch: warn once with what
//! that means, and continue. Nothing is lost without them; only a second instance or a power loss is worse.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::platform;

/// The outcome of an attempt to lock a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// This process has the lock.
    Acquired,
    /// Another process has it.
    InUse,
    /// The file system has no locks, which was reported.
    Unsupported,
}

/// Returns what an attempt to lock `file`, a file as messages call it, led to.
///
/// # Errors
/// The error of the file system, unless it means that there are no locks.
pub(crate) fn lock_state(
    attempt: Result<(), TryLockError>,
    file: &dyn Display,
) -> io::Result<LockState> {
    match attempt {
        Ok(()) => Ok(LockState::Acquired),
        Err(TryLockError::WouldBlock) => Ok(LockState::InUse),
        Err(TryLockError::Error(error)) if platform::is_unsupported(&error) => {
            let message = format!("cannot lock {file}: its file system has no locks ({error})");
            warn_once(
                message,
                "make sure that no other cswatch uses this file, or keep it on a file system with locks",
            );
            Ok(LockState::Unsupported)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Syncs a directory, so that a file created or renamed in it survives a power loss.
///
/// # Errors
/// The error of the file system, unless it means that the directory cannot be synced.
pub(crate) fn sync_dir(directory: &Path) -> io::Result<()> {
    match platform::sync_dir(directory) {
        // A directory may be writable but not readable, and is opened for reading to be synced.
        Err(error)
            if platform::is_unsupported(&error)
                || error.kind() == io::ErrorKind::PermissionDenied =>
        {
            let message = format!(
                "cannot sync directory {}: {error}; a power loss may undo what was saved in it last",
                directory.display()
            );
            warn_once(
                message,
                "after a power loss the last events may be printed again; to avoid that, use a directory that can be read, on a local file system",
            );
            Ok(())
        }
        synced => synced,
    }
}

/// Logs a warning unless this process has logged it before.
fn warn_once(message: String, hint: &'static str) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if !warned.contains(&message) {
        tracing::warn!(hint, "{message}");
        warned.insert(message);
    }
}
