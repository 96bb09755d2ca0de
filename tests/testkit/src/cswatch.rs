//! Command lines of the built `cswatch`: arguments, environment and standard streams.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::DEADLINE;
use crate::finished::Finished;
use crate::forbidden_server::ForbiddenServer;
use crate::guard::{self, Process};
use crate::programs;
use crate::running::Running;
use crate::transcript::Transcript;

/// Where stdout goes.
pub enum Stdout {
    /// To the test, line by line.
    Lines,
    /// Into a pipe that is not read until [`Running::read_stdout`].
    Stalled,
    /// Into a pipe that is closed after this number of lines, as with `| head -n`.
    Head(usize),
    /// Into a pipe that was closed before the start.
    Closed,
    /// Into a file or a device.
    File(File),
}

/// A builder of one command line.
#[must_use]
pub struct Cswatch {
    /// The program, with its arguments, that executes `cswatch`; empty to start it directly.
    through: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    unset: Vec<&'static str>,
    /// `None` for a directory that is removed with the process.
    state_home: Option<PathBuf>,
    /// `None` for an empty stdin.
    stdin: Option<Stdio>,
    stdout: Stdout,
    /// `None` for a pipe to the test.
    stderr: Option<File>,
    deadline: Duration,
}

impl Default for Cswatch {
    fn default() -> Cswatch {
        Cswatch::new()
    }
}

impl Cswatch {
    /// Returns a command line without arguments. Variables of the surrounding environment do not configure it.
    pub fn new() -> Cswatch {
        Cswatch {
            through: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            unset: Vec::new(),
            state_home: None,
            stdin: None,
            stdout: Stdout::Lines,
            stderr: None,
            deadline: DEADLINE,
        }
    }

    /// Appends arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
        let arguments = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cswatch {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable of the surrounding environment.
    pub fn without_env(mut self, name: &'static str) -> Cswatch {
        self.unset.push(name);
        self
    }

    /// Sets `XDG_STATE_HOME`, below which resume files are kept by default.
    pub fn state_home(mut self, directory: &Path) -> Cswatch {
        self.state_home = Some(directory.to_owned());
        self
    }

    /// Sets stdin, such as a pipe.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Cswatch {
        self.stdin = Some(stdin.into());
        self
    }

    /// Sets where stdout goes; [`Stdout::Lines`] by default.
    pub fn stdout(mut self, stdout: Stdout) -> Cswatch {
        self.stdout = stdout;
        self
    }

    /// Sends stderr to a file; the test then sees no messages.
    pub fn stderr(mut self, file: File) -> Cswatch {
        self.stderr = Some(file);
        self
    }

    /// Starts it with another program, which must execute it in its own process, as `nsenter` and `setpriv` do.
    pub fn through(mut self, program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
        self.through = program
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Sets the longest time that one wait for this process may take, for a test that needs more than the default [`DEADLINE`].
    pub fn deadline(mut self, deadline: Duration) -> Cswatch {
        self.deadline = deadline;
        self
    }

    /// Runs it until it ends, with the connection string of a server, and fails if it connects to that server.
    #[track_caller]
    pub fn run_unconnected(self) -> Finished {
        let server = ForbiddenServer::listen();
        let finished = self.args(["--uri", &server.uri()]).run();
        server.assert_no_connection();
        finished
    }

    /// Runs it until it ends.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.spawn().wait()
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let (stdout, stalled, writer) = self.stdout.connect();
        let (reader, stderr_writer) = io::pipe().expect("a pipe for stderr");
        let stderr = Transcript::read(reader, None);
        let stderr_writer = match self.stderr {
            Some(file) => Stdio::from(file),
            None => stderr_writer.into(),
        };

        let own_state = guard::temp_dir("state-");
        let state_home = self.state_home.as_deref().unwrap_or(own_state.path());
        let mut words = self.through;
        words.push(programs::cswatch().into());
        words.extend(self.arguments);
        let process = Process::spawn(Path::new(&words[0]), |command| {
            command
                .args(&words[1..])
                .stdout(writer)
                .stderr(stderr_writer);
            if let Some(stdin) = self.stdin {
                command.stdin(stdin);
            }
            for (name, _) in env::vars_os() {
                if name.as_encoded_bytes().starts_with(b"CSWATCH_") || name == "RUST_LOG" {
                    command.env_remove(name);
                }
            }
            for name in self.unset {
                command.env_remove(name);
            }
            command
                .env("XDG_STATE_HOME", state_home)
                .envs(self.environment);
        });
        Running::new(
            process.expect("cswatch starts"),
            stdout,
            stalled,
            stderr,
            self.deadline,
            own_state,
        )
    }
}

impl Stdout {
    /// Returns what the test reads, the pipe that it may read later, and the stdout of the process.
    fn connect(self) -> (Arc<Transcript>, Option<PipeReader>, Stdio) {
        let unread = || Transcript::read(io::empty(), None);
        let (reader, writer) = io::pipe().expect("a pipe for stdout");
        match self {
            Stdout::Lines => (Transcript::read(reader, None), None, writer.into()),
            Stdout::Head(lines) => (Transcript::read(reader, Some(lines)), None, writer.into()),
            Stdout::Stalled => (unread(), Some(reader), writer.into()),
            Stdout::Closed => (unread(), None, writer.into()),
            Stdout::File(file) => (unread(), None, file.into()),
        }
    }
}
