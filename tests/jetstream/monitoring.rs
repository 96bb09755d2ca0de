//! Metrics, the status line and health of a delivery, of the replica that is active and of one that stands by.

use std::path::Path;

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::endpoint::Endpoint;
use testkit::events::insert;
use testkit::finished::Finished;
use testkit::nats::NatsServer;

use super::delivery::{Delivery, STREAM};

fn health(file: &Path) -> Finished {
    let command = Cswatch::new().args(["health", "--resume-file"]);
    command.args([file]).run()
}

#[track_caller]
fn wait_healthy(file: &Path) {
    let found = poll(DEADLINE, || (health(file).code == Some(0)).then_some(()));
    assert!(found.is_some(), "{}", health(file).stderr);
}

#[test]
fn reports_the_delivery_and_who_is_active() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_metrics");
    let directory = tempfile::tempdir().expect("a directory");
    let files = ["first", "second"].map(|name| directory.path().join(name));
    let [mut active, mut standby] = files.each_ref().map(|file| {
        let watch = delivery.watch(&server.url());
        let mut running = watch
            .args(["--metrics-addr", "127.0.0.1:0", "--nats-health-file"])
            .args([file])
            .spawn();
        let endpoint = Endpoint::of(&mut running);
        // One after the other, so that the first one is active.
        endpoint.expect("cswatch_nats_active", None, |active| {
            active == Some(1.0) || running.has_reported("standing by")
        });
        (running, endpoint)
    });
    active.0.wait_open();
    insert(&delivery.coll(), 0..50);
    client.wait_count(STREAM, 50);
    active
        .1
        .expect("cswatch_nats_published_total", None, |count| {
            count == Some(50.0)
        });
    active
        .1
        .expect("cswatch_nats_in_flight_bytes", None, |bytes| {
            bytes == Some(0.0)
        });
    let metrics = active.1.scrape();
    let value = |name| metrics.value(name, None);
    assert_eq!(
        metrics.value("cswatch_events_total", Some("insert")),
        Some(50.0)
    );
    assert_eq!(value("cswatch_nats_active"), Some(1.0));
    assert_eq!(value("cswatch_nats_in_flight_messages"), Some(0.0));
    assert_eq!(value("cswatch_nats_redelivered_total"), Some(0.0));
    let (_, text) = active.1.get("/metrics");
    assert!(
        text.contains("cswatch_nats_acknowledgement_seconds_count 50"),
        "{text}"
    );
    assert!(
        text.contains("cswatch_nats_acknowledgement_seconds_bucket{le=\"+Inf\"} 50"),
        "{text}"
    );

    assert_eq!(
        standby.1.scrape().value("cswatch_nats_active", None),
        Some(0.0)
    );
    for path in ["/healthz", "/readyz"] {
        for endpoint in [&active.1, &standby.1] {
            let (status, body) = endpoint.get(path);
            assert_eq!(status, 200, "{path}: {body}");
        }
    }
    files.iter().for_each(|file| wait_healthy(file));
    for (running, text) in [
        (&mut active.0, "50 events"),
        (&mut standby.0, "standing by"),
    ] {
        running.signal(Signal::USR1);
        running.expect_stderr(text);
        running.signal(Signal::TERM);
    }
    active.0.wait().expect_code(0);
    standby.0.wait().expect_code(0);
    let gone = health(&files[0]).expect_code(1);
    assert!(
        gone.stderr.contains("no watch is running"),
        "{}",
        gone.stderr
    );
}

#[test]
fn is_not_ready_before_it_reaches_a_server() {
    let delivery = Delivery::new("jetstream_not_ready");
    let address = format!("nats://127.0.0.1:{}", testkit::port::free_port());
    let watch = delivery.watch(&address);
    let mut running = watch
        .args(["--wait", "--metrics-addr", "127.0.0.1:0"])
        .spawn();
    let endpoint = Endpoint::of(&mut running);
    running.expect_stderr("NATS: no connection yet, retrying");
    assert_eq!(endpoint.get("/readyz").0, 503);
    assert_eq!(
        endpoint.scrape().value("cswatch_nats_active", None),
        Some(0.0)
    );
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
}
