//! The peers' libraries, installed from their registries under `target/peers/`. Pinned, so that figures of different days are comparable.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testkit::programs;

use crate::progress;

const PYMONGO: &str = "pymongo==4.20.0";
const NATS_PY: &str = "nats-py==2.16.0";
const NODE_DRIVER: &str = "mongodb@7.9.0";

const PYTHON_SCRIPT: &str = include_str!("drain_pymongo.py");
const NATS_SCRIPT: &str = include_str!("drain_nats.py");
const NODE_SCRIPT: &str = include_str!("drain_node.mjs");
const SCAN_PYTHON: &str = include_str!("scan_pymongo.py");
const SCAN_NODE: &str = include_str!("scan_node.mjs");

/// The name of the script that delivers into NATS.
const NATS_SCRIPT_NAME: &str = "drain_nats.py";

/// The peers' scripts, next to their libraries, and the interpreters that run them.
pub(crate) struct Peers {
    /// The interpreter itself: `python3` on PATH may be a script of a version manager, which takes longer than the peer.
    pub(crate) python: PathBuf,
    pub(crate) python_script: PathBuf,
    /// The folder of nats-py.
    nats_folder: PathBuf,
    /// The interpreter itself, as for `python`.
    pub(crate) node: PathBuf,
    pub(crate) node_script: PathBuf,
    /// The scripts that read documents.
    pub(crate) scan_python: PathBuf,
    pub(crate) scan_node: PathBuf,
}

impl Peers {
    /// Installs the libraries that are missing. Needs `python3 -m pip`, `node` and `npm`.
    pub(crate) fn installed() -> Result<Self> {
        let peers = programs::target_directory().join("peers");
        let python_folder = install(&peers, PYMONGO, |folder| pip(folder, PYMONGO))?;
        let nats_folder = install(&peers, NATS_PY, |folder| pip(folder, NATS_PY))?;
        let node_folder = install(&peers, NODE_DRIVER, |folder| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(folder)
                .arg(NODE_DRIVER);
            npm
        })?;
        let python_script = python_folder.join("drain_pymongo.py");
        let node_script = node_folder.join("drain_node.mjs");
        fs::write(&python_script, PYTHON_SCRIPT)?;
        fs::write(&node_script, NODE_SCRIPT)?;
        fs::write(python_folder.join(NATS_SCRIPT_NAME), NATS_SCRIPT)?;
        let scan_python = python_folder.join("scan_pymongo.py");
        let scan_node = node_folder.join("scan_node.mjs");
        fs::write(&scan_python, SCAN_PYTHON)?;
        fs::write(&scan_node, SCAN_NODE)?;
        let python =
            stdout_of(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))?;
        let node = stdout_of(Command::new("node").args(["-p", "process.execPath"]))?;
        Ok(Self {
            python: python.into(),
            python_script,
            nats_folder,
            node: node.into(),
            node_script,
            scan_python,
            scan_node,
        })
    }

    /// Returns the command of the script that delivers into NATS.
    pub(crate) fn nats_script(&self) -> Vec<OsString> {
        let mut path = OsString::from("PYTHONPATH=");
        path.push(&self.nats_folder);
        // Next to pymongo, which it finds there.
        let script = self.python_script.with_file_name(NATS_SCRIPT_NAME);
        vec![
            "env".into(),
            path,
            self.python.clone().into(),
            script.into(),
        ]
    }

    /// Returns the versions of the libraries and of their interpreters.
    pub(crate) fn versions(&self) -> Result<String> {
        let python = stdout_of(Command::new(&self.python).arg("--version"))?;
        let node = stdout_of(Command::new(&self.node).arg("--version"))?;
        Ok(format!(
            "{PYMONGO} and {NATS_PY} on {python}, {NODE_DRIVER} on Node {node}"
        ))
    }
}

/// Returns the command that installs a package of PyPI into a folder.
fn pip(folder: &Path, package: &str) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--target"])
        .arg(folder)
        .arg(package);
    pip
}

/// Installs a package into a folder, which gets its final name only once it is complete.
fn install(peers: &Path, package: &str, command: impl FnOnce(&Path) -> Command) -> Result<PathBuf> {
    let folder = peers.join(package);
    if !folder.exists() {
        progress(&format!("installing {package}"));
        let partial = peers.join(format!("{package}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        stdout_of(&mut command(&partial))?;
        fs::rename(&partial, &folder)?;
    }
    Ok(folder)
}

fn stdout_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().context(program)?;
    ensure!(
        output.status.success(),
        "{command:?} exited with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
