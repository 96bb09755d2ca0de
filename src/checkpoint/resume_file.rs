//! The resume file: loaded and checked before cswatch connects, locked while it runs, replaced as a whole on every save.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bson::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{ResumePath, StreamSpec};
use crate::error::{Failure, Kind};
use crate::files;
use crate::platform;
use crate::time;
use crate::token::ResumeToken;

/// Version of the file's format. A file of a newer format is refused, because its fields could be misread.
const FORMAT_VERSION: u32 = 1;

/// Value of the field `program`, which distinguishes the file from another tool's.
const PROGRAM: &str = "cswatch";

/// State of the output file when the checkpoint was saved. Lines beyond its length came after the checkpoint's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMark {
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// Bytes written, up to and including the line of the token.
    pub length: u64,
    /// SHA-256 (hex) of the last bytes before `length`, to detect an edit.
    pub tail: String,
}

/// A checkpoint: a resume token, and what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The token to resume after.
    pub token: ResumeToken,
    /// State of the output file, if there is one.
    pub output: Option<OutputMark>,
    /// The replica set that it belongs to; `None` for a sharded cluster.
    pub set: Option<String>,
    /// Whether it was saved with the filter and options of this run.
    pub same_filter: bool,
}

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
        let content = parse(text).map_err(|why| failure(path, &why).hint(HINT))?;
        let token = ResumeToken::parse(&content.token.to_string()).map_err(|error| {
            failure(path, &format!("holds no valid resume token: {error}")).hint(HINT)
        })?;
        if content.scope != scope {
            return Err(failure(
                path,
                &format!(
                    "belongs to another stream: it was saved for {}, this is {scope}",
                    content.scope
                ),
            )
            .hint("give another --resume-file, or watch the stream that it was saved for"));
        }
        Ok(Self {
            token,
            output: content.output,
            set: content.set,
            same_filter: content.fingerprint == fingerprint,
        })
    }

    /// Fails if the checkpoint, loaded from the file at `path`, belongs to another deployment.
    ///
    /// `now` is the server's cluster time. A token ahead of it belongs to another deployment, or to this one before it was restored from
    /// a backup, and the server would silently skip events up to it (measured on MongoDB 6.0.27).
    ///
    /// # Errors
    /// Exit code 5 with both replica sets or both times.
    pub fn ensure_deployment(
        &self,
        path: &Path,
        set: Option<&str>,
        now: Option<Timestamp>,
    ) -> Result<(), Failure> {
        if let (Some(theirs), Some(ours)) = (&self.set, set)
            && theirs != ours
        {
            return Err(failure(
                path,
                &format!("belongs to replica set {theirs}, this one is {ours}"),
            )
            .hint(format!(
                "give another --resume-file, or connect to replica set {theirs}"
            )));
        }
        let time = self.token.time();
        if let Some(now) = now
            && time::is_ahead(time, now)
        {
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

/// The file's fields. The field `checksum` follows them and covers their text.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    program: String,
    set: Option<String>,
    scope: String,
    fingerprint: String,
    token: serde_json::Value,
    time: Time,
    output: Option<OutputMark>,
    saved: String,
}

/// A cluster time, for people who open the file.
#[derive(Serialize, Deserialize)]
struct Time {
    t: u32,
    i: u32,
}

/// A resume file that this process has locked.
#[derive(Debug)]
pub(crate) struct ResumeFile {
    /// The path with symbolic links resolved: a rename would replace the link.
    path: PathBuf,
    /// Held open while cswatch runs. Never unlinked: a second instance could then lock another file of the same name.
    _lock: File,
    scope: String,
    fingerprint: String,
    set: Option<String>,
}

impl ResumeFile {
    /// Locks the file at `path`, loads its checkpoint for `stream`, and checks that the file can be replaced.
    ///
    /// # Errors
    /// Exit code 5 when it is damaged, belongs to another stream, is locked, or cannot be written. It is then left untouched.
    pub(crate) fn open(
        path: &ResumePath,
        stream: &StreamSpec,
    ) -> Result<(Self, Option<Checkpoint>), Failure> {
        let path = match path {
            ResumePath::Named(path) => path,
            ResumePath::Default(path) => {
                fs::create_dir_all(files::parent_dir(path)).map_err(|error| {
                    cannot("create the directory of", path, &error)
                        .hint("give --resume-file FILE, or use --no-resume")
                })?;
                path
            }
        };
        let path = resolve(path)?;
        let lock = lock(&path)?;
        let file = Self {
            scope: stream.scope_id(),
            fingerprint: stream.fingerprint(),
            path,
            _lock: lock,
            set: None,
        };
        let saved = load(&file.path, stream)?;
        files::remove_leftovers(&file.path);
        ensure_replaceable(&file.path)?;
        Ok((file, saved))
    }

    /// Returns the path with symbolic links resolved, and the checkpoint that the file there holds for `stream`. Neither locks nor creates
    /// anything, so that it works while a watch runs.
    ///
    /// # Errors
    /// As [`ResumeFile::open`], except for the lock.
    pub(crate) fn inspect(
        path: &ResumePath,
        stream: &StreamSpec,
    ) -> Result<(PathBuf, Option<Checkpoint>), Failure> {
        let (path, is_dir_created) = match path {
            ResumePath::Named(path) => (path, false),
            ResumePath::Default(path) => (path, true),
        };
        let path = resolve(path)?;
        let saved = load(&path, stream)?;
        if files::parent_dir(&path).exists() || !is_dir_created {
            ensure_replaceable(&path)?;
        }
        Ok((path, saved))
    }

    /// Returns the path of the file, with symbolic links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the name of the replica set that later saves write.
    pub(crate) fn set_replica_set(&mut self, set: Option<&str>) {
        self.set = set.map(ToOwned::to_owned);
    }

    /// Replaces the file's content: writes a temporary file next to it, syncs that, renames it over the file and syncs the directory.
    ///
    /// # Errors
    /// The error of the file system. The previous content is then still intact.
    pub(crate) fn save(&self, token: &ResumeToken, output: Option<OutputMark>) -> io::Result<()> {
        let mut temporary = files::new_temporary(&self.path)?;
        temporary.write_all(self.text(token, output)?.as_bytes())?;
        temporary.as_file().sync_all()?;
        temporary.persist(&self.path)?;
        platform::sync_dir(files::parent_dir(&self.path))
    }

    fn text(&self, token: &ResumeToken, output: Option<OutputMark>) -> io::Result<String> {
        let token_text = token.to_extended_json().map_err(io::Error::other)?;
        let time = token.time();
        let content = Content {
            version: FORMAT_VERSION,
            program: PROGRAM.to_owned(),
            set: self.set.clone(),
            scope: self.scope.clone(),
            fingerprint: self.fingerprint.clone(),
            token: serde_json::from_str(&token_text)?,
            time: Time {
                t: time.time,
                i: time.increment,
            },
            output,
            saved: jiff::Timestamp::now().to_string(),
        };
        let mut body = serde_json::to_string(&content)?;
        body.pop();
        let checksum = checksum(&body);
        Ok(format!("{body}{CHECKSUM_FIELD}{checksum}\"}}\n"))
    }
}

/// Loads the checkpoint that the file at `path` holds for `stream`; `None` if there is no file yet.
fn load(path: &Path, stream: &StreamSpec) -> Result<Option<Checkpoint>, Failure> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(cannot("read", path, &error)
                .hint("fix its permissions, or give another --resume-file"));
        }
    };
    Checkpoint::from_text(&text, path, &stream.scope_id(), &stream.fingerprint()).map(Some)
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

/// The text between the fields and their checksum.
const CHECKSUM_FIELD: &str = ",\"checksum\":\"";

fn checksum(body: &str) -> String {
    const_hex::encode(Sha256::digest(body))
}

/// Returns why a watch would refuse a resume file with this text, in one clause; `None` if the file is intact. For `cswatch token`, which
/// prints the token of a damaged file too.
pub(crate) fn damage(text: &[u8]) -> Option<String> {
    parse(text).err()
}

/// Parses the text of a resume file, or returns in one clause why it is invalid. The checksum is needed because the server accepts
/// tokens that were cut or extended.
fn parse(text: &[u8]) -> Result<Content, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is damaged: not UTF-8".to_owned())?;
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let foreign = || "was not written by cswatch, or is damaged".to_owned();
    let (body, rest) = text.rsplit_once(CHECKSUM_FIELD).ok_or_else(foreign)?;
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        program: String,
    }
    let json = format!("{body}}}");
    if let Ok(head) = serde_json::from_str::<Head>(&json)
        && head.program == PROGRAM
        && head.version > FORMAT_VERSION
    {
        return Err(format!(
            "was written by a newer cswatch: format {}, this version reads {FORMAT_VERSION}",
            head.version
        ));
    }
    if rest.trim_end() != format!("{}\"}}", checksum(body)) {
        return Err("is damaged: its checksum does not match its content".to_owned());
    }
    let content: Content =
        serde_json::from_str(&json).map_err(|error| format!("is damaged: {error}"))?;
    if content.program != PROGRAM {
        return Err(foreign());
    }
    Ok(content)
}

/// Returns the failure of a file that cannot be a watch's resume file.
fn failure(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("resume file {} {why}", path.display()),
    )
}

/// Returns the failure of an operation on the file.
fn cannot(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("cannot {operation} resume file {}: {error}", path.display()),
    )
}

/// Returns `path` with symbolic links resolved, also if the last one points to a file that does not exist yet.
///
/// # Errors
/// Exit code 5 when it is a directory or a device.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let resolved = match fs::canonicalize(path) {
        Ok(resolved) => resolved,
        Err(_) => match fs::read_link(path) {
            Ok(target) => files::parent_dir(path).join(target),
            Err(_) => path.to_owned(),
        },
    };
    if resolved.is_dir() {
        return Err(failure(&resolved, "is a directory").hint("name a file in it"));
    }
    // Reading a pipe would block.
    if resolved.exists() && !resolved.is_file() {
        return Err(failure(&resolved, "is not a regular file").hint("name a regular file"));
    }
    if resolved.file_name().is_none() {
        return Err(failure(&resolved, "has no file name"));
    }
    Ok(resolved)
}

/// Locks the lock file next to `path`, and writes into it which process holds the lock.
fn lock(path: &Path) -> Result<File, Failure> {
    let lock_path = path.with_file_name(format!("{}.lock", files::name(path)));
    let cannot_lock = |error: io::Error| {
        Failure::new(
            Kind::ResumeFile,
            format!(
                "cannot lock resume file {}: {}: {error}",
                path.display(),
                lock_path.display()
            ),
        )
        .hint(
            "make sure that its directory exists and is writable, give another --resume-file, or use --no-resume",
        )
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    platform::keep_private(&mut options);
    let mut file = options.open(&lock_path).map_err(cannot_lock)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // If the holder is unknown, the refusal is still right.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another cswatch".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(failure(path, &format!("is in use by {holder}"))
                .hint("stop that process, give another --resume-file, or use --no-resume"));
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(
                hint = "make sure that no other cswatch uses it",
                "cannot lock resume file {}: its file system has no locks",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(cannot_lock(error)),
    }
    let holder = format!(
        "pid {} on host {}\n",
        std::process::id(),
        platform::host_name()
    );
    file.set_len(0)
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(cannot_lock)?;
    Ok(file)
}
