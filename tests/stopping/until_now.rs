//! `--until now` while a majority of the members lags behind, and on a set where nothing is written.

use mongodb::bson::{Timestamp, doc};

use testkit::cswatch::Cswatch;
use testkit::endpoint::Endpoint;
use testkit::events::{as_start, briefs, insert, inserts};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Three members. Without the entries that an idle primary writes every 10 s, a token that must move takes as long as a test may take.
fn three_members(are_noops_written: bool) -> ReplicaSet {
    ReplicaSet::start(Options {
        nodes: 3,
        arguments: vec![format!(
            "--setParameter=writePeriodicNoops={are_noops_written}"
        )],
        ..Options::default()
    })
}

fn until_now(scenario: &Scenario<'_>) -> Cswatch {
    scenario.cswatch([
        "--coll",
        "c",
        "--no-resume",
        "--until",
        "now",
        "--max-await",
        "50ms",
    ])
}

/// Inserts a document into collection `c`, without waiting for the other members. Returns the time of its event.
#[track_caller]
fn insert_on_primary(scenario: &Scenario<'_>, id: i32) -> Timestamp {
    let insert = doc! { "insert": "c", "documents": [{ "_id": id }], "writeConcern": { "w": 1 } };
    let reply = block_on(scenario.db().run_command(insert)).expect("an insert");
    reply.get_timestamp("operationTime").expect("a time")
}

/// An event that no majority has yet is not readable, and an empty reply at its time does not prove that there is none.
#[test]
fn prints_an_event_of_exactly_now_that_waits_for_a_majority() {
    let set = three_members(true);
    let scenario = Scenario::on(&set, "majority_lags");
    insert(&scenario.coll("c"), [1]);
    for member in set.secondaries() {
        set.set_replication(member, false);
    }
    let now = insert_on_primary(&scenario, 2);
    let mut running = until_now(&scenario)
        .args(["--start", &as_start(now), "--metrics-addr", "127.0.0.1:0"])
        .spawn();
    let endpoint = Endpoint::of(&mut running);
    running.wait_open();
    // An empty reply came, at exactly the time of the event.
    endpoint.expect("cswatch_time_since_reply_seconds", None, |value| {
        value.is_some()
    });
    for member in set.secondaries() {
        set.set_replication(member, true);
    }
    let run = running.wait().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts([2]));
}

#[test]
fn prints_an_event_that_waits_for_a_majority_when_it_resumes_before_it() {
    let set = three_members(true);
    let scenario = Scenario::on(&set, "majority_lags_resumed");
    let before = insert_on_primary(&scenario, 1);
    for member in set.secondaries() {
        set.set_replication(member, false);
    }
    insert_on_primary(&scenario, 2);
    let mut running = until_now(&scenario)
        .args([
            "--start",
            &as_start(before),
            "--metrics-addr",
            "127.0.0.1:0",
        ])
        .spawn();
    let endpoint = Endpoint::of(&mut running);
    running.wait_open();
    endpoint.expect("cswatch_time_since_reply_seconds", None, |value| {
        value.is_some()
    });
    for member in set.secondaries() {
        set.set_replication(member, true);
    }
    let run = running.wait().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts([1, 2]));
}

#[test]
fn ends_at_once_where_nothing_else_is_written() {
    let set = three_members(false);
    let scenario = Scenario::on(&set, "idle_members");
    let now = insert_on_primary(&scenario, 1);
    let starts = [as_start(now), "earliest".to_owned(), "now".to_owned()];
    for (start, expected) in starts.iter().zip([inserts([1]), inserts([1]), Vec::new()]) {
        let run = until_now(&scenario)
            .args(["--start", start])
            .run()
            .expect_code(0);
        assert_eq!(briefs(&run.stdout), expected, "{start}");
    }
    // From another member too, once its token has moved.
    let uri = format!("{}&readPreference=secondary", set.uri());
    let run = Cswatch::new()
        .args([
            "--uri",
            &uri,
            "--db",
            scenario.db().name(),
            "--coll",
            "c",
            "--no-resume",
        ])
        .args([
            "--start",
            "earliest",
            "--until",
            "now",
            "--max-await",
            "50ms",
        ])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts([1]));
}
