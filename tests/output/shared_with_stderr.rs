//! stdout and stderr that are the same file: allowed where neither overwrites the other.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl};

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{as_start, insert};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// Runs `cswatch` with these redirections of a shell, in `directory`.
fn redirected(cswatch: Cswatch, directory: &Path, redirections: &str) -> Cswatch {
    let script = format!("cd \"$1\" && shift && exec \"$@\" {redirections}");
    let words = ["sh", "-c", &script, "sh"].map(OsString::from);
    cswatch.through(words.into_iter().chain([directory.into()]))
}

/// Prints two events and the messages of a run, and expects each line of both in the file.
#[track_caller]
fn prints_both(scenario: &Scenario<'_>, cswatch: Cswatch, file: &Path) {
    let start = scenario.set().operation_time();
    insert(&scenario.coll("c"), [1, 2]);
    let start = as_start(start);
    let arguments = ["--start", &start, "--count", "2", "-v"];
    cswatch.args(arguments).run().expect_code(0);
    let content = fs::read_to_string(file).expect("UTF-8");
    let (events, messages): (Vec<_>, Vec<_>) =
        content.lines().partition(|line| line.starts_with('{'));
    assert_eq!(events.len(), 2, "{content}");
    for event in events {
        serde_json::from_str::<serde_json::Value>(event).expect("JSON");
    }
    assert!(
        messages
            .iter()
            .any(|line| line.contains("cswatch: watching ")),
        "{content}"
    );
    assert!(
        messages.iter().all(|line| line.contains("cswatch: ")
            || line.starts_with("before")
            || line.starts_with("nohup: ")),
        "{content}"
    );
    block_on(scenario.coll("c").drop()).expect("a drop");
}

#[test]
fn prints_events_and_messages_into_one_file() {
    let scenario = Scenario::new("one_file");
    for redirections in ["> log 2>&1", ">> log 2>&1", "2> log >&2", ">> log 2>> log"] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("log");
        fs::write(&file, "before\n").expect("a file");
        let cswatch = scenario.cswatch(["--coll", "c", "--no-resume"]);
        let cswatch = redirected(cswatch, directory.path(), redirections);
        prints_both(&scenario, cswatch, &file);
    }
}

#[test]
fn prints_events_and_messages_under_nohup() {
    let scenario = Scenario::new("nohup");
    let directory = tempfile::tempdir().expect("a directory");
    let (_terminal, written) = Terminal::open(80);
    let stdout = written.try_clone().expect("another handle");
    let script = "cd \"$1\" && shift && exec nohup \"$@\"";
    let words = ["sh", "-c", script, "sh"].map(OsString::from);
    let cswatch = scenario
        .cswatch(["--coll", "c", "--no-resume"])
        .through(words.into_iter().chain([directory.path().into()]))
        .stdout(Stdout::File(stdout))
        .stderr(written);
    prints_both(&scenario, cswatch, &directory.path().join("nohup.out"));
}

#[test]
fn refuses_one_file_that_stdout_and_stderr_would_overwrite() {
    for redirections in [
        "> log 2> log",
        "2> log > log",
        ">> log 2> log",
        "> log 2>> log",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let cswatch = Cswatch::new().args(["--uri", "mongodb://127.0.0.1:1", "--retry-for", "0s"]);
        redirected(cswatch, directory.path(), redirections)
            .run()
            .expect_code(2);
        let content = fs::read_to_string(directory.path().join("log")).expect("UTF-8");
        assert!(
            content.contains("error: stderr and stdout are the same file"),
            "{redirections}: {content}"
        );
        assert!(
            content.contains("hint: give each a file of its own, or use 2>&1"),
            "{content}"
        );
    }
}

#[test]
fn leaves_the_flags_of_the_file_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .open(&path)
        .expect("a file");
    let before = fcntl_getfl(&file).expect("flags");
    assert!(!before.contains(OFlags::NONBLOCK));
    Cswatch::new()
        .args(["--uri", "mongodb://127.0.0.1:1", "--retry-for", "0s"])
        .stdout(Stdout::File(file.try_clone().expect("another handle")))
        .stderr(file.try_clone().expect("another handle"))
        .run()
        .expect_code(7);
    assert_eq!(fcntl_getfl(&file).expect("flags"), before);
}
