//! Local files: reads that are bounded, files next to another one that belong to cswatch, and what file systems lack.
//! Knows what makes a file cswatch's own, not what its files are for.

mod bounded;
mod lacking;
mod neighbor;

use std::path::Path;

pub(crate) use self::bounded::{open_regular, read_regular, read_text};
pub(crate) use self::lacking::{LockState, lock_state, sync_dir};
pub(crate) use self::neighbor::{
    HEAD_BYTES, LOCK_MARK, NeighborError, ensure_own, ensure_replaceable, holds_own_json,
    is_reserved, neighbor, new_temporary, open_own, open_own_to_read, remove_leftovers, remove_own,
};

/// Returns the directory that `path` is in; `.` for a bare name.
pub(crate) fn parent_dir(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
