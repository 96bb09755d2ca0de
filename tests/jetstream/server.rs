//! A NATS server that is killed, restarted, frozen, or comes back with older files.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use testkit::events::insert;
use testkit::load::Load;
use testkit::nats::NatsServer;

use super::delivery::{Delivery, STREAM};

#[test]
fn delivers_each_event_once_and_in_order_over_kill_9_of_the_server() {
    const SEED: u64 = 0x5E7_7E12;
    const KILLS: u32 = 8;

    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_server_kills");
    let load = Load::start(&delivery.coll(), 1000, 100);
    let mut running = delivery.watch(&server.url()).spawn();
    running.wait_open();
    for _ in 0..KILLS {
        client.wait_count(STREAM, client.count(STREAM) + 1);
        // The random moment is the fault that is tested.
        thread::sleep(Duration::from_millis(500).mul_f64(random.f64()));
        server.restart();
    }
    let count = load.stop();
    client.wait_count(STREAM, u64::try_from(count).expect("a number"));
    delivery.expect_complete(&client);
    assert!(running.has_reported("watching"));
    running.kill();
    delivery.finish(&server.url(), &client);
}

#[test]
fn delivers_again_what_the_server_lost_while_cswatch_was_down() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_older_store");
    let until_now = ["--until", "now"];
    insert(&delivery.coll(), 0..50);
    delivery
        .watch(&server.url())
        .args(until_now)
        .run()
        .expect_code(0);
    server.stop();
    let older = server.copy_store();
    server.restart();
    insert(&delivery.coll(), 50..100);
    delivery
        .watch(&server.url())
        .args(until_now)
        .run()
        .expect_code(0);
    assert_eq!(server.client().count(STREAM), 100);
    // The bucket with the checkpoint is newer than the stream.
    server.restart_with_stream(&older, STREAM);
    assert_eq!(server.client().count(STREAM), 50);
    delivery.finish(&server.url(), &server.client());
    // Both are older.
    server.restart_with_store(&older);
    insert(&delivery.coll(), 100..110);
    delivery.finish(&server.url(), &server.client());
}

#[test]
fn delivers_again_what_the_server_lost_while_cswatch_runs() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_lost_messages");
    insert(&delivery.coll(), 0..50);
    let until_now = ["--until", "now"];
    delivery
        .watch(&server.url())
        .args(until_now)
        .run()
        .expect_code(0);
    server.stop();
    let older = server.copy_store();
    server.restart();
    let client = server.client();
    let running = delivery.watch(&server.url()).spawn();
    insert(&delivery.coll(), 50..100);
    client.wait_count(STREAM, 100);
    server.restart_with_store(&older);
    insert(&delivery.coll(), 100..150);
    client.wait_count(STREAM, 150);
    delivery.expect_complete(&client);
    running.kill();
}
