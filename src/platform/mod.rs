//! What differs between operating systems, and nothing else: the same items, once for each kind. What needs more than these to differ
//! belongs to the room that needs it.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use self::unix::*;
#[cfg(windows)]
pub(crate) use self::windows::*;

/// What tells a file from every other one on its machine, also after it was renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The file system.
    pub(crate) device: u64,
    /// The file in it.
    pub(crate) inode: u64,
}

/// A signal of Unix or an event of a Windows console, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Whether a terminal closed, or somebody wants files to be opened anew. Never on Windows, where closing a console does not ask for
    /// the latter.
    pub(crate) is_hang_up: bool,
    /// The exit code of a process that it ends at once.
    pub(crate) exit_code: i32,
}
