//! Where the commands of a page run: a directory, a home, the programs on `PATH`, and a server.

use std::env;
use std::fs;
use std::io::{self, PipeReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;
use tempfile::TempDir;

use testkit::deadline::{DEADLINE, poll};
use testkit::guard::{self, Process};
use testkit::mongod_binary::MongodBinary;
use testkit::programs;
use testkit::runtime::block_on;
use testkit::transcript::Transcript;

use super::markdown::root;

/// A time zone other than UTC, so that local times are shown.
const TIME_ZONE: &str = "CET-1";

/// The URL of the NATS server on the pages.
const NATS_URL: &str = "nats://localhost:4222";

/// A directory, programs and the address of a server.
pub(super) struct Sandbox {
    directory: TempDir,
    /// The connection string of the server that commands use by default.
    pub(super) uri: String,
    /// The port of the mongod that a command started.
    pub(super) mongod_port: u16,
    /// The URL of the NATS server that a command started, which stands for the one on the pages.
    pub(super) nats_url: String,
}

/// A running command: the programs of a pipeline.
pub(super) struct Pipeline {
    command: String,
    stages: Vec<Process>,
    stdout: Arc<Transcript>,
    stderr: Arc<Transcript>,
}

/// How a command ended.
pub(super) struct Ended {
    /// The status of each program of the pipeline.
    pub(super) statuses: Vec<ExitStatus>,
    pub(super) stdout: Vec<String>,
    pub(super) stderr: String,
}

impl Sandbox {
    /// Creates a directory with `cswatch` and `jq` on the `PATH` of its commands.
    #[track_caller]
    pub(super) fn new(uri: String) -> Sandbox {
        programs::build(&["--package", "jq"]);
        let sandbox = Sandbox {
            directory: guard::temp_dir("documents-"),
            uri,
            mongod_port: 27017,
            nats_url: NATS_URL.to_owned(),
        };
        for directory in ["bin", "home", "work", "etc/systemd/system"] {
            fs::create_dir_all(sandbox.path(directory)).expect("a directory");
        }
        let cswatch = programs::cswatch();
        let jq = cswatch.with_file_name("jq");
        for (name, program) in [("cswatch", &cswatch), ("jq", &jq)] {
            symlink(program, sandbox.path("bin").join(name)).expect("a link");
        }
        // Commands of a checkout name its files.
        symlink(root().join("packaging"), sandbox.path("work/packaging")).expect("a link");
        sandbox
    }

    /// Has the next `mongod` listen on this port.
    pub(super) fn use_mongod_port(&mut self, port: u16) {
        self.mongod_port = port;
        // Without a socket that would remain in /tmp.
        let mongod = format!(
            "#!/bin/sh\nexec '{}' \"$@\" --port {port} --nounixsocket\n",
            MongodBinary::found().path.display(),
        );
        let script = self.path("bin/mongod");
        fs::write(&script, mongod).expect("a script");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("an executable");
    }

    /// Returns a path in its directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a client of its server.
    pub(super) fn client(&self) -> Client {
        block_on(Client::with_uri_str(&self.uri)).expect("a client")
    }

    /// Starts a command. Each program of a pipeline runs in its own shell, so that signals reach it and it does not outlive the test.
    #[track_caller]
    pub(super) fn start(&self, command: &str) -> Pipeline {
        let (stderr, stderr_writer) = io::pipe().expect("a pipe");
        let mut input: Option<PipeReader> = None;
        let mut stages = Vec::new();
        let command = &command.replace(NATS_URL, &self.nats_url);
        for stage in stages_of(command) {
            let (output, writer) = io::pipe().expect("a pipe");
            let started = Process::spawn(Path::new("sh"), |process| {
                process
                    .args(["-c", &format!("exec {stage}")])
                    .current_dir(self.path("work"))
                    .stdin(input.take().map_or_else(Stdio::null, Stdio::from))
                    .stdout(writer)
                    .stderr(stderr_writer.try_clone().expect("a pipe"));
                for (name, _) in env::vars_os() {
                    if name.as_encoded_bytes().starts_with(b"CSWATCH_") || name == "RUST_LOG" {
                        process.env_remove(name);
                    }
                }
                let path = env::var_os("PATH").unwrap_or_default();
                let path = [self.path("bin")]
                    .into_iter()
                    .chain(env::split_paths(&path));
                process
                    .env("PATH", env::join_paths(path).expect("a PATH"))
                    .env("XDG_STATE_HOME", self.path("home/.local/state"))
                    .env("TZ", TIME_ZONE)
                    .env("CSWATCH_URI", &self.uri);
                // Cargo finds its toolchain in the real one.
                if !stage.contains("/examples/demo") {
                    process.env("HOME", self.path("home"));
                }
            });
            stages.push(started.unwrap_or_else(|error| panic!("{stage}: {error}")));
            input = Some(output);
        }
        Pipeline {
            command: command.to_owned(),
            stages,
            stdout: Transcript::read(input.expect("a command"), None),
            stderr: Transcript::read(stderr, None),
        }
    }

    /// Runs a command that ends by itself.
    #[track_caller]
    pub(super) fn run(&self, command: &str) -> Ended {
        self.start(command).wait()
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(super) fn succeed(&self, command: &str) -> Ended {
        let ended = self.run(command);
        let is_success = ended.statuses.iter().all(ExitStatus::success);
        assert!(
            is_success,
            "{command}: {:?}\n{}",
            ended.statuses, ended.stderr
        );
        ended
    }

    /// Returns the words of a command, as the shell splits them.
    #[track_caller]
    pub(super) fn words(&self, command: &str) -> Vec<String> {
        self.succeed(&format!("printf '%s\\n' {command}")).stdout
    }

    /// Does with the driver what a script of mongosh does; mongosh is not on every machine.
    #[track_caller]
    pub(super) fn mongosh(&self, words: &[String]) {
        let [options @ .., script] = words else {
            panic!("no script");
        };
        assert_eq!(options, ["mongosh", "--quiet", "--eval"]);
        let port = self.mongod_port;
        let config = script
            .strip_prefix("rs.initiate(")
            .and_then(|rest| rest.strip_suffix(')'));
        let config = match config.expect("rs.initiate") {
            "" => doc! {},
            config => shell_document(&config.replace(":27017", &format!(":{port}"))),
        };
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let admin = block_on(Client::with_uri_str(uri))
            .expect("a client")
            .database("admin");
        block_on(admin.run_command(doc! { "replSetInitiate": config })).expect("replSetInitiate");
        let is_primary = || {
            let hello = block_on(admin.run_command(doc! { "hello": 1 })).expect("hello");
            hello.get_bool("isWritablePrimary").ok().filter(|is| *is)
        };
        assert!(poll(DEADLINE, is_primary).is_some(), "no primary");
    }
}

impl Pipeline {
    /// Waits until stderr contains a text or the command ends.
    pub(super) fn wait_reported(&self, part: &str) {
        self.stderr.wait_for(Instant::now() + DEADLINE, |text| {
            text.shown().contains(part).then_some(())
        });
    }

    /// Waits until this number of lines is on stdout.
    #[track_caller]
    pub(super) fn wait_printed(&self, lines: usize) {
        let printed = self.stdout.wait_for(Instant::now() + DEADLINE, |text| {
            (text.lines.len() >= lines).then_some(())
        });
        assert!(
            printed.is_some(),
            "{}: fewer than {lines} lines\n{}\n{}",
            self.command,
            self.stdout.text().shown(),
            self.stderr.text().shown()
        );
    }

    /// Returns the lines on stdout so far.
    pub(super) fn printed(&self) -> Vec<String> {
        self.stdout
            .text()
            .shown()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Sends a signal to the first program, and waits until all have ended.
    #[track_caller]
    pub(super) fn stop(self, signal: Signal) -> Ended {
        self.stages[0].signal(signal);
        self.wait()
    }

    /// Waits until all programs have ended.
    #[track_caller]
    pub(super) fn wait(mut self) -> Ended {
        let mut statuses = Vec::new();
        for stage in &mut self.stages {
            match stage.wait_for(2 * DEADLINE) {
                Some(status) => statuses.push(status),
                None => panic!(
                    "{} still runs\n{}",
                    self.command,
                    self.stderr.text().shown()
                ),
            }
        }
        // A server that went into the background may keep them open.
        for stream in [&self.stdout, &self.stderr] {
            stream.wait_for(Instant::now() + DEADLINE, |text| text.closed.then_some(()));
        }
        Ended {
            statuses,
            stdout: self.printed(),
            stderr: self.stderr.text().shown(),
        }
    }
}

/// Returns the programs of a pipeline, split at each `|` outside quotes.
fn stages_of(command: &str) -> Vec<&str> {
    let mut quote = None;
    let outside = |symbol: char| match quote {
        Some(open) => {
            if symbol == open {
                quote = None;
            }
            false
        }
        None => {
            if symbol == '\'' || symbol == '"' {
                quote = Some(symbol);
            }
            symbol == '|'
        }
    };
    command.split(outside).map(str::trim).collect()
}

/// Parses a document of mongosh that is also valid YAML.
#[track_caller]
fn shell_document(text: &str) -> Document {
    use yaml_rust2::{Yaml, YamlLoader};

    fn value(yaml: &Yaml) -> mongodb::bson::Bson {
        match yaml {
            Yaml::Integer(number) => i32::try_from(*number).expect("an int32").into(),
            Yaml::String(text) => text.into(),
            Yaml::Array(values) => values.iter().map(value).collect::<Vec<_>>().into(),
            Yaml::Hash(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, field)| (key.as_str().expect("a name").to_owned(), value(field)));
                fields.collect::<Document>().into()
            }
            other => panic!("{other:?}"),
        }
    }
    let documents = YamlLoader::load_from_str(text).expect("YAML");
    value(&documents[0])
        .as_document()
        .expect("a document")
        .clone()
}
