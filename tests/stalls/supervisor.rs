//! A supervisor that does not read its notifications.

use std::os::unix::net::UnixDatagram;

use testkit::scenario::Scenario;

use super::{GRACE, SLACK, terminate_within, wait_printing};

#[test]
fn prints_events_and_ends_on_sigterm_while_the_supervisor_does_not_read() {
    let scenario = Scenario::new("supervisor_stalled");
    let path = scenario.path("notify");
    let _supervisor = UnixDatagram::bind(&path).expect("a socket");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.set_nonblocking(true).expect("a socket that fails");
    // The kernel queues a few datagrams; the next one waits.
    while sender.send_to(b"STATUS=full", &path).is_ok() {}
    let mut running = scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        .env("NOTIFY_SOCKET", &path)
        .spawn();
    running.wait_open();
    wait_printing(&mut running, &scenario.coll("c"));
    terminate_within(running, GRACE + SLACK).expect_code(0);
}
