//! A stream that others change: purged, its messages removed by a limit, messages of others in it.

use std::time::Duration;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts};
use testkit::nats::{NatsClient, NatsServer};
use testkit::runtime::block_on;

use super::delivery::{Delivery, STREAM, lines};

const UNTIL_NOW: [&str; 2] = ["--until", "now"];

#[track_caller]
fn purge(client: &NatsClient) {
    let stream = client.stream(STREAM).expect("a stream");
    block_on(stream.purge()).expect("the stream can be purged");
}

#[test]
fn resumes_after_the_last_event_of_a_stream_that_was_purged() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_purged");
    insert(&delivery.coll(), 0..10);
    delivery.deliver(&server.url());
    purge(&client);
    insert(&delivery.coll(), 10..20);
    delivery.deliver(&server.url());
    assert_eq!(briefs(&lines(&client.messages(STREAM))), inserts(10..20));
}

#[test]
fn continues_while_the_stream_is_purged() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_purged_meanwhile");
    let running = delivery.watch(&server.url()).spawn();
    insert(&delivery.coll(), 0..10);
    client.wait_count(STREAM, 10);
    purge(&client);
    insert(&delivery.coll(), 10..20);
    client.wait_count(STREAM, 10);
    assert_eq!(briefs(&lines(&client.messages(STREAM))), inserts(10..20));
    running.kill();
}

#[test]
fn resumes_after_messages_that_a_limit_removed() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_expired");
    insert(&delivery.coll(), 0..10);
    delivery.deliver(&server.url());
    client.update_stream(STREAM, |config| {
        config.max_age = Duration::from_millis(200);
        config.duplicate_window = Duration::from_millis(200);
    });
    let empty = poll(DEADLINE, || (client.count(STREAM) == 0).then_some(()));
    assert!(empty.is_some(), "messages do not expire");
    client.update_stream(STREAM, |config| config.max_age = Duration::ZERO);
    insert(&delivery.coll(), 10..20);
    delivery.deliver(&server.url());
    assert_eq!(briefs(&lines(&client.messages(STREAM))), inserts(10..20));
}

#[test]
fn resumes_after_a_last_message_that_was_deleted() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_deleted_tail");
    insert(&delivery.coll(), 0..10);
    delivery.deliver(&server.url());
    let stream = client.stream(STREAM).expect("a stream");
    // The checkpoint in the bucket is at the removed message: nothing comes twice.
    block_on(stream.delete_message(10)).expect("a message can be deleted");
    insert(&delivery.coll(), 10..20);
    delivery.deliver(&server.url());
    let delivered = briefs(&lines(&client.messages(STREAM)));
    assert_eq!(delivered, inserts((0..9).chain(10..20)));
}

#[test]
fn refuses_a_stream_that_ends_with_a_message_of_another_program() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_foreign");
    insert(&delivery.coll(), 0..10);
    delivery.deliver(&server.url());
    client.publish("cswatch.other", "not an event");
    let refused = delivery.watch(&server.url()).args(UNTIL_NOW).run();
    let refused = refused.expect_code(6);
    let (message, _) = refused.error();
    assert!(
        message.contains("message 11") && message.contains(STREAM),
        "{message}"
    );
    assert_eq!(client.count(STREAM), 11);
}

#[test]
fn ends_when_another_program_publishes_into_its_stream() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_foreign_meanwhile");
    let running = delivery.watch(&server.url()).spawn();
    insert(&delivery.coll(), 0..10);
    client.wait_count(STREAM, 10);
    client.publish("cswatch.other", "not an event");
    insert(&delivery.coll(), 10..20);
    let ended = running.wait();
    let ended = ended.expect_code(6);
    let (message, _) = ended.error();
    assert!(
        message.contains("message 11") && message.contains(STREAM),
        "{message}"
    );
    assert_eq!(client.count(STREAM), 11);
}
