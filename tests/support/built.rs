//! The programs of this package for whoever cargo has built without them: one example by itself, or the tests by theirs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds what these arguments of `cargo build` name, in the profile this program was built in, and returns the folder where
/// programs are put, and examples in `examples/` below it.
///
/// # Panics
/// When it does not build; cargo has said why.
#[track_caller]
pub(crate) fn build(what: &[&str]) -> PathBuf {
    let own_path = env::current_exe().expect("the path of this program");
    // target/<profile>/examples/demo, or target/<profile>/deps/integration-<hash>
    let folder = own_path
        .ancestors()
        .nth(2)
        .expect("the folder of the profile");
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
        .args(what)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build ended with {status}");
    folder.to_owned()
}
