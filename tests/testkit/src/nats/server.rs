//! One nats-server process: started on its own port and store directory, stopped, killed, frozen and restarted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::binary::nats_server;
use super::client::NatsClient;
use crate::deadline::{DEADLINE, START_DEADLINE, poll};
use crate::guard::{self, Process};
use crate::port::free_port;
use crate::procfs;

/// The number of ports that are tried if another process takes a port that was free.
const START_ATTEMPTS: usize = 5;

/// The number of lines of the log that are shown if a start fails.
const LOG_TAIL: usize = 25;

/// The configuration of a server in addition to its address and its directories, in the language of its configuration file.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// What is in the block `jetstream`, after the store directory; `None` turns JetStream off.
    pub jetstream: Option<String>,
    /// Other settings: `max_payload`, `authorization`, `tls`.
    pub settings: String,
}

impl Default for NatsConfig {
    fn default() -> NatsConfig {
        NatsConfig {
            jetstream: Some(String::new()),
            settings: String::new(),
        }
    }
}

impl NatsConfig {
    /// Returns a configuration with JetStream and these settings.
    pub fn with(settings: &str) -> NatsConfig {
        NatsConfig {
            settings: settings.to_owned(),
            ..NatsConfig::default()
        }
    }
}

/// A nats-server. It is killed and its store removed on drop.
pub struct NatsServer {
    name: String,
    port: u16,
    /// The configuration, the log, and the streams in `store/`.
    directory: TempDir,
    /// In a mutex because a test kills servers through a shared reference.
    process: Mutex<Process>,
}

/// Why a start failed.
pub(super) enum StartError {
    /// Another process listens on a port of it.
    PortTaken,
    /// Anything else.
    Other(String),
}

impl NatsServer {
    /// Starts a server with JetStream and without authentication.
    #[track_caller]
    pub fn start() -> NatsServer {
        NatsServer::start_with(&NatsConfig::default())
    }

    /// Starts a server with this configuration, and waits until it accepts connections.
    ///
    /// # Panics
    /// If it does not start; the message has the end of its log.
    #[track_caller]
    pub fn start_with(config: &NatsConfig) -> NatsServer {
        for _ in 0..START_ATTEMPTS {
            match NatsServer::start_as("n1", free_port(), config) {
                Ok(server) => return server,
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(reason)) => panic!("{reason}"),
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken by other processes");
    }

    /// Starts a server with this name on this port.
    pub(super) fn start_as(
        name: &str,
        port: u16,
        config: &NatsConfig,
    ) -> Result<NatsServer, StartError> {
        let directory = guard::temp_dir("nats-");
        let store = directory.path().join("store");
        let mut text = format!("server_name: {name}\nlisten: \"127.0.0.1:{port}\"\n");
        if let Some(jetstream) = &config.jetstream {
            text += &format!("jetstream {{\nstore_dir: {store:?}\n{jetstream}\n}}\n");
        }
        text += &config.settings;
        fs::write(config_path(&directory), text).expect("a configuration file");
        let process = spawn(&directory)?;
        Ok(NatsServer {
            name: name.to_owned(),
            port,
            directory,
            process: Mutex::new(process),
        })
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns its name, which streams report as their leader.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects a client.
    #[track_caller]
    pub fn client(&self) -> NatsClient {
        NatsClient::connect(&self.url())
    }

    /// Kills it if it runs, and starts it again on the same port and store.
    #[track_caller]
    pub fn restart(&self) {
        let mut process = self.process();
        process.kill();
        match spawn(&self.directory) {
            Ok(started) => *process = started,
            Err(StartError::PortTaken) => panic!(
                "another process took port {} while the server was down",
                self.port
            ),
            Err(StartError::Other(reason)) => panic!("{reason}"),
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Stops it with SIGTERM, and waits until it has ended.
    #[track_caller]
    pub fn stop(&self) {
        let mut process = self.process();
        process.signal(Signal::TERM);
        assert!(
            process.wait_for(DEADLINE).is_some(),
            "nats-server did not end within {DEADLINE:?} of SIGTERM\n{}",
            log_tail(&self.directory)
        );
    }

    /// Returns the CPU time that it has used so far.
    pub fn cpu_time(&self) -> Duration {
        procfs::cpu_time(self.process().pid())
    }

    /// Freezes it with SIGSTOP: connections stay open, and no request gets a reply.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Thaws it with SIGCONT.
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Copies its store, which should not be written at the same time.
    #[track_caller]
    pub fn copy_store(&self) -> TempDir {
        let copy = guard::temp_dir("nats-store-");
        copy_directory(&self.store(), copy.path());
        copy
    }

    /// Kills it, replaces its store by a copy, and starts it again: the streams are as old as the copy.
    #[track_caller]
    pub fn restart_with_store(&self, copy: &TempDir) {
        self.restart_with_part(copy, Path::new(""));
    }

    /// Kills it, replaces only the files of one stream by those in a copy of the store, and starts it again.
    #[track_caller]
    pub fn restart_with_stream(&self, copy: &TempDir, stream: &str) {
        self.restart_with_part(copy, &Path::new("jetstream/$G/streams").join(stream));
    }

    #[track_caller]
    fn restart_with_part(&self, copy: &TempDir, part: &Path) {
        self.kill();
        let directory = self.store().join(part);
        fs::remove_dir_all(&directory).expect("the store can be removed");
        copy_directory(&copy.path().join(part), &directory);
        self.restart();
    }

    /// Changes the configuration file from `old` to `new`. It takes effect with the next start.
    #[track_caller]
    pub fn reconfigure(&self, old: &str, new: &str) {
        let path = config_path(&self.directory);
        let text = fs::read_to_string(&path).expect("a configuration file");
        assert!(text.contains(old), "no {old:?} in {text}");
        fs::write(&path, text.replace(old, new)).expect("a configuration file");
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that panicked while it held the lock leaves a valid process.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a process, and waits for the line in its log that it is ready. A successful connection would not prove that: it could reach
/// another process on the same port.
fn spawn(directory: &TempDir) -> Result<Process, StartError> {
    let log = log_path(directory);
    let old_length = read(&log).len();
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|error| StartError::Other(format!("{}: {error}", log.display())))?;
    let binary = nats_server();
    let mut process = Process::spawn(binary, |command| {
        command
            .arg("--config")
            .arg(config_path(directory))
            .stdout(Stdio::null())
            .stderr(stderr);
    })
    .map_err(|error| StartError::Other(format!("{}: {error}", binary.display())))?;
    let ready = poll(START_DEADLINE, || {
        if let Some(status) = process.wait_for(Duration::ZERO) {
            return Some(Err(status));
        }
        let log = read(&log);
        log[old_length..]
            .contains("Server is ready")
            .then_some(Ok(()))
    });
    match ready {
        Some(Ok(())) => Ok(process),
        Some(Err(_)) if read(&log)[old_length..].contains("address already in use") => {
            Err(StartError::PortTaken)
        }
        Some(Err(status)) => Err(StartError::Other(format!(
            "nats-server ended with {status}\n{}",
            log_tail(directory)
        ))),
        None => Err(StartError::Other(format!(
            "nats-server was not ready within {START_DEADLINE:?}\n{}",
            log_tail(directory)
        ))),
    }
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("nats.conf")
}

fn log_path(directory: &TempDir) -> PathBuf {
    directory.path().join("nats.log")
}

/// Returns the text of a file; empty if there is none yet.
fn read(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    // A server that is killed may leave a part of a character, always of one byte here: its log is ASCII apart from what clients send.
    bytes.iter().map(|&byte| char::from(byte & 0x7f)).collect()
}

fn log_tail(directory: &TempDir) -> String {
    let log = read(&log_path(directory));
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory of the store") {
        let entry = entry.expect("an entry of the store");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_directory(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file of the store")),
        }
    }
}
