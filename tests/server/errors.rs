//! Errors that servers answer with. Fail points apply to every client of a server, so each case has a set of its own.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, bson, doc};
use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts};
use testkit::live_cursor::{LiveCursor, aggregates};
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
    let mut cswatch = scenario.watch_at(&uri, &[]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    for code in codes {
        let fail_point = set.fail_point(get_more_fails_once(*code));
        fail_point.wait_for_hits(1);
        insert(&scenario.coll("c"), next..next + 3);
        cswatch.expect_inserts(next..next + 3);
        next += 3;
    }
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..next));
}

#[test]
fn survives_get_more_errors_labeled_resumable() {
    survive_get_more_errors("labeled", &[6, 89, 91, 189, 10107, 11600, 11602, 13436]);
}

#[test]
fn survives_get_more_errors_without_a_label() {
    survive_get_more_errors("unlabeled", &[50, 237, 11601]);
}

#[test]
fn survives_three_closed_connections_in_a_row() {
    survive_closed_connections("closed", Options::default());
}

#[test]
fn survives_three_closed_connections_in_a_row_with_a_login() {
    survive_closed_connections(
        "closed_with_login",
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
    let mut cswatch = scenario.watch(&["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..3);
    cswatch.expect_inserts(0..3);
    let fail_point = set.fail_point(doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 3 },
        "data": { "failCommands": ["getMore", "aggregate"], "closeConnection": true, "appName": "cswatch" },
    });
    fail_point.wait_for_hits(3);
    insert(&scenario.coll("c"), 3..6);
    cswatch.expect_inserts(3..6);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..6));
    for code in ["50738", "code 13"] {
        assert!(!finished.stderr.contains(code), "{}", finished.stderr);
    }
}

#[test]
fn backs_off_while_every_get_more_fails_though_every_resume_succeeds() {
    /// Long enough to tell a rate from a burst.
    const DURATION: Duration = Duration::from_secs(5);
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "failing_get_more");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..3);
    cswatch.expect_inserts(0..3);
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
    insert(&scenario.coll("c"), 3..6);
    let healed = Instant::now();
    cswatch.expect_inserts(3..6);
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
    assert_eq!(briefs(&finished.stdout), inserts(0..6));
}

#[test]
fn survives_the_kill_of_its_cursor_its_operation_and_its_session() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "killed_cursor");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    let mut goes_on = || {
        insert(&scenario.coll("c"), next..next + 3);
        cswatch.expect_inserts(next..next + 3);
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
    assert_eq!(briefs(&finished.stdout), inserts(0..next));
}

#[test]
fn survives_a_session_that_expired_while_it_was_stopped() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "expired_session");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..3);
    cswatch.expect_inserts(0..3);
    cswatch.signal(Signal::STOP);
    // What a session of 30 minutes comes to at its end, at once: the server takes cursors of ended sessions away when it looks for
    // expired ones, which it does every 5 minutes, and when told to. A request still under way begins the session anew.
    let gone = poll(DEADLINE, || {
        let Some(cursor) = LiveCursor::now(&scenario) else {
            return Some(());
        };
        set.admin(doc! { "endSessions": [cursor.session] });
        set.admin(doc! { "refreshLogicalSessionCacheNow": 1 });
        None
    });
    assert!(
        gone.is_some(),
        "the cursor is still there after {DEADLINE:?}"
    );
    insert(&scenario.coll("c"), 3..6);
    cswatch.signal(Signal::CONT);
    cswatch.expect_inserts(3..6);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..6));
}

#[test]
fn believes_an_unknown_error_that_stays_unless_a_label_says_that_it_passes() {
    /// No server's.
    const UNKNOWN_CODE: i32 = 99_999;
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "unknown_error");
    let mut cswatch = scenario.watch(&[]).spawn();
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
        insert(&scenario.coll("c"), next..next + 3);
        cswatch.expect_inserts(next..next + 3);
        next += 3;
    }
    let fail_point = fail(bson!("alwaysOn"), &[]);
    let finished = cswatch.wait().expect_code(8);
    drop(fail_point);
    assert_eq!(briefs(&finished.stdout), inserts(0..next));
    let last = finished.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("error: the server refuses the stream: ") && last.contains("code 99999"),
        "{last}"
    );
}
