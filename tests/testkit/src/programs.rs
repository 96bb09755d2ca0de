//! The programs of this repository: where cargo puts them, and a build of those that it has not built yet.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the path of the `cswatch` that belongs to this program. Cargo builds it before it runs tests or benchmarks; an example
/// must [`build`] it.
pub fn cswatch() -> PathBuf {
    profile_folder().join("cswatch")
}

/// Returns the path of an example, which must have been [`built`](build).
pub fn example(name: &str) -> PathBuf {
    profile_folder().join("examples").join(name)
}

/// Builds the programs that these arguments of `cargo build` name, in the profile of this program.
///
/// # Panics
/// If the build fails; cargo has printed why.
#[track_caller]
pub fn build(targets: &[&str]) {
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // `cargo run` and `cargo test` set these for this program. The build script of ring, below the driver's TLS, watches some of
    // them: seen by this build and not by the next, they would have the driver compiled again each time.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .args(["build", "--quiet", "--profile", profile])
        .args(targets)
        .arg("--manifest-path")
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build ended with {status}");
}

/// Returns the folder of everything that cargo builds: `CARGO_TARGET_DIR`, or else `target/`. Downloads are kept there too.
pub fn target_folder() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => folder.into(),
        None => Path::new(ROOT).join("target"),
    }
}

/// Returns the folder of the profile this program was built in, such as `target/debug`.
fn profile_folder() -> PathBuf {
    let own_path = env::current_exe().expect("the path of this program");
    // target/<profile>/examples/demo, or target/<profile>/deps/integration-<hash>
    own_path
        .ancestors()
        .nth(2)
        .expect("the folder of the profile")
        .to_owned()
}
