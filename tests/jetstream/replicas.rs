//! Several replicas of cswatch with one stream: one delivers, the others stand by.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use testkit::deadline::poll;
use testkit::events::insert;
use testkit::load::Load;
use testkit::nats::NatsServer;
use testkit::proxy::{Mode, Proxy};
use testkit::running::Running;

use super::delivery::{Delivery, STREAM};

/// Time within which another replica delivers, and what a busy machine may add.
const TAKEOVER: Duration = Duration::from_secs(10 + 5);

/// Time within which another replica delivers when it need not wait for the lease to expire.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Part of the message of a replica that stands by.
const STANDS_BY: &str = "standing by";

/// Starts replicas, and waits until the first delivers and the others stand by.
#[track_caller]
fn start(delivery: &Delivery<'_>, url: &str, count: usize) -> Vec<Running> {
    let mut active = delivery.watch(url).spawn();
    active.wait_open();
    let mut replicas = vec![active];
    for _ in 1..count {
        let mut standby = delivery.watch(url).args(["-v"]).spawn();
        standby.expect_stderr(STANDS_BY);
        replicas.push(standby);
    }
    replicas
}

/// Waits until one of the replicas delivers, and returns its index.
#[track_caller]
fn wait_active(replicas: &[Running], since: Instant) -> usize {
    let active = poll(TAKEOVER.saturating_sub(since.elapsed()), || {
        let open = |replica: &Running| replica.has_reported("watching");
        replicas.iter().position(open)
    });
    active.expect("no replica took over")
}

#[test]
fn takes_over_within_the_lease_time_from_a_process_that_hangs_and_at_once_after_kill_9() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_takeover");
    let load = Load::start(&delivery.coll(), 500, 100);
    let mut replicas = start(&delivery, &server.url(), 3);
    // A process that hangs is to the others what one of another machine is that was killed.
    for (fault, limit) in [(Signal::STOP, TAKEOVER), (Signal::KILL, AT_ONCE)] {
        client.wait_count(STREAM, client.count(STREAM) + 1);
        let active = replicas.remove(0);
        active.signal(fault);
        if fault == Signal::KILL {
            active.kill();
        }
        let since = Instant::now();
        let next = wait_active(&replicas, since);
        client.wait_count(STREAM, client.count(STREAM) + 1);
        println!("took over after {:?}", since.elapsed());
        assert!(since.elapsed() < limit, "{:?}", since.elapsed());
        replicas.swap(0, next);
        // The others still stand by.
        let is_active = |replica: &Running| replica.has_reported("watching");
        assert!(!replicas[1..].iter().any(is_active));
    }
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
}

#[test]
fn takes_over_at_once_after_an_orderly_shutdown() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_handover");
    let mut replicas = start(&delivery, &server.url(), 2);
    insert(&delivery.coll(), 0..10);
    client.wait_count(STREAM, 10);
    let active = replicas.remove(0);
    active.signal(Signal::TERM);
    active.wait().expect_code(0);
    let ended = Instant::now();
    wait_active(&replicas, ended);
    assert!(ended.elapsed() < AT_ONCE, "{:?}", ended.elapsed());
    insert(&delivery.coll(), 10..20);
    client.wait_count(STREAM, 20);
    delivery.expect_complete(&client);
}

#[test]
fn writes_nothing_when_it_wakes_up_after_another_replica_took_over() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_zombie");
    let load = Load::start(&delivery.coll(), 500, 100);
    let mut replicas = start(&delivery, &server.url(), 2);
    client.wait_count(STREAM, 100);
    let mut zombie = replicas.remove(0);
    zombie.signal(Signal::STOP);
    wait_active(&replicas, Instant::now());
    client.wait_count(STREAM, client.count(STREAM) + 100);
    zombie.signal(Signal::CONT);
    zombie.expect_stderr(STANDS_BY);
    client.wait_count(STREAM, client.count(STREAM) + 100);
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
    // It is a replica like any other: it takes over again.
    replicas.remove(0).kill();
    insert(&delivery.coll(), 1_000_000..1_000_010);
    client.wait_count(STREAM, count + 10);
    delivery.expect_complete(&client);
    zombie.kill();
}

#[test]
fn stays_active_while_the_server_is_slow_for_5_seconds() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_slow_server");
    let load = Load::start(&delivery.coll(), 200, 100);
    let replicas = start(&delivery, &server.url(), 2);
    let replicas: [Running; 2] = replicas.try_into().ok().expect("two");
    for _ in 0..3 {
        client.wait_count(STREAM, client.count(STREAM) + 1);
        server.freeze();
        // The fault that is tested.
        thread::sleep(Duration::from_secs(5));
        server.thaw();
        client.wait_count(STREAM, client.count(STREAM) + 1);
    }
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
    let [active, standby] = replicas.map(|replica| replica.kill().stderr);
    assert!(
        !active.contains(STANDS_BY) && !standby.contains("watching"),
        "active:\n{active}\nstanding by:\n{standby}"
    );
}

#[test]
fn stands_by_after_the_network_kept_it_from_the_server() {
    let server = NatsServer::start();
    let client = server.client();
    let proxy = Proxy::before(server.port());
    let delivery = Delivery::new("jetstream_partition");
    let load = Load::start(&delivery.coll(), 500, 100);
    let mut cut_off = delivery
        .watch(&format!("nats://{}", proxy.address()))
        .spawn();
    cut_off.wait_open();
    let mut standby = delivery.watch(&server.url()).spawn();
    standby.expect_stderr(STANDS_BY);
    client.wait_count(STREAM, 100);
    proxy.set_mode(Mode::BlackHole);
    let standby = [standby];
    wait_active(&standby, Instant::now());
    client.wait_count(STREAM, client.count(STREAM) + 100);
    // What the network held back arrives late.
    proxy.set_mode(Mode::Pass);
    cut_off.expect_stderr(STANDS_BY);
    client.wait_count(STREAM, client.count(STREAM) + 100);
    let count = u64::try_from(load.stop()).expect("a number");
    client.wait_count(STREAM, count);
    delivery.expect_complete(&client);
    cut_off.kill();
}
