//! What can be checked of an output file before it is opened.

use std::path::Path;

use crate::error::Failure;
use crate::files;
use crate::platform;

use super::failures::{cannot, unusable};

/// Returns whether there is no file at `path`.
pub(super) fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Checks what can be checked of an output file at `path` before the checkpoint is known: that it is a regular file, or that its directory
/// exists.
///
/// # Errors
/// Exit code 6.
pub(crate) fn ensure_openable(path: &Path) -> Result<(), Failure> {
    if is_missing(path) {
        ensure_directory(path)?;
    }
    ensure_regular(path)
}

/// Fails if the directory of the file at `path` does not exist.
pub(super) fn ensure_directory(path: &Path) -> Result<(), Failure> {
    let directory = files::parent_dir(path);
    if directory.is_dir() {
        return Ok(());
    }
    let why = format!("directory {} does not exist", directory.display());
    Err(cannot("open", path, &why).hint("create that directory, or name a file elsewhere"))
}

/// Fails if there is something else than a regular file at `path`. Must be called before it is opened: opening a pipe without a reader would
/// block.
pub(super) fn ensure_regular(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = path.metadata() else {
        return Ok(());
    };
    if metadata.is_file() {
        return Ok(());
    }
    let why = if metadata.is_dir() {
        "is a directory"
    } else if platform::is_pipe(&metadata) {
        "is a pipe, which cannot hold each event exactly once"
    } else {
        "is a device, which cannot hold each event exactly once"
    };
    Err(unusable(path, why).hint("name a regular file, or omit --output to use stdout"))
}
