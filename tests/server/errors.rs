//! Error replies of the server. Fail points apply to every client of a server, so each test has its own replica set.

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

/// Shortens the wait for a server that reports a shutdown but does not shut down: by default the driver checks it again after up to 10 s.
const FAST_HEARTBEAT: &str = "&heartbeatFrequencyMS=500";

/// Returns a fail point for one `getMore`, with the error labels that the server adds for this code.
fn fail_one_get_more(code: i32) -> Document {
    doc! {
        "configureFailPoint": "failGetMoreAfterCursorCheckout",
        "mode": { "times": 1 },
        "data": { "errorCode": code },
    }
}

/// Fails a `getMore` with each code, and checks that the inserts of that time are printed.
#[track_caller]
fn check_get_more_errors(name: &str, codes: &[i32]) {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, name);
    let uri = format!("{}{FAST_HEARTBEAT}", set.uri());
    let mut cswatch = scenario.watch_at(&uri, &[]).spawn();
    cswatch.wait_open();
    let mut next = 0;
    for code in codes {
        let fail_point = set.fail_point(fail_one_get_more(*code));
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
    check_get_more_errors("labeled", &[6, 89, 91, 189, 10107, 11600, 11602, 13436]);
}

#[test]
fn survives_get_more_errors_without_a_label() {
    check_get_more_errors("unlabeled", &[50, 237, 11601]);
}

#[test]
fn survives_three_closed_connections_in_a_row() {
    check_closed_connections("closed", Options::default());
}

#[test]
fn survives_three_closed_connections_in_a_row_with_a_login() {
    check_closed_connections(
        "closed_with_login",
        Options {
            auth: true,
            ..Options::default()
        },
    );
}

/// Closes the connection three times, so that the driver's own resume fails too. After that the driver's stream is unusable: every further
/// request returns 50738, or 13 as if a privilege were missing (measured with driver 3.9.1).
#[track_caller]
fn check_closed_connections(name: &str, options: Options) {
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
    /// Long enough to distinguish a rate from a burst.
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
    // The duration of the fault is what is tested.
    sleep(DURATION);
    let aggregates = aggregates(&set) - aggregates_before;
    let cpu = cswatch.cpu_time() - cpu_before;
    drop(fail_point);
    insert(&scenario.coll("c"), 3..6);
    let repaired = Instant::now();
    cswatch.expect_inserts(3..6);
    let gap = repaired.elapsed();
    assert!(
        aggregates < 50 * 5,
        "{aggregates} aggregates in {DURATION:?}"
    );
    assert!(cpu < DURATION / 5, "{cpu:?} of CPU time in {DURATION:?}");
    // A backoff is never longer than the outage.
    assert!(
        gap < Duration::from_secs(10),
        "{gap:?} after the fault ended"
    );
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
    let mut expect_next = || {
        insert(&scenario.coll("c"), next..next + 3);
        cswatch.expect_inserts(next..next + 3);
        next += 3;
    };
    expect_next();

    let cursor = LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    let kill_cursor = doc! { "killCursors": "c", "cursors": [cursor.id] };
    block_on(scenario.db().run_command(kill_cursor)).expect("killCursors");
    expect_next();

    let cursor = LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    set.admin(doc! { "killOp": 1, "op": cursor.get_more });
    expect_next();

    LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    set.admin(doc! { "killAllSessions": [] });
    expect_next();

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
    // Ends the session at once instead of after 30 minutes: the server removes the cursors of ended sessions when it looks for expired
    // ones, which it does every 5 minutes and on this command. A request that is still running starts the session again.
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
fn retries_an_unknown_error_with_a_retryable_label_and_for_30_seconds_without_one() {
    /// A code that no server uses.
    const UNKNOWN_CODE: i32 = 99_999;
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "unknown_error");
    let mut cswatch = scenario.watch(&[]).deadline(DEADLINE * 3).spawn();
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
        // The getMore, the driver's resume, and two more attempts to open.
        let fail_point = fail(bson!({ "times": 4 }), &[label]);
        fail_point.wait_for_hits(4);
        insert(&scenario.coll("c"), next..next + 3);
        cswatch.expect_inserts(next..next + 3);
        next += 3;
    }
    let fail_point = fail(bson!("alwaysOn"), &[]);
    let failed = Instant::now();
    let finished = cswatch.wait().expect_code(8);
    let took = failed.elapsed();
    drop(fail_point);
    assert!(
        took > Duration::from_secs(29) && took < Duration::from_secs(45),
        "{took:?}"
    );
    assert_eq!(briefs(&finished.stdout), inserts(0..next));
    finished.expect_error(
        "the server refuses the stream: Failing command via 'failCommand' failpoint (Location99999, code 99999) for 30s",
        "--explain prints the command that was sent; -v logs more",
    );
}
