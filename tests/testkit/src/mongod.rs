//! One mongod process: started on its own port, stopped, killed, frozen and restarted on the same data. Knows nothing about replica sets
//! and the driver.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::deadline::{DEADLINE, START_DEADLINE, poll};
use crate::guard::{self, Process};
use crate::mongod_binary::MongodBinary;
use crate::port::free_port;

/// The number of ports that are tried if another process takes a port that was free.
const START_ATTEMPTS: usize = 5;

/// The number of lines of the log that are shown if a start fails.
const LOG_TAIL: usize = 25;

/// Exit code of a mongod that cannot listen on its port (`EXIT_NET_ERROR`).
const EXIT_NET_ERROR: i32 = 48;

/// The log message if another process takes the port between the two steps in which mongod starts to listen; mongod aborts then.
const PORT_IN_USE: &str = "Address already in use";

/// Arguments of every mongod.
const ARGUMENTS: &[&str] = &[
    "--bind_ip=127.0.0.1",
    "--logappend",
    // Its sockets would remain in /tmp after `kill -9`.
    "--nounixsocket",
    // With less, the server refuses documents of 16 MB when several tests write them at the same time.
    "--wiredTigerCacheSizeGB=1",
    // Otherwise mongod creates three journal files of 100 MB before the first write.
    "--wiredTigerEngineConfigString=log=(prealloc=false)",
    // Enables fail points.
    "--setParameter=enableTestCommands=1",
    // Saves a megabyte and a wake-up every second.
    "--setParameter=diagnosticDataCollectionEnabled=false",
    // Otherwise a member needs 15 s to end after SIGTERM.
    "--setParameter=shutdownTimeoutMillisForSignaledShutdown=100",
];

/// A mongod. It is killed and its data removed on drop.
pub struct Mongod {
    binary: MongodBinary,
    arguments: Vec<String>,
    port: u16,
    /// The log file, and the data in `data/`.
    directory: TempDir,
    /// In a mutex because a test sends signals to members through a shared reference to the replica set.
    process: Mutex<Process>,
}

/// Why a start failed.
enum StartError {
    PortTaken,
    Other(String),
}

impl Mongod {
    /// Starts a mongod with `arguments` in addition to the usual ones, and waits until it accepts connections.
    ///
    /// # Panics
    /// If it does not start; the message has the end of its log.
    #[track_caller]
    pub fn start(binary: &MongodBinary, arguments: &[String]) -> Mongod {
        let directory = guard::temp_dir("mongod-");
        fs::create_dir(directory.path().join("data")).expect("a directory for the data");
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            match spawn(binary, &directory, port, arguments) {
                Ok(process) => {
                    return Mongod {
                        binary: binary.clone(),
                        arguments: arguments.to_vec(),
                        port,
                        directory,
                        process: Mutex::new(process),
                    };
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(reason)) => panic!("{reason}"),
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken by other processes");
    }

    /// Kills it if it runs, and starts it again on the same port and data.
    #[track_caller]
    pub fn restart(&self) {
        let mut process = self.process();
        process.kill();
        match spawn(&self.binary, &self.directory, self.port, &self.arguments) {
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
        let data = self.directory.path().join("data");
        fs::remove_dir_all(&data).expect("the data can be removed");
        fs::create_dir(&data).expect("a folder for the data");
        self.restart();
    }

    /// Kills it with SIGKILL: a primary does not step down, and clients receive no reply.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Stops it with SIGTERM, as in a rolling restart; a primary steps down first.
    #[track_caller]
    pub fn stop(&self) -> ExitStatus {
        let mut process = self.process();
        process.signal(Signal::TERM);
        match process.wait_for(DEADLINE) {
            Some(status) => status,
            None => panic!(
                "mongod did not end within {DEADLINE:?} of SIGTERM\n{}",
                log_tail(&self.directory)
            ),
        }
    }

    /// Freezes it with SIGSTOP: connections stay open, and no request gets a reply.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Thaws it with SIGCONT.
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Returns the directory of its data and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `host:port`, as in a connection string.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that panicked while it held the lock leaves a valid process.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a process and waits for the line in its log that it listens. A successful connection would not prove that: it could reach
/// another process on the same port.
fn spawn(
    binary: &MongodBinary,
    directory: &TempDir,
    port: u16,
    arguments: &[String],
) -> Result<Process, StartError> {
    let log = log_path(directory);
    let old_length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    // What is printed before there is a log: the loader warns about libcurl, and names a library that is missing.
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|error| StartError::Other(format!("{}: {error}", log.display())))?;
    let mut process = Process::spawn(&binary.path, |command| {
        command
            .args(ARGUMENTS)
            .args(arguments)
            .arg(format!("--port={port}"))
            .arg("--dbpath")
            .arg(directory.path().join("data"))
            .arg("--logpath")
            .arg(&log)
            .stdout(Stdio::null())
            .stderr(stderr);
    })
    .map_err(|error| StartError::Other(format!("{}: {error}", binary.path.display())))?;
    let listening = poll(START_DEADLINE, || {
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
            if status.code() == Some(EXIT_NET_ERROR)
                || log_tail(directory).contains(PORT_IN_USE) =>
        {
            Err(StartError::PortTaken)
        }
        Some(Err(status)) => Err(StartError::Other(format!(
            "mongod ended with {status}\n{}",
            log_tail(directory)
        ))),
        None => Err(StartError::Other(format!(
            "mongod accepted no connections within {START_DEADLINE:?}\n{}",
            log_tail(directory)
        ))),
    }
}

fn log_path(directory: &TempDir) -> PathBuf {
    directory.path().join("mongod.log")
}

/// Returns the log from an offset; empty if there is no file yet.
fn log_from(log: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn log_tail(directory: &TempDir) -> String {
    let log = log_from(&log_path(directory), 0);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}
