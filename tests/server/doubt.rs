//! Errors of which it is unknown whether they pass: retried for a limited time, at the start and later. Fail points apply to every client of
//! a server, so each test has its own replica set.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use testkit::events::{briefs, insert, inserts};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// Longer than the fault that ended a watch before there was doubt.
const FAULT: Duration = Duration::from_secs(3);

/// Codes that no table knows: locks, plans, snapshots, sessions, transactions, and two that no server uses.
const UNKNOWN: &[i32] = &[
    1, 8, 24, 46, 112, 175, 202, 211, 246, 251, 261, 267, 290, 314, 365, 7777, 99_999,
];

/// Codes that later servers call retriable, and codes that the server also has for an invalid token.
const KNOWN: &[i32] = &[
    402, 406, 407, 412, 453, 50_915, 91_331, 10_045_600, 9, 15, 207, 40_649, 136,
];

fn fail(commands: &[&str], code: i32) -> Document {
    doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": { "failCommands": commands, "errorCode": code, "appName": "cswatch" },
    }
}

/// Fails more requests than an error that is fatal at the second attempt would survive, with each code, and checks that the inserts of that
/// time are printed.
#[track_caller]
fn check_codes(name: &str, commands: &[&str], codes: &[i32]) {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, name);
    let mut cswatch = scenario.watch(&["--max-await", "100ms"]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    for code in codes {
        let fail_point = set.fail_point(fail(commands, *code));
        insert(&scenario.coll("c"), next..next + 2);
        fail_point.wait_for_hits(4);
        drop(fail_point);
        insert(&scenario.coll("c"), next + 2..next + 4);
        cswatch.expect_inserts(next..next + 4);
        next += 4;
    }
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..next));
}

#[test]
fn survives_codes_in_doubt_from_every_request() {
    check_codes("doubt_all", &["aggregate", "getMore"], UNKNOWN);
}

#[test]
fn survives_codes_in_doubt_from_every_get_more_though_the_stream_opens() {
    check_codes("doubt_get_more", &["getMore"], UNKNOWN);
}

#[test]
fn survives_retriable_codes_of_later_servers_and_codes_of_invalid_tokens() {
    check_codes("doubt_known", &["aggregate", "getMore"], KNOWN);
}

#[test]
fn survives_three_seconds_of_errors_in_doubt_while_it_watches_and_when_it_starts() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "doubt_three_seconds");
    let mut next = 0;
    // The checkpoint of the first watch is where the others resume.
    scenario.remaining();
    for (commands, code) in [
        (&["aggregate", "getMore"] as &[&str], 24),
        (&["getMore"], 246),
        (&["hello", "replSetGetConfig", "aggregate"], 261),
    ] {
        let mut cswatch = scenario.watch(&[]).spawn();
        cswatch.wait_open();
        insert(&scenario.coll("c"), next..next + 2);
        cswatch.expect_inserts(next..next + 2);
        let fail_point = set.fail_point(fail(commands, code));
        // The duration of the fault is what is tested.
        sleep(FAULT);
        insert(&scenario.coll("c"), next + 2..next + 4);
        drop(fail_point);
        cswatch.expect_inserts(next + 2..next + 4);
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
        next += 4;

        insert(&scenario.coll("c"), next..next + 2);
        let fail_point = set.fail_point(fail(commands, code));
        let mut cswatch = scenario.watch(&[]).spawn();
        sleep(FAULT);
        drop(fail_point);
        cswatch.expect_inserts(next..next + 2);
        cswatch.signal(Signal::TERM);
        cswatch.wait().expect_code(0);
        next += 2;
    }
}

#[test]
fn survives_errors_in_doubt_while_it_looks_for_the_start() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "doubt_start");
    insert(&scenario.coll("c"), 0..2);
    for (start, expected) in [("earliest", 0..2), ("-1h", 0..2), ("now", 0..0)] {
        let fail_point = set.fail_point(fail(&["aggregate"], 175));
        let mut cswatch = scenario
            .cswatch(["--coll", "c", "--no-resume", &format!("--start={start}")])
            .spawn();
        fail_point.wait_for_hits(3);
        drop(fail_point);
        cswatch.wait_open();
        cswatch.expect_inserts(expected);
        cswatch.kill();
    }
}

#[test]
fn ends_after_retry_for_when_an_error_in_doubt_remains() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "doubt_limit");
    // A stream that opens makes no progress while every request for events fails.
    for commands in [&["aggregate", "getMore"] as &[&str], &["getMore"]] {
        let mut cswatch = scenario.watch(&["--retry-for", "2s"]).spawn();
        cswatch.wait_open();
        let fail_point = set.fail_point(fail(commands, 46));
        fail_point.wait_for_hits(1);
        let failed = Instant::now();
        let finished = cswatch.wait().expect_code(8);
        let took = failed.elapsed();
        drop(fail_point);
        assert!(
            took > Duration::from_secs(1) && took < Duration::from_secs(8),
            "{took:?}"
        );
        finished.expect_error(
            "the server refuses the stream: Failing command via 'failCommand' failpoint (LockBusy, code 46) for 2s",
            "--explain prints the command that was sent; -v logs more",
        );
    }
}
