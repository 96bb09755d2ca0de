//! The items of Windows. A share mode, not a lock, keeps other writers away from a file that others may read while it is written: a lock
//! of Windows would keep readers away as well.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write};
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use super::{FileId, ShutdownSignal};

/// The exit code of a process that Ctrl-C ended (`STATUS_CONTROL_C_EXIT`).
const ENDED_BY_CONTROL_C: i32 = 0xC000_013A_u32 as i32;

/// A share mode: others may read a file, rename it and remove it, but not write to it (`FILE_SHARE_READ | FILE_SHARE_DELETE`;
/// <https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew>).
const SHARED_WITH_READERS: u32 = 0x1 | 0x4;

/// `ERROR_SHARING_VIOLATION`: another process has the file open in a way that this share mode excludes.
const SHARING_VIOLATION: i32 = 32;

/// `ERROR_INVALID_FUNCTION`: how a file system without locks refuses one.
const INVALID_FUNCTION: i32 = 1;

/// `ERROR_LOCK_VIOLATION`: another process has locked the bytes.
const LOCK_VIOLATION: i32 = 33;

/// `FILE_FLAG_OPEN_REPARSE_POINT`: a symbolic link is opened itself.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// The console events that request a shutdown.
#[derive(Debug)]
pub(crate) struct ShutdownSignals {
    control_c: CtrlC,
    control_break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl ShutdownSignals {
    /// Listens for Ctrl-C, Ctrl-Break, the closing of the console, and the shutdown of the system. Must be called on a runtime. No event
    /// asks to reopen files.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(crate) fn listen(_reopens: bool) -> io::Result<Self> {
        Ok(Self {
            control_c: ctrl_c()?,
            control_break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> ShutdownSignal {
        tokio::select! {
            _ = self.control_c.recv() => {}
            _ = self.control_break.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
        ShutdownSignal {
            is_hangup: false,
            exit_code: ENDED_BY_CONTROL_C,
        }
    }
}

/// The signal that requests a status line. Windows has none.
#[derive(Debug)]
pub(crate) struct StatusSignals;

impl StatusSignals {
    /// Listens for nothing.
    ///
    /// # Errors
    /// None.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns `None`: no signal can come.
    pub(crate) async fn next(&mut self) -> Option<()> {
        None
    }
}

/// Standard output: a console accepts text, everything else accepts bytes.
#[derive(Debug)]
pub(crate) enum Stdout {
    /// Through the standard library, which makes the console show text that is not ASCII.
    Console(io::Stdout),
    /// Without a buffer: bytes that a write accepted are out.
    File(File),
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Console(console) => {
                console.write_all(bytes)?;
                console.flush()?;
                Ok(bytes.len())
            }
            Self::File(file) => file.write(bytes),
        }
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
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Ok(Stdout::Console(stdout));
    }
    stdout_file().map(Stdout::File)
}

/// Returns standard output as a file that can be inspected.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout_file() -> io::Result<File> {
    io::stdout()
        .as_handle()
        .try_clone_to_owned()
        .map(File::from)
}

/// Returns standard error as a file that can be inspected.
///
/// # Errors
/// When it is closed.
pub(crate) fn stderr_file() -> io::Result<File> {
    io::stderr()
        .as_handle()
        .try_clone_to_owned()
        .map(File::from)
}

/// Fails without waiting: stdout is never non-blocking on Windows.
///
/// # Errors
/// Always.
pub(crate) fn wait_writable(_: &Stdout) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// Opens `path` for reading and appending. Only this process may write to it meanwhile; others may read it.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process writes to it.
pub(crate) fn open_to_append(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.share_mode(SHARED_WITH_READERS);
    // Not in append mode, in which a file cannot be truncated (<https://github.com/rust-lang/rust/issues/105437>).
    let opened = options.read(true).write(true).create(create).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error() {
        Some(SHARING_VIOLATION) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Locks nothing: [`open_to_append`] keeps other writers away.
///
/// # Errors
/// None.
pub(crate) fn lock_for_writing(_: &File) -> Result<(), TryLockError> {
    Ok(())
}

/// Makes `options` open what a path names itself: not the target of a symbolic link.
pub(crate) fn open_without_following(options: &mut OpenOptions) {
    options.custom_flags(OPEN_REPARSE_POINT);
}

/// Changes nothing: there are no pipes that opening would wait for.
pub(crate) fn open_without_waiting(_: &mut OpenOptions) {}

/// Returns why `file`, opened without following links, may be more than a file that cswatch made; `None` if it is a regular file that has
/// no other name. Who may put it there is up to its directory.
///
/// # Errors
/// When its information cannot be read.
pub(crate) fn why_foreign(file: &File, _: &Path) -> io::Result<Option<&'static str>> {
    let information = winapi_util::file::information(file)?;
    Ok(if !file.metadata()?.is_file() {
        Some("is not a regular file")
    } else if information.number_of_links() > 1 {
        Some("has another name (a hard link)")
    } else {
        None
    })
}

/// Returns true: who may create links is up to their directory.
///
/// # Errors
/// None.
pub(crate) fn is_trusted(_: &Metadata, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Returns false: only directories are mount points.
pub(crate) fn is_mount_point(_: &Path) -> bool {
    false
}

/// Returns whether `error` means that the file system lacks what was asked for.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(INVALID_FUNCTION)
}

/// Returns whether `error` means that another process has locked what was to be read.
pub(crate) fn is_lock_violation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(LOCK_VIOLATION)
}

/// Changes nothing: there is no limit on the size of files.
///
/// # Errors
/// None.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    Ok(())
}

/// Fails: a file that is open here cannot be opened by [`open_to_append`] again.
///
/// # Errors
/// Always.
pub(crate) fn release(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Creates the directory `path` and its parents, as private as the directory that they are in.
///
/// # Errors
/// When the system refuses.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Changes nothing: files are as private as their directory makes them.
pub(crate) fn keep_private(_: &mut OpenOptions) {}

/// Returns the identity of `file`.
///
/// # Errors
/// When its information cannot be read.
pub(crate) fn file_id(file: &File) -> io::Result<FileId> {
    winapi_util::file::information(file).map(|information| FileId::of(&information))
}

/// Returns the identity of the file or directory that `path` leads to.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn file_id_at(path: &Path) -> io::Result<FileId> {
    let file = winapi_util::Handle::from_path_any(path)?;
    winapi_util::file::information(&file).map(|information| FileId::of(&information))
}

impl FileId {
    fn of(information: &winapi_util::file::Information) -> Self {
        Self {
            device: information.volume_serial_number(),
            inode: information.file_index(),
        }
    }
}

/// Returns true: a file that is open here loses its name only when it is closed.
pub(crate) fn is_linked(_: &Metadata) -> bool {
    true
}

/// Returns false: `>>` of a shell starts at the end of the file, but does not stay there.
pub(crate) fn is_append(_: &File) -> bool {
    false
}

/// Returns whether `file` is a regular file. A console, a pipe and the null device are not.
pub(crate) fn is_unread(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Returns whether two handles of one regular file share an offset, as after `> FILE 2>&1` of a shell. The file is not changed.
///
/// # Errors
/// When an offset cannot be read or set.
pub(crate) fn shares_offset(mut file: &File, mut other: &File) -> io::Result<bool> {
    let (offset, other_offset) = (file.stream_position()?, other.stream_position()?);
    file.seek(SeekFrom::Start(offset + 1))?;
    let is_shared = other.stream_position().map(|moved| moved != other_offset);
    file.seek(SeekFrom::Start(offset))?;
    is_shared
}

/// Returns the same open file.
///
/// # Errors
/// When the system refuses. Reading fails if `file` is open for writing only.
pub(crate) fn reopen_to_read(file: &File) -> io::Result<File> {
    file.try_clone()
}

/// Returns false: no pipe has a path like that of a file.
pub(crate) fn is_pipe(_: &Metadata) -> bool {
    false
}

/// Fills `bytes` with the bytes of `file` at `offset`. The offset of the next write stays as it is.
///
/// # Errors
/// When the file cannot be read or ends before `bytes` is full.
pub(crate) fn read_at(mut file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    // On Windows, reading at an offset moves the file's own offset there.
    let write_offset = file.stream_position()?;
    while !bytes.is_empty() {
        let count = file.seek_read(bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        bytes = &mut bytes[count..];
    }
    file.seek(SeekFrom::Start(write_offset))?;
    Ok(())
}

/// Returns `None`: Windows has no limit on open files that a process reaches with connections.
pub(crate) fn max_open_files() -> Option<u64> {
    None
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Returns the directory for a program's state: `%LOCALAPPDATA%`.
pub(crate) fn state_home() -> Option<PathBuf> {
    std::env::var_os("LOCALAPPDATA")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// The reason why [`state_home`] returns `None`.
pub(crate) const NO_STATE_HOME: &str = "LOCALAPPDATA is not set";

/// Does nothing: Windows cannot sync a directory. A rename in it is as durable as the file system makes it.
///
/// # Errors
/// None.
pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
