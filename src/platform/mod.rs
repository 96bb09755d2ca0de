//! Differences between operating systems, behind the same items for each. Decides nothing: anything that needs more than these items
//! belongs to the module that needs it.

mod pipe;
#[cfg(feature = "nats")]
mod process;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use self::pipe::{stdout_pipe, try_write_now};
#[cfg(feature = "nats")]
pub(crate) use self::process::ProcessIdentity;
#[cfg(unix)]
pub(crate) use self::unix::*;
#[cfg(windows)]
pub(crate) use self::windows::*;

/// Identity of a file on its machine, which stays the same when the file is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The file system.
    pub(crate) device: u64,
    /// The file in it.
    pub(crate) inode: u64,
}

/// A signal of Unix or an event of a Windows console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShutdownSignal {
    /// Whether it is SIGHUP: a terminal closed, or files should be reopened. Never on Windows, where no event asks to reopen files.
    pub(crate) is_hangup: bool,
    /// The exit code of a process that the signal ends immediately.
    pub(crate) exit_code: i32,
}

/// The largest freed block that glibc is made to keep: above the replies of ordinary events (600 KB), below the largest that glibc adapts
/// to (32 MB).
const MAX_KEPT_BLOCK: usize = 16 * 1024 * 1024;

/// Makes glibc keep up to 32 MB of freed memory for the next reply.
///
/// glibc returns memory above a threshold to the kernel as soon as it is freed. That cost 300 page faults for each reply of 600 KB: a third
/// of the client's CPU time (29,000 faults in a drain of 100,000 events, 1,000 with this). The threshold follows the largest block that
/// was mapped on its own and freed (`M_MMAP_THRESHOLD` in <https://man7.org/linux/man-pages/man3/mallopt.3.html>). The block allocated
/// here is never touched, and therefore costs no memory. Other allocators allocate and free it without an effect.
pub(crate) fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        MAX_KEPT_BLOCK,
    )));
}
