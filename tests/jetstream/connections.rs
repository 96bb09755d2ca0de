//! Connections to a NATS server that are cut, hang, are slow, or lose acknowledgements. The server forgets message ids after 100 ms, so
//! that no delivery depends on them.

use std::thread;
use std::time::Duration;

use async_nats::jetstream::stream::Config;

use testkit::load::Load;
use testkit::nats::{NatsClient, NatsServer};
use testkit::proxy::{Cut, Mode, Proxy};

use super::delivery::{Delivery, STREAM};

/// Creates the stream of cswatch with a short window for message ids.
fn create_stream(client: &NatsClient) {
    client.create_stream(Config {
        name: STREAM.to_owned(),
        subjects: vec!["cswatch.>".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..Config::default()
    });
}

/// Delivers through a proxy while `disturb` disturbs it, and compares the stream with the undisturbed file.
#[track_caller]
fn deliver_through(name: &str, disturb: impl Fn(&Proxy, &NatsClient)) {
    let server = NatsServer::start();
    let client = server.client();
    create_stream(&client);
    let proxy = Proxy::before(server.port());
    let url = format!("nats://{}", proxy.address());
    let delivery = Delivery::new(name);
    let load = Load::start(&delivery.coll(), 1000, 100);
    let running = delivery.watch(&url).spawn();
    client.wait_count(STREAM, 1);
    disturb(&proxy, &client);
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
    running.kill();
}

/// Waits until a few more messages are stored.
#[track_caller]
fn wait_progress(client: &NatsClient) {
    client.wait_count(STREAM, client.count(STREAM) + 10);
}

#[test]
fn delivers_each_event_once_over_connections_that_are_cut() {
    deliver_through("jetstream_cuts", |proxy, client| {
        for cut in [Cut::Close, Cut::Reset].repeat(5) {
            wait_progress(client);
            proxy.cut(cut);
        }
        proxy.set_mode(Mode::Refuse);
        // Longer than the first attempts to reconnect.
        thread::sleep(Duration::from_secs(1));
        proxy.set_mode(Mode::Pass);
        wait_progress(client);
    });
}

#[test]
fn delivers_each_event_once_when_acknowledgements_are_lost() {
    deliver_through("jetstream_lost_acknowledgements", |proxy, client| {
        for _ in 0..5 {
            wait_progress(client);
            proxy.set_mode(Mode::BlackHoleReplies);
            // Stored without an acknowledgement that arrives, for longer than the server remembers message ids.
            wait_progress(client);
            thread::sleep(Duration::from_millis(300));
            proxy.cut(Cut::Reset);
            proxy.set_mode(Mode::Pass);
        }
        wait_progress(client);
    });
}

#[test]
fn delivers_each_event_once_when_acknowledgements_are_late() {
    /// Enough for 1,000 acknowledgements per second only after the load has ended.
    const BYTES_PER_SECOND: u32 = 40_000;
    let server = NatsServer::start();
    let client = server.client();
    create_stream(&client);
    let proxy = Proxy::before_slow(server.port(), BYTES_PER_SECOND);
    let url = format!("nats://{}", proxy.address());
    let delivery = Delivery::new("jetstream_late_acknowledgements");
    let load = Load::start(&delivery.coll(), 1000, 100);
    let running = delivery.watch(&url).spawn();
    client.wait_count(STREAM, 5000);
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
    running.kill();
}

#[test]
fn delivers_each_event_once_over_a_connection_that_hangs() {
    deliver_through("jetstream_black_hole", |proxy, client| {
        for _ in 0..2 {
            wait_progress(client);
            proxy.set_mode(Mode::BlackHole);
            // Longer than cswatch waits for an acknowledgement.
            thread::sleep(Duration::from_secs(12));
            proxy.set_mode(Mode::Pass);
        }
        wait_progress(client);
    });
}
