//! Unix.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{FileId, ShutdownSignal};

/// What shells report for a process that a signal ended: 128 and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Signals that ask for something.
#[derive(Debug)]
pub(crate) struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl ShutdownSignals {
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
    pub(crate) async fn next(&mut self) -> ShutdownSignal {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        ShutdownSignal {
            is_hang_up: kind == SignalKind::hangup(),
            exit_code: ENDED_BY_SIGNAL + kind.as_raw_value(),
        }
    }
}

/// The signal that asks for a status line.
#[derive(Debug)]
pub(crate) struct StatusSignals(Signal);

impl StatusSignals {
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
#[derive(Debug)]
pub(crate) struct Stdout {
    file: File,
    /// Whether it may be a pipe that can refuse a write instead of having it wait.
    may_refuse: bool,
}

impl Stdout {
    /// Writes all of `bytes`, when they are accepted as one and without any wait. Otherwise answers false, and nothing was written.
    pub(crate) fn write_at_once(&mut self, bytes: &[u8]) -> bool {
        if !self.may_refuse {
            return false;
        }
        let written = write_or_refuse(&self.file, bytes);
        // What else is wrong will be so the next time.
        self.may_refuse = matches!(written, Ok(()) | Err(Errno::AGAIN | Errno::INTR));
        written.is_ok()
    }
}

/// Writes all of `bytes` to a pipe, or nothing where that would have to wait. The pipe's own flag has the same effect, but everybody
/// shares that who has it open. Named pipes and older kernels do not support this (`pwritev2(2)`; measured on Linux 6.18).
#[cfg(target_os = "linux")]
fn write_or_refuse(pipe: &File, bytes: &[u8]) -> Result<(), Errno> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    use rustix::pipe::PIPE_BUF;
    /// For an offset: where a plain write would go.
    const HERE: u64 = u64::MAX;
    // Up to here as one or not at all, see `pipe(7)`.
    if bytes.len() > PIPE_BUF {
        return Err(Errno::AGAIN);
    }
    pwritev2(
        pipe,
        &[io::IoSlice::new(bytes)],
        HERE,
        ReadWriteFlags::NOWAIT,
    )
    .map(|_: usize| ())
}

/// Only Linux has such a write.
#[cfg(not(target_os = "linux"))]
fn write_or_refuse(_: &File, _: &[u8]) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout() -> io::Result<Stdout> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let may_refuse = file.metadata().is_ok_and(|metadata| is_pipe(&metadata));
    Ok(Stdout { file, may_refuse })
}

/// Waits until `stdout` takes more, when a parent has made the terminal or pipe that it shares non-blocking.
///
/// # Errors
/// When that cannot be waited for.
pub(crate) fn wait_writable(stdout: &Stdout) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(&stdout.file, PollFlags::OUT)], None)?;
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn stdout(file: File) -> Stdout {
        Stdout {
            file,
            may_refuse: true,
        }
    }

    #[test]
    fn a_pipe_takes_lines_at_once_and_whole_or_not_at_all() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (mut reader, mut stdout) = (File::from(reader), stdout(File::from(writer)));
        let line = [b'x'; 1000];
        let mut accepted = 0;
        while stdout.write_at_once(&line) {
            accepted += 1;
        }
        assert!(accepted > 10);
        // There is room again, but not before.
        let mut read = vec![0; 8 * 1024];
        reader.read_exact(&mut read).unwrap();
        assert!(stdout.write_at_once(&line));
        drop(stdout);
        let rest = reader.read_to_end(&mut read).unwrap();
        assert_eq!(8 * 1024 + rest, (accepted + 1) * line.len());
    }

    #[test]
    fn a_pipe_is_not_asked_for_more_than_it_takes_as_one() {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let mut stdout = stdout(File::from(writer));
        assert!(!stdout.write_at_once(&[b'x'; 4097]));
        assert!(stdout.write_at_once(&[b'x'; 4096]));
    }

    #[test]
    fn a_pipe_without_a_reader_takes_nothing() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert!(!stdout(File::from(writer)).write_at_once(b"line"));
    }

    #[test]
    fn what_cannot_refuse_a_write_is_not_written_to() {
        let mut file = tempfile::tempfile().unwrap();
        let mut stdout = stdout(file.try_clone().unwrap());
        // Some file systems can.
        let is_written = stdout.write_at_once(b"line");
        let mut content = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, if is_written { "line" } else { "" });
    }
}
