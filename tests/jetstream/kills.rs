//! `kill -9` of cswatch at any moment, again and again, while an application writes.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use testkit::load::Load;
use testkit::nats::NatsServer;

use super::delivery::{Delivery, STREAM};

#[test]
fn delivers_each_event_once_and_in_order_after_kill_9_at_any_moment() {
    /// Seed of the moments of the kills.
    const SEED: u64 = 0x0DD_BA11_5EED;
    const KILLS: u32 = 200;

    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_kills");
    let load = Load::start(&delivery.coll(), 500, 100);
    for _ in 0..KILLS {
        let mut running = delivery.watch(&server.url()).spawn();
        // During the startup, soon after it, or while messages are published.
        let longest = match random.u8(..3) {
            0 => Duration::from_millis(400),
            1 => {
                running.wait_open();
                Duration::from_millis(50)
            }
            _ => {
                running.wait_open();
                client.wait_count(STREAM, client.count(STREAM) + 1);
                Duration::from_millis(100)
            }
        };
        // The random moment is the fault that is tested: there is no event to wait for.
        thread::sleep(longest.mul_f64(random.f64()));
        running.kill();
    }
    load.stop();
    delivery.finish(&server.url(), &client);
}
