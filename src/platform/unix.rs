//! The items of Unix.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
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

/// Opens `path` for reading and appending, locked for this process.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process has it locked.
pub(crate) fn open_to_append(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    keep_private(&mut options);
    let file = options.read(true).append(true).create(create).open(path)?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        // Where there are no locks (some network file systems), only the resume file's lock is left.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
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
