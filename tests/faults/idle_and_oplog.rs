//! What happens behind the back of a `cswatch` that stands still: its session expires, the oplog forgets.

use std::fs;
use std::path::Path;

use mongodb::bson::{Timestamp, doc};
use rustix::process::Signal;
use serde_json::Value;

use super::inserts::{self, assert_inserts, expect_inserts, insert};
use super::live_cursor::LiveCursor;
use testkit::deadline::{DEADLINE, poll};
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::Running;
use testkit::scenario::Scenario;

#[test]
fn f19_session_expired_while_cswatch_stood_still() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "f19");
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &[]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    expect_inserts(&mut cswatch, 0..3);
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
    insert(&scenario, 3..6);
    cswatch.signal(Signal::CONT);
    expect_inserts(&mut cswatch, 3..6);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..6);
}

#[test]
fn f20_oplog_overtakes_cswatch_while_it_stands_still() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "f20");
    let file = scenario.path("position");
    let arguments = ["--resume-file", file.to_str().expect("a path")];
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &arguments).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    let printed = set.operation_time();
    expect_inserts(&mut cswatch, 0..3);
    let overtaken = overtake(&scenario, &cswatch);
    insert(&scenario, 3..6);
    cswatch.signal(Signal::CONT);
    let finished = cswatch.wait().expect_code(3);
    assert_inserts(&finished.stdout, 0..3);

    let saved = fs::read(&file).expect("a position");
    let time = time_in(&file);
    assert!(
        (printed..=overtaken).contains(&time),
        "{time}: {printed}..={overtaken}"
    );
    let from = rfc3339(time);
    expect_history_lost(&finished.stderr, &from, &set);

    // It does not go on by itself the next time either.
    let finished = inserts::watch(&scenario, &set.uri(), &arguments)
        .run()
        .expect_code(3);
    assert_eq!(finished.stdout, [""; 0]);
    expect_history_lost(&finished.stderr, &from, &set);
    assert_eq!(fs::read(&file).expect("a position"), saved);
}

#[test]
fn goes_on_at_the_oldest_event_when_told_to_accept_lost_history() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "earliest");
    let mut cswatch =
        inserts::watch(&scenario, &set.uri(), &["--on-history-lost", "earliest"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    expect_inserts(&mut cswatch, 0..3);
    overtake(&scenario, &cswatch);
    insert(&scenario, 3..6);
    cswatch.signal(Signal::CONT);
    cswatch.expect_stderr("warning: history lost: events from ");
    expect_inserts(&mut cswatch, 3..6);
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}

#[test]
fn goes_on_at_the_present_when_told_to_accept_lost_history() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "now");
    let mut cswatch = inserts::watch(&scenario, &set.uri(), &["--on-history-lost", "now"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..3);
    expect_inserts(&mut cswatch, 0..3);
    overtake(&scenario, &cswatch);
    insert(&scenario, 3..6);
    cswatch.signal(Signal::CONT);
    cswatch.expect_stderr("warning: history lost: events from ");
    insert(&scenario, 6..9);
    expect_inserts(&mut cswatch, 6..9);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, (0..3).chain(6..9));
}

#[test]
fn finds_the_oldest_event_with_the_privilege_of_the_stream_alone() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..forgetful_options()
    });
    let scenario = Scenario::on(&set, "start_earliest");
    set.admin(doc! {
        "createUser": "reader",
        "pwd": "secret",
        "roles": [{ "role": "read", "db": scenario.db().name() }],
    });
    insert(&scenario, 0..3);
    set.roll_oplog(set.operation_time());
    insert(&scenario, 3..6);
    let uri = set.uri_as("reader", "secret");
    let finished = inserts::watch(&scenario, &uri, &["--start", "earliest", "--until", "now"])
        .run()
        .expect_code(0);
    assert_inserts(&finished.stdout, 3..6);
}

/// A set whose oplog forgets quickly.
fn forgetful() -> ReplicaSet {
    ReplicaSet::start(forgetful_options())
}

fn forgetful_options() -> Options {
    Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    }
}

/// Stops `cswatch`, and lets the oplog forget the position it is at. Gives back a time that is not before that position.
#[track_caller]
fn overtake(scenario: &Scenario<'_>, cswatch: &Running) -> Timestamp {
    cswatch.signal(Signal::STOP);
    let at_rest = || LiveCursor::wait_for(scenario, |cursor| cursor.get_more.is_none());
    let set = scenario.set();
    loop {
        let replies = at_rest().replies;
        let time = set.operation_time();
        set.roll_oplog(time);
        // A request that it had sent before it stopped may have come to be answered only now, ahead of what was forgotten.
        if at_rest().replies == replies {
            return time;
        }
    }
}

/// Fails unless the last line on stderr says that history was lost since `from`, how far back it reaches, and the ways out.
#[track_caller]
fn expect_history_lost(stderr: &str, from: &str, set: &ReplicaSet) {
    let said = format!(
        "cswatch: error: history lost: the position is from {from}, the oldest the server still has is "
    );
    let (_, rest) = stderr
        .split_once(&said)
        .unwrap_or_else(|| panic!("{said}: {stderr}"));
    let (oldest, ways_out) = rest.split_once("; ").expect("ways out");
    // It may have forgotten more since.
    assert!(
        from <= oldest && *oldest <= *rfc3339(set.oplog_start()),
        "{oldest}"
    );
    assert_eq!(
        ways_out,
        "accept the gap with --on-history-lost earliest or --on-history-lost now; against the next time raise the oplog's size \
         or storage.oplogMinRetentionHours"
    );
}

/// The time of the position in a file.
#[track_caller]
fn time_in(file: &Path) -> Timestamp {
    let text = fs::read(file).expect("a position file");
    let position: Value = serde_json::from_slice(&text).expect("a position file is JSON");
    let part = |name: &str| {
        let part = position["time"][name].as_u64();
        u32::try_from(part.expect("a time")).expect("a part of a timestamp")
    };
    Timestamp {
        time: part("t"),
        increment: part("i"),
    }
}

/// The time as messages print it.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.time.into())
        .expect("a cluster time")
        .to_string()
}
