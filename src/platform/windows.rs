//! Windows. Files that others may read while they are written are kept from other writers by how they are shared, not by a lock: a lock
//! of Windows keeps readers away as well.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write};
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use super::{FileId, ShutdownSignal};

/// What the system reports for a process that Ctrl-C ended (`STATUS_CONTROL_C_EXIT`).
const ENDED_BY_CONTROL_C: i32 = 0xC000_013A_u32 as i32;

/// Others may read a file, rename it and remove it, not write to it (`FILE_SHARE_READ | FILE_SHARE_DELETE`;
/// <https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew>).
const SHARED_WITH_READERS: u32 = 0x1 | 0x4;

/// `ERROR_SHARING_VIOLATION`.
const IS_SHARED_OTHERWISE: i32 = 32;

/// Console events that ask for something.
#[derive(Debug)]
pub(crate) struct ShutdownSignals {
    control_c: CtrlC,
    control_break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl ShutdownSignals {
    /// Ctrl-C, Ctrl-Break, a console that is closed, and the end of the system. To be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            control_c: ctrl_c()?,
            control_break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> ShutdownSignal {
        tokio::select! {
            _ = self.control_c.recv() => {}
            _ = self.control_break.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
        ShutdownSignal {
            is_hang_up: false,
            exit_code: ENDED_BY_CONTROL_C,
        }
    }
}

/// What asks for a status line: nothing here.
#[derive(Debug)]
pub(crate) struct StatusSignals;

impl StatusSignals {
    /// Nothing to listen for.
    ///
    /// # Errors
    /// None.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// None can come.
    pub(crate) async fn next(&mut self) -> Option<()> {
        None
    }
}

/// Standard output: a console takes text, everything else takes bytes.
#[derive(Debug)]
pub(crate) enum Stdout {
    /// By the standard library, which has the console show what is not ASCII.
    Console(io::Stdout),
    /// Without a buffer: what a write accepts is out.
    File(File),
}

impl Stdout {
    /// Nothing here refuses a write that would have to wait: answers false, and nothing was written.
    pub(crate) fn write_at_once(&mut self, _: &[u8]) -> bool {
        false
    }
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

/// Standard output.
///
/// # Errors
/// When it is closed.
pub(crate) fn stdout() -> io::Result<Stdout> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Ok(Stdout::Console(stdout));
    }
    let handle = stdout.as_handle().try_clone_to_owned()?;
    Ok(Stdout::File(File::from(handle)))
}

/// Nothing here refuses a write that would have to wait.
///
/// # Errors
/// Always.
pub(crate) fn wait_writable(_: &Stdout) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// Opens `path` to read it and to write behind its end, for this process alone; others may read it meanwhile.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when another process writes to it.
pub(crate) fn open_to_append(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.share_mode(SHARED_WITH_READERS);
    // Not for appending alone, with which a file cannot be cut (<https://github.com/rust-lang/rust/issues/105437>).
    let opened = options.read(true).write(true).create(create).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error() {
        Some(IS_SHARED_OTHERWISE) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// A file that is open here cannot be opened by [`open_to_append`] again.
///
/// # Errors
/// Always.
pub(crate) fn let_go(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Files are as private as their folder makes them.
pub(crate) fn keep_private(_: &mut OpenOptions) {}

/// Which file it is.
///
/// # Errors
/// When the system does not say.
pub(crate) fn file_id(file: &File) -> io::Result<FileId> {
    let information = winapi_util::file::information(file)?;
    Ok(FileId {
        device: information.volume_serial_number(),
        inode: information.file_index(),
    })
}

/// None has a path like that of a file.
pub(crate) fn is_pipe(_: &Metadata) -> bool {
    false
}

/// Fills `bytes` from byte `from` of `file` on. Where the file is written next stays as it is.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn read_at(mut file: &File, mut from: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    // Reading at a place moves there, on this system.
    let place = file.stream_position()?;
    while !bytes.is_empty() {
        let count = file.seek_read(bytes, from)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        from += count as u64;
        bytes = &mut bytes[count..];
    }
    file.seek(SeekFrom::Start(place))?;
    Ok(())
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Where a program keeps what it has to remember: `%LOCALAPPDATA%`.
pub(crate) fn state_home() -> Option<PathBuf> {
    std::env::var_os("LOCALAPPDATA")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// Why [`state_home`] knows none.
pub(crate) const NO_STATE_HOME: &str = "LOCALAPPDATA is not set";

/// A folder cannot be synced here; what was renamed in it is as safe as the file system makes it.
///
/// # Errors
/// None.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
