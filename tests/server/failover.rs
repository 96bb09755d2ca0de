//! Members of a replica set that die, freeze, step down and return. Each test has its own set of three members.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use mongodb::options::{Acknowledgment, WriteConcern};
use rustix::process::Signal;

use testkit::cswatch::Stdout;
use testkit::events::{briefs, insert, inserts};
use testkit::live_cursor::LiveCursor;
use testkit::load::Load;
use testkit::mongod::Mongod;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{LOST, RECONNECTED};

/// Starts a replica set of three members.
fn start_three_members() -> ReplicaSet {
    ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    })
}

#[test]
fn survives_the_kill_of_the_primary_during_a_get_more() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_1");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    let load = Load::start_through_failures(&scenario.coll("c"));
    cswatch.expect_inserts(0..20);
    // At 20 inserts per second a request is nearly always running; the server confirms it.
    LiveCursor::wait_for(&scenario, |cursor| cursor.get_more.is_some());
    set.primary().kill();
    let gap = cswatch.expect_inserts(20..60);
    assert!(gap < Duration::from_secs(10), "{gap:?} without a line");
    let count = load.stop();
    cswatch.expect_inserts(60..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        1,
        "{}",
        finished.stderr
    );
    assert_eq!(
        finished.stderr.matches(LOST).count(),
        1,
        "{}",
        finished.stderr
    );
    assert_eq!(
        finished.stderr.matches(RECONNECTED).count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn survives_the_kill_of_the_primary_between_two_get_mores() {
    const SIZE: usize = 512 * 1024;
    const COUNT: i32 = 30;
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_2");
    // One event per reply: the queue of `cswatch` is full before the server has returned all of them.
    let mut cswatch = scenario
        .watch(&["--batch-size", "1"])
        .stdout(Stdout::Stalled)
        .spawn();
    cswatch.wait_open();
    let coll = scenario.coll("c");
    for id in 0..COUNT {
        block_on(coll.insert_one(doc! { "_id": id, "x": "x".repeat(SIZE) })).expect("an insert");
    }
    // While the reader stalls, `cswatch` sends no `getMore`: the cursor is idle although it has more events.
    let mut idle_since = Instant::now();
    let mut returned = -1;
    LiveCursor::wait_for(&scenario, |cursor| {
        if cursor.get_more.is_some() || cursor.returned != returned {
            idle_since = Instant::now();
            returned = cursor.returned;
        }
        returned < i64::from(COUNT) && idle_since.elapsed() > Duration::from_secs(1)
    });
    set.primary().kill();
    set.primary();
    insert(&scenario.coll("c"), COUNT..COUNT + 5);
    cswatch.read_stdout();
    let gap = cswatch.expect_inserts(0..COUNT + 5);
    // The election is over, and the driver does not search for the dead server until its server selection timeout, 10 s here.
    assert!(gap < Duration::from_secs(5), "{gap:?} without a line");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}

#[test]
fn survives_a_step_down_of_the_primary() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_3");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    let load = Load::start_through_failures(&scenario.coll("c"));
    cswatch.expect_inserts(0..20);
    let old = set.primary().port();
    set.admin(doc! { "replSetStepDown": 20 });
    assert_ne!(set.primary().port(), old);
    cswatch.expect_inserts(20..60);
    let count = load.stop();
    cswatch.expect_inserts(60..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
    // It continues to read from the same member, which is a secondary now.
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        0,
        "{}",
        finished.stderr
    );
}

#[test]
fn survives_a_frozen_primary() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_4");
    // By default the driver notices a silent server after 20 s: 10 s until the next heartbeat, 10 s without a reply to it.
    let uri = format!(
        "{}&heartbeatFrequencyMS=1000&connectTimeoutMS=2000",
        set.uri()
    );
    let mut cswatch = scenario.watch_at(&uri, &[]).spawn();
    cswatch.wait_open();
    let load = Load::start_through_failures(&scenario.coll("c"));
    cswatch.expect_inserts(0..20);
    let frozen = set.primary();
    frozen.freeze();
    // Only two inserts: while a member is frozen, a write waits 2 s for its majority (measured on MongoDB 6.0.27).
    let gap = cswatch.expect_inserts(20..22);
    assert!(gap < Duration::from_secs(25), "{gap:?} without a line");
    frozen.thaw();
    let count = load.stop();
    cswatch.expect_inserts(22..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
}

#[test]
fn waits_for_a_majority_before_it_prints_a_write() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_5");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..1);
    cswatch.expect_inserts(0..1);
    let secondaries = set.secondaries();
    insert_without_majority(&scenario, &secondaries, 1);
    wait_for_two_replies(&scenario);
    assert_eq!(cswatch.printed(), 1);
    for secondary in &secondaries {
        secondary.restart();
    }
    cswatch.expect_inserts(1..2);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..2));
}

#[test]
fn never_prints_a_write_that_is_rolled_back() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_6");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..1);
    cswatch.expect_inserts(0..1);
    let primary = set.primary();
    let secondaries = set.secondaries();
    insert_without_majority(&scenario, &secondaries, 1);
    wait_for_two_replies(&scenario);
    primary.kill();
    for secondary in &secondaries {
        secondary.restart();
    }
    set.primary();
    insert(&scenario.coll("c"), 2..5);
    primary.restart();
    set.wait_until_ready();
    let rolled_back = block_on(scenario.coll("c").find_one(doc! { "_id": 1 })).expect("a read");
    assert_eq!(rolled_back, None);
    insert(&scenario.coll("c"), 5..8);
    cswatch.expect_inserts(2..8);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts([0, 2, 3, 4, 5, 6, 7]));
}

#[test]
fn survives_a_rolling_restart_of_all_members() {
    let set = start_three_members();
    let scenario = Scenario::on(&set, "failover_7");
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    let load = Load::start_through_failures(&scenario.coll("c"));
    // As an administrator would: the primary last.
    let mut members = set.secondaries();
    members.push(set.primary());
    for member in members {
        member.stop();
        member.restart();
        set.wait_until_ready();
    }
    let count = load.stop();
    cswatch.expect_inserts(0..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
}

/// Inserts a document that only the primary has, on disk, and kills the secondaries.
///
/// Without them the primary steps down after 2 s, and on a busy machine sooner than it has written. So they only stop replicating first.
#[track_caller]
fn insert_without_majority(scenario: &Scenario<'_>, secondaries: &[&Mongod], id: i32) {
    for secondary in secondaries {
        scenario.set().set_replication(secondary, false);
    }
    let journaled = WriteConcern::builder()
        .w(Acknowledgment::Nodes(1))
        .journal(true)
        .build();
    let coll = scenario.coll("c");
    let unconfirmed = coll.insert_one(doc! { "_id": id });
    block_on(unconfirmed.write_concern(journaled)).expect("a write with write concern 1");
    for secondary in secondaries {
        secondary.kill();
    }
}

/// Waits until the server has sent two more replies to the stream: the request for the second one came after this call.
#[track_caller]
fn wait_for_two_replies(scenario: &Scenario<'_>) {
    let mut first = None;
    LiveCursor::wait_for(scenario, |cursor| {
        let first = *first.get_or_insert(cursor.replies);
        cursor.replies >= first + 2
    });
}
