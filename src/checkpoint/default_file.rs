//! The default resume file: chosen after connecting, by deployment and scope alone. How the connection string is written, the filter and
//! the options make no difference, so that a watch resumes whatever else its command line says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bson::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::config::StreamSpec;
use crate::deployment::{Comparison, DeploymentId};
use crate::error::{Failure, Kind};
use crate::files;
use crate::platform;

use super::Checkpoint;
use super::content::scope_of;
use super::resume_file;

/// Number of hex digits of the hash in a file name. 48 bits are enough to distinguish the streams of one user.
const HASH_DIGITS: usize = 12;

/// Maximum number of characters of database and collection in a file name. At three bytes each the name stays below the 255 bytes that
/// file systems allow.
const MAX_NAME_CHARS: usize = 60;

/// The extension of a resume file, with its dot.
const EXTENSION: &str = ".json";

/// A resume file that was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The path of the file. There may be no file yet.
    pub(crate) path: PathBuf,
    /// Resume files of this scope that belong to other deployments, if none belongs to this one: maybe the user expected one of them.
    pub(crate) others: Vec<PathBuf>,
}

/// Creates `folder`, the folder of default resume files, if there is none, and checks that files can be created in it.
///
/// # Errors
/// Exit code 5 when that cannot be done.
pub(crate) fn prepare(folder: &Path) -> Result<(), Failure> {
    platform::create_private_dir(folder)
        .map_err(|error| unusable("create", folder, &error))
        .and_then(|()| ensure_writable(folder))
}

/// Checks that files can be created in `folder`, if it exists; creates nothing.
///
/// # Errors
/// Exit code 5 when they cannot.
pub(crate) fn inspect(folder: &Path) -> Result<(), Failure> {
    match folder.try_exists() {
        Ok(false) => Ok(()),
        _ => ensure_writable(folder),
    }
}

fn ensure_writable(folder: &Path) -> Result<(), Failure> {
    files::ensure_replaceable(&folder.join("any"))
        .map_err(|error| unusable("write to", folder, &error))
}

fn unusable(operation: &str, folder: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Kind::ResumeFile,
        format!(
            "cannot {operation} the folder of resume files, {}: {error}",
            folder.display()
        ),
    )
    .hint("make it writable, give --resume-file FILE, or use --no-resume")
}

/// Chooses the resume file in `folder` for `stream` on the deployment `current`, whose cluster time is `now`.
///
/// A user who may read more or less of the identity than the one before must find the same file, so that a file whose recorded deployment
/// matches comes first, and the name counts only for a new file.
///
/// # Errors
/// Exit code 5 when no file matches and one cannot be read or is damaged: it may be the one that is looked for.
pub(crate) fn choose(
    folder: &Path,
    stream: &StreamSpec,
    current: &DeploymentId,
    now: Option<Timestamp>,
) -> Result<Choice, Failure> {
    // A server without a cluster time has no change streams either; opening the stream reports that.
    const NEVER: Timestamp = Timestamp {
        time: 0,
        increment: 0,
    };
    let now = now.unwrap_or(NEVER);
    let stem = stem(stream);
    let path = folder.join(format!("{stem}{}{EXTENSION}", hash(stream, current)));
    let mut matches = Vec::new();
    let mut others = Vec::new();
    let mut unreadable = None;
    for candidate in candidates(folder, &stem)? {
        match load(&candidate, stream) {
            Ok(None) => {}
            Ok(Some(saved)) => match saved.deployment.compare(current, now) {
                Comparison::Different(_) => others.push(candidate),
                compared => {
                    let is_proven = compared == Comparison::Same;
                    let rank = (is_proven, saved.same_filter, saved.token.time());
                    matches.push((rank, candidate));
                }
            },
            Err(failure) => unreadable = Some(failure),
        }
    }
    if let Some((_, path)) = matches.into_iter().max() {
        return Ok(Choice {
            path,
            others: Vec::new(),
        });
    }
    match unreadable {
        Some(failure) => Err(failure),
        None => Ok(Choice { path, others }),
    }
}

/// Loads the checkpoint of a candidate; `None` if it is of another scope, or was removed meanwhile.
fn load(path: &Path, stream: &StreamSpec) -> Result<Option<Checkpoint>, Failure> {
    let Some(text) = resume_file::read(path)? else {
        return Ok(None);
    };
    let scope = stream.scope_id();
    // The names of two scopes may differ only after the part that a file name holds.
    if scope_of(&text).is_some_and(|saved| saved != scope) {
        return Ok(None);
    }
    Checkpoint::from_text(&text, path, &scope, &stream.fingerprint()).map(Some)
}

/// Returns the files in `folder` that are named like a default resume file of this stem, in the order of their names.
fn candidates(folder: &Path, stem: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable("read", folder, &error)),
    };
    let is_named = |name: &str| {
        name.strip_prefix(stem)
            .and_then(|rest| rest.strip_suffix(EXTENSION))
            .is_some_and(|hash| {
                hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            })
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unusable("read", folder, &error))?;
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(is_named) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns the part of the file name before the hash: database and collection, for people.
fn stem(stream: &StreamSpec) -> String {
    let (db, coll) = stream.scope.names();
    let name: String = format!("{db}.{coll}")
        .chars()
        .map(|c| match c {
            // Characters that Windows does not allow in a file name.
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .take(MAX_NAME_CHARS)
        .collect();
    format!("{name}-")
}

fn hash(stream: &StreamSpec, deployment: &DeploymentId) -> String {
    let identity = format!("{}\n{}", deployment.name(), stream.scope_id());
    let mut hash = const_hex::encode(Sha256::digest(identity));
    hash.truncate(HASH_DIGITS);
    hash
}
