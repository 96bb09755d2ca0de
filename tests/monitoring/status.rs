//! The status line: drawn on a terminal that shows no events, and logged on SIGUSR1.

use std::fs::{self, File};

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::as_start;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// Returns a watch that receives a reply at least every 100 ms.
fn watch(scenario: &Scenario<'_>) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        // The environment of the tests may have TERM=dumb.
        .env("TERM", "xterm")
}

/// Returns the device that discards what is written.
fn null() -> Stdout {
    let null = File::options().write(true).open("/dev/null");
    Stdout::File(null.expect("/dev/null"))
}

#[test]
fn redraws_one_line_on_a_terminal_while_events_go_into_a_pipe_with_status() {
    let scenario = Scenario::new("status_line");
    let (terminal, written) = Terminal::open(80);
    let mut cswatch = watch(&scenario).args(["--status"]).stderr(written).spawn();
    terminal.expect("0 events, 0/s, caught up");
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 })).expect("an insert");
    assert_eq!(cswatch.next_event()["operationType"], "insert");
    let shown = terminal.expect("1 event, ");
    // A message has its own line and is not in the middle of the status.
    let message = format!("cswatch: watching {}.c", scenario.db().name());
    assert!(
        shown.lines().any(|line| line.ends_with(&message)),
        "{shown:?}"
    );
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
    // It is erased at the end: the next program on the terminal starts on an empty line.
    let shown = terminal.shown();
    let (_, after) = shown.rsplit_once("event, ").expect("a status");
    assert!(after.contains("\r\x1b[2K"), "{after:?}");
}

#[test]
fn draws_the_line_while_events_go_into_a_file_or_are_discarded() {
    let scenario = Scenario::new("status_apart");
    let directory = tempfile::tempdir().expect("a directory");
    let redirected = File::create(directory.path().join("stdout")).expect("a file");
    let output = directory.path().join("output").display().to_string();
    for (stdout, arguments) in [
        (Stdout::File(redirected), &[][..]),
        (null(), &[]),
        (Stdout::Lines, &["--output", &output]),
    ] {
        let (terminal, written) = Terminal::open(80);
        let cswatch = watch(&scenario)
            .args(arguments)
            .stdout(stdout)
            .stderr(written)
            .spawn();
        terminal.expect("0 events, 0/s, caught up");
        block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
        terminal.expect("1 event, ");
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
    }
}

#[test]
fn ignores_status_without_a_terminal() {
    let scenario = Scenario::new("status_ignored");
    let mut cswatch = watch(&scenario).args(["--status"]).spawn();
    insert_until(&scenario, || drop(cswatch.next_line()));
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert!(!finished.stderr.contains("/s, "), "{}", finished.stderr);
    assert!(!finished.stderr.contains("--status"), "{}", finished.stderr);
}

#[test]
fn draws_no_line_with_quiet_or_json_logs_or_events_in_a_pipe_or_on_the_same_terminal() {
    let scenario = Scenario::new("status_none");
    for arguments in [&["-q"][..], &["--log-format", "json"]] {
        let (terminal, written) = Terminal::open(80);
        let file = scenario.path("events");
        let stdout = File::create(&file).expect("a file");
        let cswatch = watch(&scenario)
            .args(arguments)
            .stdout(Stdout::File(stdout))
            .stderr(written)
            .spawn();
        insert_until(&scenario, || {
            poll(DEADLINE, || {
                let length = fs::metadata(&file).expect("a file").len();
                (length > 0).then_some(())
            })
            .expect("an event in the file");
        });
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
        assert!(!terminal.shown().contains("/s, "), "{:?}", terminal.shown());
    }
    for arguments in [&[][..], &["-q"], &["--log-format", "json"]] {
        let (terminal, written) = Terminal::open(80);
        let mut cswatch = watch(&scenario).args(arguments).stderr(written).spawn();
        insert_until(&scenario, || drop(cswatch.next_line()));
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
        assert!(!terminal.shown().contains("/s, "), "{:?}", terminal.shown());
    }
    let (terminal, written) = Terminal::open(80);
    let stdout = written.try_clone().expect("another handle");
    let cswatch = watch(&scenario)
        .stderr(written)
        .stdout(Stdout::File(stdout))
        .spawn();
    terminal.expect("watching");
    insert_until(&scenario, || drop(terminal.expect("operationType")));
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    assert!(!terminal.shown().contains("/s, "), "{:?}", terminal.shown());
}

/// Inserts documents until `printed` has seen an event and returns.
fn insert_until(scenario: &Scenario<'_>, printed: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let seen = scope.spawn(printed);
        while !seen.is_finished() {
            block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
        }
    });
}

#[test]
fn logs_the_status_on_sigusr1_with_every_log_option() {
    let scenario = Scenario::new("status_signal");
    for arguments in [&[][..], &["-q"], &["--log-format", "json"]] {
        let mut cswatch = watch(&scenario).args(arguments).spawn();
        insert_until(&scenario, || drop(cswatch.next_line()));
        cswatch.signal(Signal::USR1);
        let line = cswatch.expect_stderr("/s, ");
        assert!(
            line.contains(" event, ") || line.contains(" events, "),
            "{line}"
        );
        if arguments.contains(&"json") {
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(json["level"], "INFO");
        }
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
    }
}

#[test]
fn logs_the_status_on_sigusr1_before_the_first_connection() {
    let mut cswatch = Cswatch::new()
        .args([
            "--uri",
            "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
            "--wait",
        ])
        .spawn();
    cswatch.expect_stderr("warning: no connection yet, retrying: ");
    cswatch.signal(Signal::USR1);
    cswatch.expect_stderr("0 events, 0/s, stream not open yet, lag unknown");
}

#[test]
fn shows_the_progress_of_a_backlog() {
    let scenario = Scenario::new("status_progress");
    let mut start = scenario.set().operation_time();
    start.time -= 20;
    let (terminal, written) = Terminal::open(80);
    let cswatch = watch(&scenario)
        .args(["--status", "--start", &as_start(start)])
        .stderr(written)
        .stdout(Stdout::Stalled)
        .spawn();
    let coll = scenario.coll("c");
    block_on(coll.insert_one(doc! { "_id": 1 })).expect("an insert");
    cswatch.wait_unread(1);
    // Larger than the pipe: the checkpoint stays at the first event while the cluster time advances.
    let text = "x".repeat(1024 * 1024);
    block_on(coll.insert_one(doc! { "_id": 2, "text": text })).expect("an insert");

    let shown = terminal.expect("% of the backlog, ");

    let (before, _) = shown.rsplit_once("% of the backlog, ").expect("progress");
    let (_, done) = before.rsplit_once(' ').expect("a number");
    let done: u32 = done.parse().expect("a number");
    assert!((1..99).contains(&done), "{shown:?}");
    let (_, lag) = before.rsplit_once(", lag ").expect("a lag");
    assert!(lag.ends_with(&format!("s, {done}")), "{shown:?}");
}

#[test]
fn shows_a_low_headroom() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    // The headroom is unknown as long as the oplog has its first entry.
    set.roll_oplog(set.operation_time());
    let scenario = Scenario::on(&set, "status_headroom");
    let (terminal, written) = Terminal::open(80);
    let _cswatch = watch(&scenario).stdout(null()).stderr(written).spawn();
    terminal.expect("caught up, headroom ");
}

#[test]
fn shows_an_outage_until_it_is_over() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "status_outage");
    let uri = format!(
        "{}&serverSelectionTimeoutMS=1000&heartbeatFrequencyMS=500",
        set.uri()
    );
    let (terminal, written) = Terminal::open(100);
    let cswatch = Cswatch::new()
        .args([
            "--uri",
            &uri,
            "--db",
            scenario.db().name(),
            "--max-await",
            "100ms",
        ])
        .env("TERM", "xterm")
        .stdout(null())
        .stderr(written)
        .spawn();
    terminal.expect("caught up");
    let mongod = set.primary();
    mongod.kill();
    terminal.expect("reconnecting for ");
    mongod.restart();
    terminal.expect("cswatch: reconnected after ");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}
