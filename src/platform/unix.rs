//! Unix.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{FileId, Request};

/// What shells report for a process that a signal ended: 128 and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Signals that ask for something.
#[derive(Debug)]
pub(crate) struct Requests {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Requests {
    /// SIGINT, SIGTERM and SIGHUP. To be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Request {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        Request {
            is_hang_up: kind == SignalKind::hangup(),
            exit_code: ENDED_BY_SIGNAL + kind.as_raw_value(),
        }
    }
}

/// The signal that asks for a status line.
#[derive(Debug)]
pub(crate) struct StatusRequests(Signal);

impl StatusRequests {
    /// SIGUSR1. To be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::user_defined1()).map(Self)
    }

    /// Waits for the next one. `None` when none can come any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}

/// Standard output without a buffer: what a write accepts is out.
pub(crate) type Stdout = File;

/// Standard output.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout() -> io::Result<Stdout> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Waits until `file` takes more, when a parent has made the terminal or pipe that it shares non-blocking.
///
/// # Errors
/// When that cannot be waited for.
pub(crate) fn wait_writable(file: &Stdout) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
    Ok(())
}

/// Opens `path` to read it and to append to it, for this process alone.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process has it.
pub(crate) fn open_to_append(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(create).open(path)?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        // Without locks (some network file systems) the position file's lock is what there is.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Lets `file` be opened by [`open_to_append`] again while it is open here.
///
/// # Errors
/// When the system refuses.
pub(crate) fn let_go(file: &File) -> io::Result<()> {
    file.unlock()
}

/// Makes files that `options` creates the owner's alone.
pub(crate) fn keep_private(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Which file it is.
///
/// # Errors
/// When the system does not say.
pub(crate) fn file_id(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// Whether it is a named pipe.
pub(crate) fn is_pipe(metadata: &Metadata) -> bool {
    metadata.file_type().is_fifo()
}

/// Fills `bytes` from byte `from` of `file` on. Where the file is written next stays as it is.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn read_at(file: &File, from: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(bytes, from)
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Where a program keeps what it has to remember: `$XDG_STATE_HOME`, or the place that stands for it
/// (<https://specifications.freedesktop.org/basedir/latest/>).
pub(crate) fn state_home() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        // The specification has relative paths ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
}

/// Why [`state_home`] knows none.
pub(crate) const NO_STATE_HOME: &str = "neither XDG_STATE_HOME nor HOME is set";

/// Makes what was renamed in `folder` survive a power loss.
///
/// # Errors
/// When it cannot be synced.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
