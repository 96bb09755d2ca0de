//! The output file under another name: a rotation renamed it, and cswatch was killed before it was asked to reopen. Recognized by content.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::OutputMark;
use crate::files;
use crate::token::ResumeToken;

use super::{Comparison, OutputFile};

/// Maximum number of files next to the output file that are looked at.
const MAX_CANDIDATES: usize = 1000;

/// The renamed file.
pub(super) struct Renamed {
    pub(super) file: OutputFile,
    pub(super) found: Comparison,
}

/// Returns the file next to `path` that was `path` when the checkpoint with `mark` and `token` was saved; `None` if there is none, or if it
/// cannot be recognized. Of several copies it is the longest, which holds the lines of the others.
pub(super) fn find(path: &Path, mark: &OutputMark, token: &ResumeToken) -> Option<Renamed> {
    // Without a byte to compare, every file would match.
    if mark.length == 0 {
        return None;
    }
    candidates(path)
        .filter_map(|candidate| {
            // The file is skipped if it cannot be opened, another process writes to it, or it does not match.
            let file = OutputFile::open_unless_in_use(&candidate, false).ok()??;
            let found = file.compare(mark, token).ok()?;
            Some(Renamed { file, found })
        })
        .max_by_key(|renamed| renamed.found.end)
}

/// Returns the files in the directory of `path` whose names begin with its name, as those of rotated files do.
fn candidates(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .as_encoded_bytes()
        .to_owned();
    let entries = fs::read_dir(files::parent_dir(path)).into_iter().flatten();
    entries
        .flatten()
        .filter(move |entry| {
            let other = entry.file_name();
            let other = other.as_encoded_bytes();
            // A link may lead to a file of another place.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            is_file && other.starts_with(&name) && other.len() > name.len()
        })
        .map(|entry| entry.path())
        .take(MAX_CANDIDATES)
}
