//! The built `cswatch` as a command line: arguments, environment, where its stdin comes from and its stdout goes.

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
    /// Into a pipe that nobody reads until [`Running::read_stdout`].
    Stalled,
    /// Into a pipe that is closed after this many lines, as `| head -n` does.
    Head(usize),
    /// Into a pipe that was closed before the start.
    Closed,
    /// Into a file or a device.
    File(File),
}

/// A command line in the making.
#[must_use]
pub struct Cswatch {
    /// The program and its arguments that become `cswatch`; empty when it is started by itself.
    through: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    unset: Vec<&'static str>,
    /// `None` for a folder that goes with the process.
    state_home: Option<PathBuf>,
    /// `None` for an empty one.
    stdin: Option<Stdio>,
    stdout: Stdout,
    /// `None` for the test.
    stderr: Option<File>,
    deadline: Duration,
}

impl Default for Cswatch {
    fn default() -> Cswatch {
        Cswatch::new()
    }
}

impl Cswatch {
    /// Returns a command line without arguments. No variable of the surrounding environment configures it.
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

    /// Without a variable that the surrounding environment may hold.
    pub fn without_env(mut self, name: &'static str) -> Cswatch {
        self.unset.push(name);
        self
    }

    /// `XDG_STATE_HOME`, below which positions are kept by default.
    pub fn state_home(mut self, folder: &Path) -> Cswatch {
        self.state_home = Some(folder.to_owned());
        self
    }

    /// Where stdin comes from, such as a pipe.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Cswatch {
        self.stdin = Some(stdin.into());
        self
    }

    /// Where stdout goes; [`Stdout::Lines`] by default.
    pub fn stdout(mut self, stdout: Stdout) -> Cswatch {
        self.stdout = stdout;
        self
    }

    /// Where messages go; the test sees none of them then.
    pub fn stderr(mut self, file: File) -> Cswatch {
        self.stderr = Some(file);
        self
    }

    /// Starts it by another program, which must become it by `exec`, as `nsenter` and `setpriv` do.
    pub fn through(mut self, program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
        self.through = program
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// The longest that one wait for this process may take, where the usual [`DEADLINE`] is too
    /// short for what the test does to it.
    pub fn deadline(mut self, deadline: Duration) -> Cswatch {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end with the connection string of a server that it must not connect to.
    #[track_caller]
    pub fn run_unconnected(self) -> Finished {
        let server = ForbiddenServer::listen();
        let finished = self.args(["--uri", &server.uri()]).run();
        server.assert_no_connection();
        finished
    }

    /// Runs it to its end.
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
    /// What the test reads, what it may read later, and what the process writes to.
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
