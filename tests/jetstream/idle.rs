//! Streams without events to deliver: the checkpoint in the bucket follows the server.

use testkit::deadline::{DEADLINE, poll};
use testkit::events::insert;
use testkit::nats::NatsServer;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};

use super::delivery::{BUCKET, Delivery, STREAM};

#[test]
fn moves_the_checkpoint_while_no_event_matches() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_idle");
    let filter = ["--match", r#"{"fullDocument.wanted": true}"#];
    let mut running = delivery.watch(&server.url()).args(filter).spawn();
    running.wait_open();
    let saved = || client.value(BUCKET, "checkpoint");
    for id in 0..3 {
        let before = saved();
        insert(&delivery.coll(), [id]);
        let moved = poll(DEADLINE, || (saved() != before).then_some(()));
        assert!(moved.is_some(), "the checkpoint stays at {before:?}");
    }
    assert_eq!(client.count(STREAM), 0);
    running.kill();
}

#[test]
fn resumes_after_a_quiet_time_longer_than_the_oplog_window() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::on(&set, "jetstream_quiet");
    insert(&delivery.coll(), [0]);
    let running = delivery.watch(&server.url()).spawn();
    client.wait_count(STREAM, 1);
    let last_event = set.operation_time();
    set.roll_oplog(last_event);
    // The checkpoint of a time that the server still has.
    let rolled = set.operation_time();
    let saved = || client.value(BUCKET, "checkpoint");
    let before = saved();
    let moved = poll(DEADLINE, || (saved() != before).then_some(()));
    assert!(
        moved.is_some(),
        "the checkpoint stays at {before:?}, before {rolled}"
    );
    running.kill();
    insert(&delivery.coll(), [1]);
    let rest = delivery.watch(&server.url()).args(["--until", "now"]).run();
    rest.expect_code(0);
    let messages = client.messages(STREAM);
    assert_eq!(messages.len(), 2);
}
