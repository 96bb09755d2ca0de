//! Replies that take longer than the reply timeout of 30 s: the server scans for a rare event, or the network is slow.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use testkit::events::{briefs, insert, inserts};
use testkit::proxy::Proxy;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Time for a watch with such replies.
const LONG: Duration = Duration::from_secs(240);

#[test]
fn waits_for_a_server_that_is_still_searching_for_an_event() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "long_scan");
    scenario.watch(&["--until", "now"]).run().expect_code(0);
    insert(&scenario.coll("c"), 1..=10);
    // The search takes 45 s.
    let slow = r#"{"$expr":{"$function":{"lang":"js","args":["$documentKey._id"],"body":"function(id) { sleep(4500); return id == 10; }"}}}"#;
    let found = scenario
        .watch(&["--match", slow, "--count", "1", "--catch-up-streams", "1"])
        .deadline(LONG)
        .run()
        .expect_code(0);
    assert_eq!(briefs(&found.stdout), inserts([10]));
    let stderr = &found.stderr;
    assert!(
        stderr.contains(" has been searching for an event for "),
        "{stderr}"
    );
    assert!(!stderr.contains("retrying"), "{stderr}");
}

#[test]
fn prints_events_that_a_network_of_2_mbit_per_second_carries_slower_than_the_reply_timeout() {
    const BYTES_PER_SECOND: u32 = 2_000_000 / 8;
    /// 48 seconds of the network.
    const EVENTS: i32 = 750;
    const EVENT_BYTES: usize = 16_000;
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "slow_network");
    scenario.watch(&["--until", "now"]).run().expect_code(0);
    let documents: Vec<Document> = (0..EVENTS)
        .map(|id| doc! { "_id": id, "x": "x".repeat(EVENT_BYTES) })
        .collect();
    block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
    let proxy = Proxy::start_slow(set.primary(), BYTES_PER_SECOND);
    let uri = format!("{}&serverSelectionTimeoutMS=2000", proxy.uri());
    let count = EVENTS.to_string();
    let all = scenario
        .watch_at(&uri, &["--count", &count, "--catch-up-streams", "1"])
        .deadline(LONG)
        .run()
        .expect_code(0);
    assert_eq!(briefs(&all.stdout), inserts(0..EVENTS));
}
