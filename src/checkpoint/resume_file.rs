//! The position file: loaded and checked before anything is connected, locked for life, replaced as a whole on every save.
//! Knows tokens and the length of the output, never events.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bson::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{ResumePath, StreamSpec};
use crate::error::{Failure, Kind};
use crate::files::{self, folder};
use crate::platform;
use crate::time;
use crate::token::ResumeToken;

/// Format of the file. A file of a newer format is refused: what it says could be misread.
const FORMAT_VERSION: u32 = 1;

/// What the file says under `program`, to tell it from another tool's.
const PROGRAM: &str = "cswatch";

/// Where the output file stood when the position was saved. Together they say which lines are behind the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMark {
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
    /// Bytes written, up to and with the line of the token.
    pub length: u64,
    /// SHA-256 (hex) of the last bytes before `length`, to notice an edit.
    pub tail: String,
}

/// What a position file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Start after this.
    pub token: ResumeToken,
    /// The output file's state, where there is one.
    pub output: Option<OutputMark>,
    /// The replica set it belongs to; `None` behind a mongos.
    pub set: Option<String>,
    /// Whether filter and options were the ones of this run.
    pub same_filter: bool,
}

impl Checkpoint {
    /// Reads the text of a position file, `path` being its name in messages, for a stream of this scope and fingerprint. Pure.
    ///
    /// # Errors
    /// Exit code 5 when the text is damaged, not cswatch's, of a newer format, or of another scope.
    pub fn from_text(
        text: &[u8],
        path: &Path,
        scope: &str,
        fingerprint: &str,
    ) -> Result<Self, Failure> {
        const HINT: &str = "put back a copy, or move it away and say where to start: --start-after TOKEN, --start WHEN";
        let content = parse(text).map_err(|why| failure(path, &why).hint(HINT))?;
        let token = ResumeToken::parse(&content.token.to_string()).map_err(|error| {
            failure(path, &format!("holds no resume token: {error}")).hint(HINT)
        })?;
        if content.scope != scope {
            return Err(failure(
                path,
                &format!(
                    "is of another stream: it holds {}, this is {scope}",
                    content.scope
                ),
            )
            .hint("give another --resume-file, or watch what it was made for"));
        }
        Ok(Self {
            token,
            output: content.output,
            set: content.set,
            same_filter: content.fingerprint == fingerprint,
        })
    }

    /// Refuses the position, which the file at `path` holds, on another deployment.
    ///
    /// `now` is the server's cluster time: a token ahead of it is of another or a restored deployment, and the server would
    /// silently skip events up to it (measured on MongoDB 6.0.27).
    ///
    /// # Errors
    /// Exit code 5, naming both sides.
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
                &format!("is of replica set {theirs}, this one is {ours}"),
            )
            .hint("give another --resume-file, or connect to the other set"));
        }
        let time = self.token.time();
        if let Some(now) = now
            && time::is_ahead(time, now)
        {
            return Err(failure(
                path,
                &format!(
                    "is of another deployment or a later state: its checkpoint {}",
                    time::ahead_of_server(time, now)
                ),
            )
            .hint(
                "it belongs to another deployment, or this one was restored from a backup; move the file away to start anew",
            ));
        }
        Ok(())
    }
}

/// The file as it is written; `checksum` follows these fields and covers their text.
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

/// A cluster time, readable for whoever opens the file.
#[derive(Serialize, Deserialize)]
struct Time {
    t: u32,
    i: u32,
}

/// A position file that is locked by this process.
#[derive(Debug)]
pub(crate) struct ResumeFile {
    /// The file itself, symbolic links resolved: a rename would replace the link.
    path: PathBuf,
    /// Held open for life. Never unlinked: a second instance could then lock a file of the same name.
    _lock: File,
    scope: String,
    fingerprint: String,
    set: Option<String>,
}

impl ResumeFile {
    /// Locks the file at `path`, proves that it can be replaced, and loads what it holds for `stream`.
    ///
    /// # Errors
    /// Exit code 5 when it is damaged, of another stream, locked, or cannot be written; it is left untouched then.
    pub(crate) fn open(
        path: &ResumePath,
        stream: &StreamSpec,
    ) -> Result<(Self, Option<Checkpoint>), Failure> {
        let path = match path {
            ResumePath::Named(path) => path,
            ResumePath::Default(path) => {
                fs::create_dir_all(folder(path)).map_err(|error| {
                    failure(path, &format!("has no folder: {error}"))
                        .hint("give --resume-file FILE, or --no-resume")
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

    /// What the file at `path` holds for `stream`, and the path with symbolic links resolved. Neither locks nor makes anything: for
    /// those who ask while a watch may run.
    ///
    /// # Errors
    /// As [`ResumeFile::open`], but for the lock.
    pub(crate) fn look(
        path: &ResumePath,
        stream: &StreamSpec,
    ) -> Result<(PathBuf, Option<Checkpoint>), Failure> {
        let (path, is_made) = match path {
            ResumePath::Named(path) => (path, false),
            ResumePath::Default(path) => (path, true),
        };
        let path = resolve(path)?;
        let saved = load(&path, stream)?;
        if folder(&path).exists() || !is_made {
            ensure_replaceable(&path)?;
        }
        Ok((path, saved))
    }

    /// The path that is written to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Remembers the replica set's name for the saves to come.
    pub(crate) fn is_of_set(&mut self, set: Option<&str>) {
        self.set = set.map(ToOwned::to_owned);
    }

    /// Replaces what the file holds: written beside it, synced, renamed over it, the folder synced.
    ///
    /// # Errors
    /// The error of the file system; what the file held before is still whole.
    pub(crate) fn save(&self, token: &ResumeToken, output: Option<OutputMark>) -> io::Result<()> {
        let mut temporary = files::new_temporary(&self.path)?;
        temporary.write_all(self.text(token, output)?.as_bytes())?;
        temporary.as_file().sync_all()?;
        temporary.persist(&self.path)?;
        platform::sync_folder(folder(&self.path))
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

/// What the file at `path` holds for `stream`; `None` where there is none yet.
fn load(path: &Path, stream: &StreamSpec) -> Result<Option<Checkpoint>, Failure> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(failure(path, &format!("cannot be read: {error}"))
                .hint("mend its permissions, or give another --resume-file"));
        }
    };
    Checkpoint::from_text(&text, path, &stream.scope_id(), &stream.fingerprint()).map(Some)
}

/// Proves that the file at `path` can be replaced.
fn ensure_replaceable(path: &Path) -> Result<(), Failure> {
    files::ensure_replaceable(path).map_err(|error| {
        failure(path, &format!("cannot be written: {error}"))
            .hint("make its folder writable, or give another --resume-file, or --no-resume")
    })
}

/// What stands between the covered text and its checksum.
const CHECKSUM_FIELD: &str = ",\"checksum\":\"";

fn checksum(body: &str) -> String {
    const_hex::encode(Sha256::digest(body))
}

/// Why every watch would refuse a position file with this text, in one clause; `None` when it is whole. For who only reads its token.
pub(crate) fn damage(text: &[u8]) -> Option<String> {
    parse(text).err()
}

/// The content of a position file, or in one clause why it is none. Needed because the server accepts cut and extended tokens.
fn parse(text: &[u8]) -> Result<Content, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is damaged: not text".to_owned())?;
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let foreign = || "is not a position file of cswatch, or is damaged".to_owned();
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
            "is of a newer cswatch: format {}, this one reads {FORMAT_VERSION}",
            head.version
        ));
    }
    if rest.trim_end() != format!("{}\"}}", checksum(body)) {
        return Err("is damaged: its checksum does not fit its content".to_owned());
    }
    let content: Content =
        serde_json::from_str(&json).map_err(|error| format!("is damaged: {error}"))?;
    if content.program != PROGRAM {
        return Err(foreign());
    }
    Ok(content)
}

fn failure(path: &Path, why: &str) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!("position file {} {why}", path.display()),
    )
}

/// The file a path means, with symbolic links followed, also where the last one leads to nothing yet.
///
/// # Errors
/// Exit code 5 when it is a folder or a device.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let resolved = match fs::canonicalize(path) {
        Ok(resolved) => resolved,
        Err(_) => match fs::read_link(path) {
            Ok(target) => folder(path).join(target),
            Err(_) => path.to_owned(),
        },
    };
    if resolved.is_dir() {
        return Err(failure(&resolved, "is a folder").hint("name a file in it"));
    }
    // Reading a pipe would wait for ever.
    if resolved.exists() && !resolved.is_file() {
        return Err(failure(&resolved, "is no regular file").hint("name a regular file"));
    }
    if resolved.file_name().is_none() {
        return Err(failure(&resolved, "has no file name"));
    }
    Ok(resolved)
}

/// Takes the lock beside `path`, and writes into it who holds it.
fn lock(path: &Path) -> Result<File, Failure> {
    let lock_path = path.with_file_name(format!("{}.lock", files::name(path)));
    let cannot =
        |error: io::Error| {
            failure(path, &format!("cannot be locked: {}: {error}", lock_path.display())).hint(
            "make its folder exist and be writable, or give another --resume-file, or --no-resume",
        )
        };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    platform::keep_private(&mut options);
    let mut file = options.open(&lock_path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without the name the refusal is still right.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another cswatch".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(failure(path, &format!("is in use by {holder}"))
                .hint("stop that one, or give this one another --resume-file, or --no-resume"));
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(
                "{} cannot be locked on this file system; make sure that one cswatch at a time uses it",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let holder = format!(
        "pid {} on host {}\n",
        std::process::id(),
        platform::host_name()
    );
    file.set_len(0)
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(cannot)?;
    Ok(file)
}
