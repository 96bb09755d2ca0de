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
pub(crate) struct ShutdownSignal {
    /// Whether a terminal closed, or somebody wants files to be opened anew. Never on Windows, where closing a console does not ask for
    /// the latter.
    pub(crate) is_hang_up: bool,
    /// The exit code of a process that it ends at once.
    pub(crate) exit_code: i32,
}

/// The largest freed block that glibc is made to keep: above the replies of ordinary events (600 KB), below the largest that glibc learns
/// from (32 MB).
const MAX_KEPT_BLOCK: usize = 16 * 1024 * 1024;

/// Makes glibc keep up to 32 MB of freed memory for the next reply.
///
/// glibc returns memory above a threshold to the kernel as soon as it is freed, which cost 300 page faults for each reply of 600 KB: a
/// third of the client's CPU time (29,000 faults in a drain of 100,000 events, 1,000 with this). The threshold follows the largest
/// block that was mapped on its own and freed (`M_MMAP_THRESHOLD` in <https://man7.org/linux/man-pages/man3/mallopt.3.html>). This
/// block is never touched, and so costs no memory. Other allocators allocate and free a block.
pub(crate) fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        MAX_KEPT_BLOCK,
    )));
}
