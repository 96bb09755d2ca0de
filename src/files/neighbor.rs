//! Files that cswatch keeps next to another one: lock, heartbeat and temporary files, named `.NAME.cswatch-ROLE`.
//!
//! A name proves nothing: anyone who can write to the directory may have put a file, a symbolic link or a hard link there, in the worst case
//! to another file of this user. So nothing is written, replaced or removed before the file was opened without following links, and was
//! found to be a regular file of this user with a single name and with content of cswatch.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Failure, Kind};
use crate::platform;

use super::parent_dir;

/// What follows the name of the file that a neighbor belongs to.
const INFIX: &str = ".cswatch-";

/// The role of temporary files, which a random part follows.
const TEMPORARY: &str = "tmp.";

/// Letters and digits of that random part.
const RANDOM_LENGTH: usize = 6;

/// How every text of cswatch in JSON begins, after the number of its version.
const MARK: &str = r#","program":"cswatch""#;

/// How the text of a lock file begins.
pub(crate) const LOCK_MARK: &[u8] = b"cswatch lock: ";

/// Bytes at the beginning of a file by which it is recognized.
pub(crate) const HEAD_BYTES: u64 = 4096;

/// Why a file next to another one is not used.
#[derive(Debug)]
pub(crate) enum NeighborError {
    /// The error of the file system.
    Io(io::Error),
    /// Why the file is not cswatch's.
    Foreign(&'static str),
}

impl From<io::Error> for NeighborError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for NeighborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Foreign(why) => write!(f, "it {why}"),
        }
    }
}

impl NeighborError {
    /// Returns the failure of a watch (exit code 5) that found this at `path`, which it needs as `role`.
    pub(crate) fn failure(&self, role: &str, path: &Path) -> Failure {
        let shown = path.display();
        match self {
            Self::Io(error) => Failure::new(
                Kind::ResumeFile,
                format!("cannot use {role} {shown}: {error}"),
            )
            .hint("make sure that it and its directory are yours, or give another --resume-file"),
            Self::Foreign(why) => Failure::new(
                Kind::ResumeFile,
                format!("{shown} cannot be the {role} of cswatch: it {why}"),
            )
            .hint("move that file away, or give another --resume-file"),
        }
    }
}

/// Returns the path of the file that cswatch keeps next to `path` for `role`.
pub(crate) fn neighbor(path: &Path, role: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(INFIX);
    name.push(role);
    path.with_file_name(name)
}

/// Returns whether the name of `path` is one that cswatch gives to files next to another one.
pub(crate) fn is_reserved(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let infix = INFIX.as_bytes();
    name.first() == Some(&b'.') && name.windows(infix.len()).any(|part| part == infix)
}

/// Opens the lock file at `path` for reading and writing, and creates it if there is none.
///
/// # Errors
/// When it cannot be opened or is not cswatch's. It is then untouched.
pub(crate) fn open_own(path: &Path) -> Result<File, NeighborError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    platform::keep_private(&mut options);
    open_checked(path, &mut options)
}

/// Opens the file at `path` for reading; `None` if there is none.
///
/// # Errors
/// When it cannot be opened or is not cswatch's.
pub(crate) fn open_own_to_read(path: &Path) -> Result<Option<File>, NeighborError> {
    match open_checked(path, OpenOptions::new().read(true)) {
        Ok(file) => Ok(Some(file)),
        Err(NeighborError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks that the file at `path` is cswatch's, if there is one.
///
/// # Errors
/// When it cannot be opened or is not cswatch's.
pub(crate) fn ensure_own(path: &Path) -> Result<(), NeighborError> {
    open_own_to_read(path).map(drop)
}

/// Removes the file at `path` if it is cswatch's.
///
/// # Errors
/// When it cannot be opened or removed, or is not cswatch's. It is then untouched.
pub(crate) fn remove_own(path: &Path) -> Result<(), NeighborError> {
    if open_own_to_read(path)?.is_some() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Creates a temporary file next to `path`, to be renamed over it or over a neighbor of it.
///
/// # Errors
/// The error of the file system.
pub(crate) fn new_temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let prefix = neighbor(path, TEMPORARY);
    tempfile::Builder::new()
        .prefix(prefix.file_name().unwrap_or_default())
        .rand_bytes(RANDOM_LENGTH)
        .tempfile_in(parent_dir(path))
}

/// Removes the temporary files next to `path` that a killed process left. Must be called only while no other process can be using them.
pub(crate) fn remove_leftovers(path: &Path) {
    let Ok(entries) = fs::read_dir(parent_dir(path)) else {
        return;
    };
    for entry in entries.flatten() {
        if is_temporary_of(path, &entry.file_name()) {
            // A leftover that cannot be removed is harmless, and a file that only looks like one is left alone.
            let _ = remove_own(&entry.path());
        }
    }
}

/// Checks that `path` can be replaced, by creating and removing a temporary file next to it.
///
/// # Errors
/// The error of the file system.
pub(crate) fn ensure_replaceable(path: &Path) -> io::Result<()> {
    let mut temporary = new_temporary(path)?;
    temporary.write_all(format!("{{\"version\":0{MARK}}}\n").as_bytes())
}

fn is_temporary_of(path: &Path, name: &OsStr) -> bool {
    let prefix = neighbor(path, TEMPORARY);
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    let random = name.as_encoded_bytes().strip_prefix(prefix);
    random.is_some_and(|random| {
        random.len() == RANDOM_LENGTH && random.iter().all(u8::is_ascii_alphanumeric)
    })
}

/// Opens the file at `path` with `options`, and checks that it is cswatch's.
fn open_checked(path: &Path, options: &mut OpenOptions) -> Result<File, NeighborError> {
    platform::open_without_following(options);
    let opened = options.open(path);
    if path.is_symlink() {
        return Err(NeighborError::Foreign("is a symbolic link"));
    }
    if path.is_dir() {
        return Err(NeighborError::Foreign("is a directory"));
    }
    let mut file = opened?;
    if let Some(why) = platform::why_foreign(&file, path)? {
        return Err(NeighborError::Foreign(why));
    }
    if !is_own_head(&read_head(&file)?) {
        return Err(NeighborError::Foreign("was not written by cswatch"));
    }
    file.rewind()?;
    Ok(file)
}

/// Returns whether `file`, which is read from its start, holds nothing or begins as every JSON text of cswatch does.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn holds_own_json(file: &File) -> io::Result<bool> {
    let head = read_head(file)?;
    Ok(head.is_empty() || is_own_json(&head))
}

fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// Returns whether a file that begins with `head` was written by cswatch. So is one that holds nothing: a process that was killed, or a
/// power loss, may have left a file without its content, or with zeros in place of it.
fn is_own_head(head: &[u8]) -> bool {
    let is_short = (head.len() as u64) < HEAD_BYTES;
    (is_short && head.iter().all(|byte| *byte == 0))
        || head.starts_with(LOCK_MARK)
        || is_own_json(head)
}

/// Returns whether `text` begins as every JSON text of cswatch does: with its version and the name of the program.
fn is_own_json(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(br#"{"version":"#) else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest[digits..].starts_with(MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_the_names_of_its_own_temporary_files_only() {
        let path = Path::new("dir/resume.json");
        for (name, is_temporary) in [
            (".resume.json.cswatch-tmp.aB3xYz", true),
            (".resume.json.cswatch-tmp.aB3xY", false),
            (".resume.json.cswatch-tmp.aB3.Yz", false),
            (".resume.json.cswatch-tmp.notes.txt", false),
            (".resume.json.tmp.aB3xYz", false),
            ("resume.json.cswatch-tmp.aB3xYz", false),
        ] {
            let found = is_temporary_of(path, OsStr::new(name));
            assert_eq!(found, is_temporary, "{name}");
        }
        let temporary = new_temporary(Path::new("resume.json")).unwrap();
        let name = temporary.path().file_name().unwrap();
        assert!(is_temporary_of(Path::new("resume.json"), name), "{name:?}");
    }

    #[test]
    fn recognizes_its_own_content_only() {
        for (head, is_own) in [
            (&b""[..], true),
            (b"\0\0\0\0", true),
            (b"cswatch lock: pid 1 on host h\n", true),
            (br#"{"version":1,"program":"cswatch","set":null"#, true),
            (br#"{"version":12,"program":"cswatch"}"#, true),
            (br#"{"version":,"program":"cswatch"}"#, false),
            (br#"{"version":1,"program":"other"}"#, false),
            (b"{}", false),
            (b"pid 1 on host h\n", false),
            (b"[[package]]\nname = \"cswatch\"\n", false),
            (&[0; HEAD_BYTES as usize], false),
        ] {
            let shown = String::from_utf8_lossy(head);
            assert_eq!(is_own_head(head), is_own, "{shown}");
        }
    }
}
