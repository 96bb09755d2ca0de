//! The path of a resume file, with symbolic links resolved: a rename replaces a link, not its target.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::files;
use crate::platform;

use super::resume_file::failure;

/// Links that lead to one another. Linux gives up at this number, too.
const MAX_LINKS: usize = 40;

/// Returns `path` with symbolic links resolved, also if the last one points to a file that does not exist yet.
///
/// # Errors
/// Exit code 5 when no resume file can be there: it is a directory or a device, its name is one that cswatch gives to other files, or a
/// link to it is another user's.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let resolved = follow(path)?;
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
    if files::is_reserved(&resolved) {
        return Err(failure(
            &resolved,
            "has a name that cswatch gives to its lock, heartbeat and temporary files",
        )
        .hint("give --resume-file a name without .cswatch-"));
    }
    Ok(resolved)
}

/// Follows the links at `path` itself, then those in the directories that lead there.
fn follow(path: &Path) -> Result<PathBuf, Failure> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(fs::canonicalize(&path).unwrap_or(path));
        };
        // In a directory such as `/tmp` anyone could choose the file that is written.
        let is_trusted = path
            .symlink_metadata()
            .and_then(|link| platform::is_trusted(&link, &path));
        if !is_trusted.unwrap_or(false) {
            return Err(
                failure(&path, "is a symbolic link of another user").hint(format!(
                    "give --resume-file {} if that is the file you mean",
                    target.display()
                )),
            );
        }
        path = files::parent_dir(&path).join(target);
    }
    Err(failure(&path, "is a symbolic link to itself").hint("name a regular file"))
}
