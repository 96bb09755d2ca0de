//! The items of Unix.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{FileId, ShutdownSignal};

/// Shells report this plus the signal's number for a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 128;

/// The signals that request a shutdown or a reopening.
#[derive(Debug)]
pub(crate) struct ShutdownSignals {
    /// `None` if the process was started with SIGINT ignored.
    interrupt: Option<Signal>,
    terminate: Signal,
    /// `None` if the process was started with SIGHUP ignored.
    hangup: Option<Signal>,
}

impl ShutdownSignals {
    /// Listens for SIGINT, SIGTERM and SIGHUP. Must be called on a runtime, once.
    ///
    /// A SIGINT or SIGHUP that the process was started with as ignored stays ignored: a shell without job control does that to background
    /// jobs, and `nohup` to survive the terminal. With `reopens` SIGHUP ends nothing, and is always listened for.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen(reopens: bool) -> io::Result<Self> {
        let ignored = ignored_signals();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored & (1 << (kind.as_raw_value() - 1)) != 0;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match reopens {
                true => Some(signal(SignalKind::hangup())?),
                false => unless_ignored(SignalKind::hangup())?,
            },
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> ShutdownSignal {
        let kind = tokio::select! {
            () = received(&mut self.interrupt) => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = received(&mut self.hangup) => SignalKind::hangup(),
        };
        ShutdownSignal {
            is_hangup: kind == SignalKind::hangup(),
            exit_code: ENDED_BY_SIGNAL + kind.as_raw_value(),
        }
    }
}

/// Waits until a signal is received; forever for one that is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns the signals that this process ignores, as a mask: bit 0 is signal 1. Without `/proc`, as on macOS, it is empty.
fn ignored_signals() -> u64 {
    // See `proc_pid_status(5)`.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// The signal that requests a status line.
#[derive(Debug)]
pub(crate) struct StatusSignals(Signal);

impl StatusSignals {
    /// Listens for SIGUSR1. Must be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::user_defined1()).map(Self)
    }

    /// Waits for the next signal. Returns `None` if none can come any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}

/// Standard output without a buffer: bytes that a write accepted are out.
#[derive(Debug)]
pub(crate) struct Stdout(File);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns standard output.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout() -> io::Result<Stdout> {
    let stdout = stdout_file()?;
    if is_placeholder(&stdout) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(Stdout(stdout))
}

/// Returns whether `stdout` is what the Rust runtime opens in place of a closed descriptor before `main` runs: `/dev/null`, for reading and
/// writing (`sanitize_standard_fds` in `library/std/src/sys/pal/unix/mod.rs`). A shell's `> /dev/null` is for writing only.
fn is_placeholder(stdout: &File) -> bool {
    let is_null = match (file_id(stdout), file_id_at(Path::new("/dev/null"))) {
        (Ok(id), Ok(null)) => id == null,
        _ => false,
    };
    is_null
        && rustix::fs::fcntl_getfl(stdout).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR)
}

/// Returns whether every write to `file` goes to its end, as with the `>>` of a shell.
pub(crate) fn is_append(file: &File) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::APPEND))
}

/// Returns whether nothing reads from `file` while it is written: it is a regular file or a device such as `/dev/null`, and neither a
/// terminal nor a pipe or socket.
pub(crate) fn is_unread(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| {
        metadata.is_file() || metadata.file_type().is_char_device() && !file.is_terminal()
    })
}

/// Returns whether two descriptors of one regular file share an offset, as after `> FILE 2>&1` of a shell. The file is not changed.
///
/// # Errors
/// When their flags cannot be read or set.
pub(crate) fn shares_offset(file: &File, other: &File) -> io::Result<bool> {
    use rustix::fs::{fcntl_getfl, fcntl_setfl};
    // Descriptors that share an offset share these flags (`open(2)`, "Open file descriptions"). This one has no effect on a regular file.
    let flags = fcntl_getfl(file)?;
    let other_flags = fcntl_getfl(other)?;
    fcntl_setfl(file, flags ^ OFlags::NONBLOCK)?;
    let is_shared = fcntl_getfl(other).map(|changed| changed != other_flags);
    fcntl_setfl(file, flags)?;
    Ok(is_shared?)
}

/// Opens the same file once more, for reading. Its offset is another one on Linux.
///
/// # Errors
/// When this user may not read it. Elsewhere than on Linux, reading fails if `file` is open for writing only.
pub(crate) fn reopen_to_read(file: &File) -> io::Result<File> {
    if cfg!(target_os = "linux") {
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    } else {
        file.try_clone()
    }
}

/// Returns standard output as a file that can be inspected.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout_file() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Returns standard error as a file that can be inspected.
///
/// # Errors
/// When it is closed.
pub(crate) fn stderr_file() -> io::Result<File> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

/// Waits until `stdout` accepts more bytes. Needed when a parent process made the terminal or pipe that it shares non-blocking.
///
/// # Errors
/// When `poll` fails.
pub(crate) fn wait_writable(stdout: &Stdout) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(&stdout.0, PollFlags::OUT)], None)?;
    Ok(())
}

/// Opens `path` for reading and appending.
///
/// # Errors
/// The error of the file system.
pub(crate) fn open_to_append(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    keep_private(&mut options);
    options.read(true).append(true).create(create).open(path)
}

/// Locks `file`, opened by [`open_to_append`], against other writers.
///
/// # Errors
/// When another process has it locked, or the file system has no locks.
pub(crate) fn lock_for_writing(file: &File) -> Result<(), TryLockError> {
    file.try_lock()
}

/// Makes `options` open what a path names itself: not the target of a symbolic link. Opening a pipe does not wait for its other end.
pub(crate) fn open_without_following(options: &mut OpenOptions) {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
}

/// Makes opening a pipe with `options` not wait for its other end.
pub(crate) fn open_without_waiting(options: &mut OpenOptions) {
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
}

/// Returns why `file`, opened from `path` without following links, may be more than a file of this user that cswatch made; `None` if it is
/// a regular file, has no other name, and belongs to this user, to root or to the owner of its directory. (A network file system may show
/// every file as another user's; then its directories are too.)
///
/// # Errors
/// When metadata cannot be read.
pub(crate) fn why_foreign(file: &File, path: &Path) -> io::Result<Option<&'static str>> {
    let opened = file.metadata()?;
    // One look at the name shows both that it still leads to this file and that the file has no other name: a hard link that is removed
    // after the file was opened would be seen in neither alone.
    let named = path.symlink_metadata()?;
    Ok(if !opened.is_file() {
        Some("is not a regular file")
    } else if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        Some("was replaced while it was opened")
    } else if named.nlink() > 1 {
        Some("has another name (a hard link)")
    } else if !is_trusted(&named, path)? {
        Some("belongs to another user")
    } else {
        None
    })
}

/// Returns whether the file or link at `path` belongs to this user, to root or to the owner of its directory. Anyone may put files into
/// a directory such as `/tmp`.
///
/// # Errors
/// When the metadata of the directory cannot be read.
pub(crate) fn is_trusted(metadata: &Metadata, path: &Path) -> io::Result<bool> {
    let owner = metadata.uid();
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(true);
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Ok(directory.unwrap_or(Path::new(".")).metadata()?.uid() == owner)
}

/// Returns whether a file system is mounted at `path` itself, as with a bind mount of a single file. Such a file cannot be replaced by
/// a rename (EBUSY). False where the system does not report it (before Linux 5.8).
pub(crate) fn is_mount_point(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
        statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Returns whether `error` means that the file system lacks what was asked for: locks (NFS without a lock daemon: ENOLCK), or a sync of
/// a directory (EINVAL on some network and FUSE file systems).
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    // Two names of one number on Linux.
    const UNSUPPORTED: [Errno; 5] = [
        Errno::NOLCK,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::NOTSUP,
        Errno::OPNOTSUPP,
    ];
    Errno::from_io_error(error).is_some_and(|error| UNSUPPORTED.contains(&error))
}

/// Returns whether `error` means that another process has locked what was to be read. Never here: locks are advisory.
pub(crate) fn is_lock_violation(_: &io::Error) -> bool {
    false
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) fail with EFBIG. By default SIGXFSZ ends the process before it
/// can report which file it was.
///
/// # Errors
/// When the system refuses a signal handler.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    // A handler stays installed after its runtime and its receiver are gone. To ignore the signal instead would need `unsafe`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _guard = runtime.enter();
    let number = rustix::process::Signal::XFSZ.as_raw();
    signal(SignalKind::from_raw(number)).map(drop)
}

/// Releases the lock of `file`, so that [`open_to_append`] can open it again while it is open here.
///
/// # Errors
/// When the system refuses.
pub(crate) fn release(file: &File) -> io::Result<()> {
    file.unlock()
}

/// Creates the directory `path` and its parents, accessible to their owner only; leaves those that exist as they are.
///
/// # Errors
/// When the system refuses.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes files that `options` create accessible to their owner only.
pub(crate) fn keep_private(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Returns the identity of `file`.
///
/// # Errors
/// When its metadata cannot be read.
pub(crate) fn file_id(file: &File) -> io::Result<FileId> {
    file.metadata().map(|metadata| FileId::of(&metadata))
}

/// Returns the identity of the file or directory that `path` leads to, without opening it.
///
/// # Errors
/// When its metadata cannot be read.
pub(crate) fn file_id_at(path: &Path) -> io::Result<FileId> {
    path.metadata().map(|metadata| FileId::of(&metadata))
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Returns whether the file of this metadata still has a name.
pub(crate) fn is_linked(metadata: &Metadata) -> bool {
    metadata.nlink() > 0
}

/// Returns whether it is the metadata of a pipe.
pub(crate) fn is_pipe(metadata: &Metadata) -> bool {
    metadata.file_type().is_fifo()
}

/// Fills `bytes` with the bytes of `file` at `offset`. The offset of the next write stays as it is.
///
/// # Errors
/// When the file cannot be read or ends before `bytes` is full.
pub(crate) fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

/// Returns how many files this process may have open; `None` without a limit.
pub(crate) fn max_open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Returns the directory for a program's state: `$XDG_STATE_HOME`, or the default that stands for it
/// (<https://specifications.freedesktop.org/basedir/latest/>).
pub(crate) fn state_home() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        // The specification requires that relative paths are ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
}

/// The reason why [`state_home`] returns `None`.
pub(crate) const NO_STATE_HOME: &str = "neither XDG_STATE_HOME nor HOME is set";

/// Syncs a directory, so that a rename in it survives a power loss.
///
/// # Errors
/// When it cannot be synced.
pub(crate) fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
