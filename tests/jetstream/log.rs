//! A stream that others change: purged, its messages removed by a limit, messages of others in it.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;

use testkit::deadline::{DEADLINE, poll};
use testkit::endpoint::Endpoint;
use testkit::events::{briefs, insert, inserts};
use testkit::finished::Finished;
use testkit::nats::{NatsClient, NatsServer};
use testkit::proxy::{Mode, Proxy};
use testkit::running::Running;
use testkit::runtime::block_on;

use super::delivery::{BUCKET, Delivery, STREAM, lines};

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

/// A delivery of which ten messages were sent when another writer published one: it has the place of the first of them, and the server
/// has stored the other nine behind it.
struct Displaced {
    server: NatsServer,
    client: NatsClient,
    delivery: Delivery<'static>,
    /// Carries the messages of the watch, and still holds back the acknowledgements.
    proxy: Proxy,
}

impl Displaced {
    /// Lets `publish` publish between the messages. Returns the watch too, which does not know of it yet.
    #[track_caller]
    fn new(name: &str, publish: impl FnOnce(&NatsClient)) -> (Displaced, Running) {
        let server = NatsServer::start();
        let client = server.client();
        let delivery = Delivery::new(name);
        let proxy = Proxy::before(server.port());
        let watch = delivery.watch(&format!("nats://{}", proxy.address()));
        let mut running = watch.args(["--metrics-addr", "127.0.0.1:0"]).spawn();
        let endpoint = Endpoint::of(&mut running);
        let expect_in_flight = |count| {
            endpoint.expect("cswatch_nats_in_flight_messages", None, |messages| {
                messages == Some(count)
            });
        };
        insert(&delivery.coll(), 0..10);
        client.wait_count(STREAM, 10);
        expect_in_flight(0.0);
        proxy.set_mode(Mode::BlackHole);
        insert(&delivery.coll(), 10..20);
        expect_in_flight(10.0);
        publish(&client);
        // What was sent arrives now.
        proxy.set_mode(Mode::BlackHoleReplies);
        client.wait_count(STREAM, 20);
        let displaced = Displaced {
            server,
            client,
            delivery,
            proxy,
        };
        (displaced, running)
    }

    /// Fails unless `failure` names the message of the other program, and the delivery continues without a gap when it is removed.
    #[track_caller]
    fn expect_repaired(&self, failure: &Finished) {
        let (message, hint) = failure.error();
        assert!(
            message.contains("message 11") && message.contains("in the place of an event"),
            "{message}"
        );
        assert!(hint.contains("nats stream rmm cswatch 11"), "{hint}");
        let url = self.server.url();
        let again = self.delivery.watch(&url).args(UNTIL_NOW).run();
        let again = again.expect_code(6);
        assert_eq!(again.error(), failure.error());
        let checked = self.delivery.check(&url).run().expect_code(6);
        let report = checked.stdout.join("\n");
        assert!(report.contains(message), "{report}");

        let stream = self.client.stream(STREAM).expect("a stream");
        block_on(stream.delete_message(11)).expect("a message can be deleted");
        self.delivery.deliver(&url);
        // The events behind the message come again, since the first of them is missing there.
        let expected = inserts((0..10).chain(11..20).chain(10..20));
        assert_eq!(briefs(&lines(&self.client.messages(STREAM))), expected);
        insert(&self.delivery.coll(), 20..30);
        self.delivery.deliver(&url);
        let delivered = briefs(&lines(&self.client.messages(STREAM)));
        assert_eq!(delivered[29..], inserts(20..30));
    }
}

fn publish_foreign(client: &NatsClient) {
    client.publish("cswatch.other", "not an event");
}

#[test]
fn delivers_the_event_that_a_message_of_another_cswatch_displaced() {
    // As one with another filter, that was frozen, sends it when it continues.
    let publish = |client: &NatsClient| {
        let last = client.messages(STREAM).pop().expect("a message");
        let token = last.header("Nats-Msg-Id").expect("a token");
        let message = PublishMessage::build()
            .message_id(format!("{token}#0"))
            .payload(last.line.into());
        let sent = async {
            let context = client.jetstream();
            context.send_publish(last.subject, message).await?.await
        };
        block_on(sent).expect("a message is stored");
    };
    let (displaced, running) = Displaced::new("jetstream_displaced_by_cswatch", publish);
    displaced.proxy.set_mode(Mode::Pass);
    let client = &displaced.client;
    client.wait_count(STREAM, 30);
    let expected = inserts((0..10).chain([9]).chain(11..20).chain(10..20));
    assert_eq!(briefs(&lines(&client.messages(STREAM))), expected);
    let ended = running.kill();
    let reason = "another writer stored messages";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

#[test]
fn ends_when_another_program_publishes_between_its_messages_and_delivers_the_displaced_event() {
    let (displaced, running) = Displaced::new("jetstream_displaced", publish_foreign);
    displaced.proxy.set_mode(Mode::Pass);
    let failure = running.wait().expect_code(6);
    displaced.expect_repaired(&failure);
}

#[test]
fn finds_a_message_of_another_program_between_those_of_a_run_that_was_killed() {
    let (displaced, running) = Displaced::new("jetstream_displaced_kill", publish_foreign);
    running.kill();
    displaced.client.delete_key(BUCKET, "lease");
    let watch = displaced.delivery.watch(&displaced.server.url());
    let failure = watch.args(UNTIL_NOW).run().expect_code(6);
    displaced.expect_repaired(&failure);
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
    // One alone: of several in flight, the server would store those behind it.
    insert(&delivery.coll(), 10..11);
    let ended = running.wait();
    let ended = ended.expect_code(6);
    let (message, _) = ended.error();
    assert!(
        message.contains("message 11") && message.contains(STREAM),
        "{message}"
    );
    assert_eq!(client.count(STREAM), 11);
}
