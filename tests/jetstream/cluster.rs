//! A stream with three replicas whose leader is killed again and again.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use testkit::deadline::BACKLOG_DEADLINE;
use testkit::load::Load;
use testkit::nats::NatsCluster;

use super::delivery::{Delivery, STREAM};

/// The variable with the number of seconds for which leaders are killed.
const VARIABLE: &str = "CSWATCH_TEST_LEADER_KILLS_SECONDS";

#[test]
fn delivers_each_event_once_and_in_order_while_leaders_are_killed() {
    /// Time between two kills.
    const INTERVAL: Duration = Duration::from_secs(20);
    /// Time until the killed server is started again.
    const DOWN: Duration = Duration::from_secs(5);

    let seconds = env::var(VARIABLE).map_or(60, |text| text.parse().expect("seconds"));
    let cluster = NatsCluster::start(3);
    let client = cluster.client();
    let delivery = Delivery::new("jetstream_leaders");
    let load = Load::start(&delivery.coll(), 1000, 100);
    let running = delivery
        .watch(&cluster.url())
        .args(["--nats-replicas", "3"])
        .spawn();
    client.wait_count(STREAM, 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < end {
        let leader = cluster.leader(STREAM);
        leader.kill();
        kills += 1;
        // The rhythm of the faults that are tested.
        thread::sleep(DOWN);
        leader.restart();
        thread::sleep(INTERVAL - DOWN);
    }
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count_within(BACKLOG_DEADLINE, STREAM, count);
    println!("{kills} leaders killed, {count} events");
    delivery.expect_complete(&client);
    let info = client.info(STREAM).expect("a stream");
    assert_eq!(info.config.num_replicas, 3);
    running.kill();
}

#[test]
fn delivers_each_event_once_and_in_order_while_servers_are_frozen_and_restarted_together() {
    let cluster = NatsCluster::start(3);
    let client = cluster.client();
    let delivery = Delivery::new("jetstream_frozen_leader");
    let load = Load::start(&delivery.coll(), 500, 100);
    let running = delivery
        .watch(&cluster.url())
        .args(["--nats-replicas", "3"])
        .spawn();
    client.wait_count(STREAM, 100);
    for _ in 0..2 {
        // Another leader is elected, and this one wakes up with what it had received before.
        let leader = cluster.leader(STREAM);
        leader.freeze();
        thread::sleep(Duration::from_secs(8));
        leader.thaw();
        client.wait_count(STREAM, client.count(STREAM) + 100);
    }
    for server in cluster.servers() {
        server.kill();
    }
    for server in cluster.servers() {
        server.restart();
    }
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count_within(BACKLOG_DEADLINE, STREAM, count);
    delivery.expect_complete(&client);
    running.kill();
}
