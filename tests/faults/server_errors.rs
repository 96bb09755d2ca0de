//! Errors that servers answer with. Fail points apply to every client of a server, so each case has a set of its own.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, bson, doc};
use rustix::process::Signal;

use super::inserts::{self, assert_inserts, expect_inserts, insert};
use super::live_cursor::{LiveCursor, aggregates};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Waits less for a server that said it is shutting down, and then is not: by default up to 10 s, until it is asked again.
const FAST_HEARTBEAT: &str = "&heartbeatFrequencyMS=500";

/// A failing `getMore` as a real one: with the labels that the server gives this code.
fn get_more_fails_once(code: i32) -> Document {
    doc! {
        "configureFailPoint": "failGetMoreAfterCursorCheckout",
        "mode": { "times": 1 },
        "data": { "errorCode": code },
    }
}

/// Whatever fails, what was inserted meanwhile comes all the same.
#[track_caller]
fn survive_get_more_errors(name: &str, codes: &[i32]) {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, name);
    let uri = format!("{}{FAST_HEARTBEAT}", set.uri());
    let mut cswatch = inserts::watch(&scenario, &uri, &[]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    for code in codes {
        let fail_point = set.fail_point(get_more_fails_once(*code));
        fail_point.wait_for_hits(1);
        insert(&scenario, next..next + 3);
        expect_inserts(&mut cswatch, next..next + 3);
        next += 3;
    }
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..next);
}

#[test]
fn f13_get_more_fails_with_a_code_labelled_resumable() {
    survive_get_more_errors("f13", &[6, 89, 91, 189, 10107, 11600, 11602, 13436]);
}

#[test]
fn f14_get_more_fails_with_a_code_without_a_label() {
    survive_get_more_errors("f14", &[50, 237, 11601]);
}

#[test]
fn f15_connection_closed_at_the_next_three_requests() {
    survive_closed_connections("f15", Options::default());
}

#[test]
fn f16_connection_closed_at_the_next_three_requests_with_a_login() {
    survive_closed_connections(
        "f16",
        Options {
            auth: true,
            ..Options::default()
        },
    );
}

/// The driver's own resume fails here too. Its stream is no good after that: asked again, it answers with 50738, or with 13 as if a
/// privilege were missing (measured with driver 3.9.1), for ever.
#[track_caller]
fn survive_closed_connections(name: &str, options: Options) {
    let set = ReplicaSet::start(options);
    let scenario = Scenario::on(&set, name);
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    expect_inserts(&mut cswatch, 0..3);
    let fail_point = set.fail_point(doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 3 },
        "data": { "failCommands": ["getMore", "aggregate"], "closeConnection": true, "appName": "cswatch" },
    });
    fail_point.wait_for_hits(3);
    insert(&scenario, 3..6);
    expect_inserts(&mut cswatch, 3..6);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..6);
    for code in ["50738", "code 13"] {
        assert!(!finished.stderr.contains(code), "{}", finished.stderr);
    }
}

#[test]
fn f17_every_get_more_fails_though_every_resume_succeeds() {
    /// Long enough to tell a rate from a burst.
    const DURATION: Duration = Duration::from_secs(5);
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "f17");
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &[]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    expect_inserts(&mut cswatch, 0..3);
    let (aggregates_before, cpu_before) = (aggregates(&set), cswatch.cpu_time());
    let fail_point = set.fail_point(doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": {
            "failCommands": ["getMore"],
            "errorCode": 6,
            "errorLabels": ["ResumableChangeStreamError"],
            "appName": "cswatch",
        },
    });
    fail_point.wait_for_hits(1);
    // The fault is that it lasts.
    sleep(DURATION);
    let aggregates = aggregates(&set) - aggregates_before;
    let cpu = cswatch.cpu_time() - cpu_before;
    drop(fail_point);
    insert(&scenario, 3..6);
    let healed = Instant::now();
    expect_inserts(&mut cswatch, 3..6);
    let gap = healed.elapsed();
    assert!(
        aggregates < 50 * 5,
        "{aggregates} aggregates in {DURATION:?}"
    );
    assert!(cpu < DURATION / 5, "{cpu:?} of CPU time in {DURATION:?}");
    // The back-off is at most as long as the outage was.
    assert!(gap < Duration::from_secs(10), "{gap:?} after healing");
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..6);
}

#[test]
fn f18_cursor_operation_and_sessions_killed() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "f18");
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &[]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    let mut goes_on = || {
        insert(&scenario, next..next + 3);
        expect_inserts(&mut cswatch, next..next + 3);
        next += 3;
    };
    goes_on();

    let cursor = LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    let kill_cursor = doc! { "killCursors": "c", "cursors": [cursor.id] };
    block_on(scenario.db().run_command(kill_cursor)).expect("killCursors");
    goes_on();

    let cursor = LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    set.admin(doc! { "killOp": 1, "op": cursor.get_more });
    goes_on();

    LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    set.admin(doc! { "killAllSessions": [] });
    goes_on();

    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..next);
}

#[test]
fn believes_an_unknown_error_that_stays_unless_a_label_says_that_it_passes() {
    /// No server's.
    const UNKNOWN_CODE: i32 = 99_999;
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "unknown_error");
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &[]).spawn();
    cswatch.wait_open();
    let fail = |mode: Bson, labels: &[&str]| {
        set.fail_point(doc! {
            "configureFailPoint": "failCommand",
            "mode": mode,
            "data": {
                "failCommands": ["getMore", "aggregate"],
                "errorCode": UNKNOWN_CODE,
                "errorLabels": labels,
                "appName": "cswatch",
            },
        })
    };
    let mut next = 0;
    for label in [
        "ResumableChangeStreamError",
        "RetryableError",
        "SystemOverloadedError",
        "TransientTransactionError",
    ] {
        // The getMore, the driver's resume, and two more openings: without the label the second of these would be believed.
        let fail_point = fail(bson!({ "times": 4 }), &[label]);
        fail_point.wait_for_hits(4);
        insert(&scenario, next..next + 3);
        expect_inserts(&mut cswatch, next..next + 3);
        next += 3;
    }
    let fail_point = fail(bson!("alwaysOn"), &[]);
    let finished = cswatch.wait().expect_code(8);
    drop(fail_point);
    assert_inserts(&finished.stdout, 0..next);
    let last = finished.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("error: the server refuses the stream: ") && last.contains("code 99999"),
        "{last}"
    );
}
