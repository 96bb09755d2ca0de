//! Replacement of whole files, by way of temporary files next to them.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Returns the directory that `path` is in; `.` for a bare name.
pub(crate) fn parent_dir(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Returns the last component of `path` as text.
pub(crate) fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Returns the prefix of the names of temporary files next to `path`.
fn temporary_prefix(path: &Path) -> String {
    format!(".{}.tmp.", name(path))
}

/// Creates a temporary file next to `path`, to be renamed over it.
///
/// # Errors
/// The error of the file system.
pub(crate) fn new_temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&temporary_prefix(path))
        .tempfile_in(parent_dir(path))
}

/// Removes the temporary files next to `path` that a killed process left. Must be called only while no other process can be using them.
pub(crate) fn remove_leftovers(path: &Path) {
    let Ok(entries) = fs::read_dir(parent_dir(path)) else {
        return;
    };
    let prefix = temporary_prefix(path);
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix))
        {
            // A leftover that cannot be removed is harmless.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Checks that `path` can be replaced, by creating and removing a temporary file next to it.
///
/// # Errors
/// The error of the file system.
pub(crate) fn ensure_replaceable(path: &Path) -> io::Result<()> {
    new_temporary(path).and_then(|mut temporary| temporary.write_all(b"{}"))
}
