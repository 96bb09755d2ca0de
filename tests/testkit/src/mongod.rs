//! One mongod process: started on a port of its own, stopped, killed, frozen and started again on
//! the same data. Knows nothing of replica sets and of the driver.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::deadline::{DEADLINE, poll};
use crate::guard::{self, Process};
use crate::mongod_binary::MongodBinary;
use crate::port::free_port;

/// Ports tried when another process takes the one just found free.
const START_ATTEMPTS: usize = 5;

/// Lines of the log shown when a start fails.
const LOG_TAIL: usize = 25;

/// mongod's exit code when it can't listen on its port (`EXIT_NET_ERROR`).
const EXIT_NET_ERROR: i32 = 48;

/// What its log says when another process took the port between the two steps of listening: then it
/// aborts.
const PORT_IN_USE: &str = "Address already in use";

/// What every mongod of the tests is started with.
const ARGUMENTS: &[&str] = &[
    "--bind_ip=127.0.0.1",
    "--logappend",
    // Its sockets would stay behind in /tmp after `kill -9`.
    "--nounixsocket",
    "--wiredTigerCacheSizeGB=0.25",
    // Three journal files of 100 MB each are otherwise created ahead of any write.
    "--wiredTigerEngineConfigString=log=(prealloc=false)",
    // Fail points.
    "--setParameter=enableTestCommands=1",
    // One megabyte and a wake-up each second less.
    "--setParameter=diagnosticDataCollectionEnabled=false",
    // A member asked to end by SIGTERM lingers for 15 s otherwise.
    "--setParameter=shutdownTimeoutMillisForSignaledShutdown=100",
];

/// A mongod. Killed, and its data removed, when dropped.
pub struct Mongod {
    binary: MongodBinary,
    arguments: Vec<String>,
    port: u16,
    /// The log file, and the data in `data/`.
    folder: TempDir,
    /// Behind a lock because tests signal the members of a replica set they share.
    process: Mutex<Process>,
}

/// Why a start failed.
enum StartError {
    PortTaken,
    Other(String),
}

impl Mongod {
    /// Starts one with `arguments` beside the usual ones, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not: with the end of its log.
    #[track_caller]
    pub fn start(binary: &MongodBinary, arguments: &[String]) -> Mongod {
        let folder = guard::temp_dir("mongod-");
        fs::create_dir(folder.path().join("data")).expect("a folder for the data");
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            match spawn(binary, &folder, port, arguments) {
                Ok(process) => {
                    return Mongod {
                        binary: binary.clone(),
                        arguments: arguments.to_vec(),
                        port,
                        folder,
                        process: Mutex::new(process),
                    };
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(reason)) => panic!("{reason}"),
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken by other processes");
    }

    /// Starts it again, after its end, on the same port and data.
    #[track_caller]
    pub fn restart(&self) {
        let mut process = self.process();
        process.kill();
        match spawn(&self.binary, &self.folder, self.port, &self.arguments) {
            Ok(started) => *process = started,
            Err(StartError::PortTaken) => panic!(
                "another process took port {} while the server was down",
                self.port
            ),
            Err(StartError::Other(reason)) => panic!("{reason}"),
        }
    }

    /// Kills it and starts it again on the same port, without its data: a volume that was lost.
    #[track_caller]
    pub fn wipe(&self) {
        self.kill();
        let data = self.folder.path().join("data");
        fs::remove_dir_all(&data).expect("the data can be removed");
        fs::create_dir(&data).expect("a folder for the data");
        self.restart();
    }

    /// `kill -9`: no step-down, no farewell to clients.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// SIGTERM, as a rolling restart does it; a primary hands over first.
    #[track_caller]
    pub fn stop(&self) -> ExitStatus {
        let mut process = self.process();
        process.signal(Signal::TERM);
        match process.wait_for(DEADLINE) {
            Some(status) => status,
            None => panic!(
                "mongod did not end within {DEADLINE:?} of SIGTERM\n{}",
                log_tail(&self.folder)
            ),
        }
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Returns the folder of its data and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in a connection string.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that panicked while holding it leaves a valid process.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a process and waits for the line of its log that says it listens: a successful connection
/// would not tell whether it reached this mongod or another process on the port.
fn spawn(
    binary: &MongodBinary,
    folder: &TempDir,
    port: u16,
    arguments: &[String],
) -> Result<Process, StartError> {
    let log = log_path(folder);
    let old_length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let mut process = Process::spawn(&binary.path, |command| {
        command
            .args(ARGUMENTS)
            .args(arguments)
            .arg(format!("--port={port}"))
            .arg("--dbpath")
            .arg(folder.path().join("data"))
            .arg("--logpath")
            .arg(&log)
            .stdout(Stdio::null());
        if let Some(library_path) = &binary.library_path {
            command.env("LD_LIBRARY_PATH", library_path);
        }
    })
    .map_err(|error| StartError::Other(format!("{}: {error}", binary.path.display())))?;
    let listening = poll(DEADLINE, || {
        if let Some(status) = process.wait_for(Duration::ZERO) {
            return Some(Err(status));
        }
        log_from(&log, old_length)
            .contains("Waiting for connections")
            .then_some(Ok(()))
    });
    match listening {
        Some(Ok(())) => Ok(process),
        Some(Err(status))
            if status.code() == Some(EXIT_NET_ERROR) || log_tail(folder).contains(PORT_IN_USE) =>
        {
            Err(StartError::PortTaken)
        }
        Some(Err(status)) => Err(StartError::Other(format!(
            "mongod ended with {status}\n{}",
            log_tail(folder)
        ))),
        None => Err(StartError::Other(format!(
            "mongod took no connections within {DEADLINE:?}\n{}",
            log_tail(folder)
        ))),
    }
}

fn log_path(folder: &TempDir) -> PathBuf {
    folder.path().join("mongod.log")
}

/// The log from a position on; empty while there is no file.
fn log_from(log: &PathBuf, position: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file
            .seek(SeekFrom::Start(position))
            .and_then(|_| file.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn log_tail(folder: &TempDir) -> String {
    let log = log_from(&log_path(folder), 0);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}
