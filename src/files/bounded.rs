//! Reads of whole files that end at a limit, whatever the file turns out to be: a device that never ends, a sparse file, a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::platform;

/// Reads the regular file at `path`. Never waits for the other end of a pipe.
///
/// # Errors
/// The error of the file system; an error that names the reason when it is not a regular file or holds more than `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    // Nothing is read of a file that is too large anyway.
    if file.metadata()?.len() > limit {
        return Err(too_large(limit));
    }
    read_up_to(file, limit)
}

/// Opens the regular file at `path` for reading. Never waits for the other end of a pipe.
///
/// # Errors
/// The error of the file system; an error that names the reason when it is not a regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    platform::open_without_waiting(&mut options);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok(file)
}

/// Reads the text of the file at `path`, which may also be a pipe, as the shell's `<(...)` is. Waits for its end, as its user asked for.
///
/// # Errors
/// The error of the file system; an error that names the reason when it holds more than `limit` bytes or is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = read_up_to(File::open(path)?, limit)?;
    String::from_utf8(text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads to the end of `file`. The limit is checked while reading: the size of a pipe or a device is unknown, and a file may grow.
fn read_up_to(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(content)
}

fn too_large(limit: u64) -> io::Error {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let limit = match limit {
        MIB.. => format!("{} MiB", limit / MIB),
        _ => format!("{} KiB", limit / KIB),
    };
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {limit}"),
    )
}
