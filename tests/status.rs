//! The status line: drawn on a terminal where no events are, and said once on SIGUSR1.

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::as_start;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

fn watch(scenario: &Scenario<'_>) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        // It may run where TERM says that there is no terminal.
        .env("TERM", "xterm")
}

#[test]
fn a_terminal_on_stderr_shows_one_line_that_is_redrawn_while_events_go_into_a_pipe() {
    let scenario = Scenario::new("status_line");
    let (terminal, written) = Terminal::open(80);
    let mut cswatch = watch(&scenario).stderr(written).spawn();
    terminal.expect("0 events, 0/s, caught up");
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 })).expect("an insert");
    assert_eq!(cswatch.next_event()["operationType"], "insert");
    let shown = terminal.expect("1 events, ");
    // A message stands on a line of its own, not in the middle of the status.
    let message = format!("cswatch: watching {}.c", scenario.db().name());
    assert!(
        shown.lines().any(|line| line.ends_with(&message)),
        "{shown:?}"
    );
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
    // It is gone at the end: what comes after it in the terminal finds an empty line.
    let shown = terminal.shown();
    let (_, after) = shown.rsplit_once("events, ").expect("a status");
    assert!(after.contains("\r\x1b[2K"), "{after:?}");
}

#[test]
fn no_line_is_drawn_quietly_nor_for_machines_nor_beside_events_on_the_terminal() {
    let scenario = Scenario::new("status_none");
    for arguments in [&["-q"][..], &["--log-format", "json"]] {
        let (terminal, written) = Terminal::open(80);
        let mut cswatch = watch(&scenario).args(arguments).stderr(written).spawn();
        expect_printed(&scenario, || drop(cswatch.next_line()));
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
    expect_printed(&scenario, || drop(terminal.expect("operationType")));
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    assert!(!terminal.shown().contains("/s, "), "{:?}", terminal.shown());
}

/// Writes until `printed` has seen an event.
fn expect_printed(scenario: &Scenario<'_>, printed: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let seen = scope.spawn(printed);
        while !seen.is_finished() {
            block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
        }
    });
}

#[test]
fn sigusr1_says_the_status_once_wherever_stderr_goes_and_however_quiet() {
    let scenario = Scenario::new("status_signal");
    for arguments in [&[][..], &["-q"], &["--log-format", "json"]] {
        let mut cswatch = watch(&scenario).args(arguments).spawn();
        expect_printed(&scenario, || drop(cswatch.next_line()));
        cswatch.signal(Signal::USR1);
        let line = cswatch.expect_stderr(" events, ");
        assert!(line.contains("/s, "), "{line}");
        if arguments.contains(&"json") {
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(json["level"], "INFO");
        }
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
    }
}

#[test]
fn sigusr1_before_there_is_a_connection_is_answered_too() {
    let mut cswatch = Cswatch::new()
        .args([
            "--uri",
            "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
            "--wait",
        ])
        .spawn();
    cswatch.expect_stderr("no connection yet");
    cswatch.signal(Signal::USR1);
    cswatch.expect_stderr("0 events, 0/s, not open yet, lag unknown");
}

#[test]
fn a_backlog_shows_how_much_of_the_way_is_done_and_what_the_rest_takes() {
    let scenario = Scenario::new("status_progress");
    let mut start = scenario.set().operation_time();
    start.time -= 20;
    let (terminal, written) = Terminal::open(80);
    let cswatch = watch(&scenario)
        .args(["--start", &as_start(start)])
        .stderr(written)
        .stdout(Stdout::Stalled)
        .spawn();
    let coll = scenario.coll("c");
    block_on(coll.insert_one(doc! { "_id": 1 })).expect("an insert");
    cswatch.wait_unread(1);
    // More than the pipe holds: the position stays at the first event, while the present moves on.
    let text = "x".repeat(1024 * 1024);
    block_on(coll.insert_one(doc! { "_id": 2, "text": text })).expect("an insert");

    let shown = terminal.expect(" % of the way, ");

    let (before, _) = shown.rsplit_once(" % of the way, ").expect("progress");
    let (_, done) = before.rsplit_once(' ').expect("a number");
    let done: u32 = done.parse().expect("a number");
    assert!((1..99).contains(&done), "{shown:?}");
    assert!(before.ends_with(&format!("s behind, {done}")), "{shown:?}");
}

#[test]
fn a_history_that_is_about_to_be_lost_is_shown() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    // Nothing is about to be lost while the oplog still has its first entry.
    set.roll_oplog(set.operation_time());
    let scenario = Scenario::on(&set, "status_headroom");
    let (terminal, written) = Terminal::open(80);
    let _cswatch = watch(&scenario).stderr(written).spawn();
    terminal.expect("caught up, the oplog reaches back ");
}

#[test]
fn an_outage_is_shown_until_it_is_over() {
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
        .stderr(written)
        .spawn();
    terminal.expect("caught up");
    let mongod = set.primary();
    mongod.kill();
    terminal.expect("no stream for ");
    mongod.restart();
    terminal.expect("connection is back");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}
