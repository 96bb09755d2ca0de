//! The programs of this repository: their paths, and how to build those that cargo has not built yet.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the path of the `cswatch` that belongs to this program. Cargo builds it before it runs tests or benchmarks; an example
/// must [`build`] it.
pub fn cswatch() -> PathBuf {
    profile_directory().join("cswatch")
}

/// Returns the path of an example, which must have been [`built`](build).
pub fn example(name: &str) -> PathBuf {
    profile_directory().join("examples").join(name)
}

/// Builds the programs that these arguments of `cargo build` name, in the profile of this program.
///
/// # Panics
/// If the build fails; cargo has printed the reason.
#[track_caller]
pub fn build(targets: &[&str]) {
    let directory = profile_directory();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // `cargo run` and `cargo test` set these for this program. The build script of ring, below the driver's TLS, watches some of
    // them. If this build saw them and the next did not, cargo would compile the driver again each time.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .args(["build", "--profile", profile])
        .args(targets)
        .arg("--manifest-path")
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build ended with {status}");
}

/// Returns the target directory of cargo: `CARGO_TARGET_DIR`, or else `target/`. Downloads are kept there too.
pub fn target_directory() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => directory.into(),
        None => Path::new(ROOT).join("target"),
    }
}

/// Returns the directory of the profile that this program was built with, such as `target/debug`.
fn profile_directory() -> PathBuf {
    let own_path = env::current_exe().expect("the path of this program");
    // target/<profile>/examples/demo, or target/<profile>/deps/integration-<hash>
    own_path
        .ancestors()
        .nth(2)
        .expect("the directory of the profile")
        .to_owned()
}
