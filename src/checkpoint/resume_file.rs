//! The resume file: loaded and checked before cswatch connects, locked while it runs, replaced as a whole on every save.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bson::Timestamp;

use crate::config::StreamSpec;
use crate::deployment::{Comparison, DeploymentId, Difference};
use crate::error::{Failure, Kind};
use crate::files;
use crate::platform;
use crate::snapshot::SnapshotProgress;
use crate::time;
use crate::token::ResumeToken;

use super::content::{Checkpoint, Invalid, OutputMark, Owner};
use super::lock::{self, Lock};
use super::path::resolve;

/// The largest resume file that is read, in bytes. A resume token may hold 16 MB, which is 32 MB in hex.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

impl Checkpoint {
    /// Reads the text of a resume file for a stream of this scope and fingerprint. `path` is only used in messages.
    ///
    /// # Errors
    /// Exit code 5 when the text is damaged, was not written by cswatch, has a newer format, or belongs to another scope.
    pub fn from_text(
        text: &[u8],
        path: &Path,
        scope: &str,
        fingerprint: &str,
    ) -> Result<Self, Failure> {
        const HINT: &str = "restore a copy, or move the file away and choose a start with --start-after TOKEN or --start WHEN";
        Self::parse(text, scope, fingerprint).map_err(|invalid| {
            let hint = match &invalid {
                Invalid::Damaged(_) => HINT,
                Invalid::OtherScope(_) => {
                    "give another --resume-file, or watch the stream that it was saved for"
                }
            };
            failure(path, &invalid.reason(scope)).hint(hint)
        })
    }

    /// Fails if the checkpoint, loaded from the file at `path`, belongs to another deployment.
    ///
    /// `now` is the deployment's cluster time. A token ahead of it belongs to another deployment, or to this one before it was restored from
    /// a backup, and the server would silently skip events up to it (measured on MongoDB 6.0.27).
    ///
    /// # Errors
    /// Exit code 5 with what differs, or with both times.
    pub(crate) fn ensure_deployment(
        &self,
        path: &Path,
        current: &DeploymentId,
        now: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let Some(now) = now else {
            // A standalone server, which has no change streams either.
            return Ok(());
        };
        if let Comparison::Different(difference) = self.deployment.compare(current, now) {
            return Err(other_deployment(path, &difference));
        }
        let time = self.token.time();
        if time::is_ahead(time, now) {
            return Err(failure(
                path,
                &format!(
                    "belongs to another deployment or to a later state of this one: its checkpoint {}",
                    time::ahead_of_server(time, now)
                ),
            )
            .hint(
                "connect to the deployment that it belongs to; if this one was restored from a backup, move the file away to start without it",
            ));
        }
        Ok(())
    }
}

/// A resume file that this process has locked.
#[derive(Debug)]
pub(crate) struct ResumeFile {
    /// The path with symbolic links resolved: a rename would replace the link.
    path: PathBuf,
    _lock: Lock,
    owner: Owner,
}

impl ResumeFile {
    /// Locks the file at `path`, loads its checkpoint for `stream`, and checks that the file can be replaced. Its folder must exist: creating
    /// it would hide an unmounted volume, and the watch would start without its checkpoint.
    ///
    /// # Errors
    /// Exit code 5 when it is damaged, belongs to another stream, is locked, or cannot be written. It is then left untouched.
    pub(crate) fn open(
        path: &Path,
        stream: &StreamSpec,
    ) -> Result<(Self, Option<Checkpoint>), Failure> {
        let path = resolve(path)?;
        ensure_not_mounted(&path)?;
        let lock = Lock::acquire(&path)?;
        let saved = load(&path, stream)?;
        // Without a lock, another process may be using its temporary files.
        if lock.is_exclusive {
            files::remove_leftovers(&path);
        }
        ensure_replaceable(&path)?;
        let file = Self {
            path,
            _lock: lock,
            owner: Owner::of(stream),
        };
        Ok((file, saved))
    }

    /// Returns the path with symbolic links resolved, and the checkpoint that the file there holds for `stream`. Neither locks nor creates
    /// anything, so that it works while a watch runs.
    ///
    /// # Errors
    /// As [`ResumeFile::open`], except for the lock.
    pub(crate) fn inspect(
        path: &Path,
        stream: &StreamSpec,
    ) -> Result<(PathBuf, Option<Checkpoint>), Failure> {
        let path = resolve(path)?;
        ensure_not_mounted(&path)?;
        lock::ensure_usable(&path)?;
        let saved = load(&path, stream)?;
        ensure_replaceable(&path)?;
        Ok((path, saved))
    }

    /// Returns the path of the file, with symbolic links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the identity of the deployment that later saves write.
    pub(crate) fn set_deployment(&mut self, deployment: DeploymentId) {
        self.owner.deployment = deployment;
    }

    /// Replaces the file's content: writes a temporary file next to it, syncs that, renames it over the file and syncs the directory.
    ///
    /// # Errors
    /// The error of the file system, or [`io::ErrorKind::AlreadyExists`] when another program put another file in its place. What is there
    /// is then still intact.
    pub(crate) fn save(
        &self,
        token: &ResumeToken,
        snapshot: Option<SnapshotProgress>,
        output: Option<OutputMark>,
    ) -> io::Result<()> {
        let mut temporary = files::new_temporary(&self.path)?;
        temporary.write_all(self.owner.text(token, snapshot, output)?.as_bytes())?;
        temporary.as_file().sync_all()?;
        self.ensure_own()?;
        temporary.persist(&self.path)?;
        files::sync_dir(files::parent_dir(&self.path))
    }

    /// Fails if another program wrote to the file or put another one in its place while this process runs.
    fn ensure_own(&self) -> io::Result<()> {
        let foreign = |why: &str| Err(io::Error::new(io::ErrorKind::AlreadyExists, why.to_owned()));
        if self.path.is_symlink() {
            return foreign("a symbolic link was put in its place");
        }
        match files::open_regular(&self.path) {
            Ok(file) if files::holds_own_json(&file)? => Ok(()),
            Ok(_) => foreign("another program wrote to it"),
            // It was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Loads the checkpoint that the file at `path` holds for `stream`; `None` if there is no file yet.
fn load(path: &Path, stream: &StreamSpec) -> Result<Option<Checkpoint>, Failure> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    Checkpoint::from_text(&text, path, &stream.scope_id(), &stream.fingerprint()).map(Some)
}

/// Reads the resume file at `path`; `None` if there is none.
///
/// # Errors
/// Exit code 5 when it cannot be read, or is too large to be a resume file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match files::read_regular(path, MAX_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, &error).hint(match error.kind() {
            io::ErrorKind::FileTooLarge => "that is not a resume file: give another --resume-file",
            _ => "fix its permissions, or give another --resume-file",
        })),
    }
}

/// Checks that the file at `path` can be replaced.
fn ensure_replaceable(path: &Path) -> Result<(), Failure> {
    files::ensure_replaceable(path).map_err(|error| {
        let fix = match error.kind() {
            io::ErrorKind::StorageFull => "free space on that disk",
            _ => "make its directory writable",
        };
        cannot("write", path, &error).hint(format!(
            "{fix}, give another --resume-file, or use --no-resume"
        ))
    })
}

/// Checks that `path` is not a mount of this single file, which no rename can replace: a container that was given the file, not its
/// directory, could never save.
fn ensure_not_mounted(path: &Path) -> Result<(), Failure> {
    if platform::is_mount_point(path) {
        let why = "is mounted as a single file, which cannot be replaced";
        return Err(failure(path, why).hint(MOUNT_HINT));
    }
    Ok(())
}

/// Hint about a resume file that is mounted on its own.
const MOUNT_HINT: &str =
    "mount the directory that holds the resume file, not the file, so that it can be replaced";

/// Returns the failure of a watch whose resume file at `path` could not be saved, with a hint for this error.
pub(super) fn save_failure(path: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind::{
        AlreadyExists, FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        ResourceBusy, StorageFull,
    };
    let fix = match error.kind() {
        AlreadyExists => {
            return cannot("replace", path, error).hint(
                "move that file away, or give another --resume-file; the next run prints the events after the last save again",
            );
        }
        ResourceBusy => return cannot("write", path, error).hint(MOUNT_HINT),
        StorageFull | QuotaExceeded => "free space on that disk",
        FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        PermissionDenied | ReadOnlyFilesystem => {
            "make the file and its directory writable, or give another --resume-file"
        }
        _ => "free space on that disk or fix the file's permissions",
    };
    cannot("write", path, error).hint(format!(
        "{fix}; the next run prints the events after the last save again"
    ))
}

/// Returns the failure of a file that cannot be a watch's resume file.
pub(super) fn failure(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("resume file {} {why}", path.display()),
    )
}

/// Returns the failure of a file that was saved for another deployment.
fn other_deployment(path: &Path, difference: &Difference) -> Failure {
    match difference {
        Difference::Topology { saved, now } => {
            failure(path, &format!("belongs to {saved}, this one is {now}"))
                .hint(format!("give another --resume-file, or connect to {saved}"))
        }
        Difference::Id { part, saved, now } => failure(
            path,
            &format!("belongs to another deployment of the same name: its {part} is {saved}, this one's is {now}"),
        )
        .hint(
            "give another --resume-file, or connect to the deployment that it belongs to; if this one replaces it, move the file away, and choose a start with --start earliest or --start WHEN",
        ),
    }
}

/// Returns the failure of an operation on the file.
fn cannot(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("cannot {operation} resume file {}: {error}", path.display()),
    )
}
