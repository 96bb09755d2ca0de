//! `--retry-for` limits an outage, however long the connection string lets the driver wait, and the error names the cause.

use std::time::{Duration, Instant};

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::finished::Finished;
use testkit::port::{free_listener, free_port};
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::scenario::Scenario;

/// Options that make the driver wait far longer than `--retry-for`.
const PATIENT: &str = "serverSelectionTimeoutMS=60000&connectTimeoutMS=60000";

const LIMIT: &str = "3s";

const HINT: &str = "use a longer --retry-for, or --retry-for forever to keep trying";

/// Fails unless the outage lasted for `LIMIT`, and the error names it and a cause that contains `cause`.
#[track_caller]
fn expect_limit(finished: Finished, took: Duration, cause: &str) {
    let finished = finished.expect_code(7);
    finished.expect_error("no connection for 3s, the limit of --retry-for: ", HINT);
    let (message, _) = finished.error();
    assert!(message.contains(cause), "{message}");
    assert!(took > Duration::from_millis(2500), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// Breaks the connection of a running watch, and checks how it ends.
#[track_caller]
fn check_outage(name: &str, mode: Mode, cause: &str) {
    let scenario = Scenario::new(name);
    let proxy = Proxy::start(scenario.set().primary());
    let uri = format!("{}&{PATIENT}&heartbeatFrequencyMS=500", proxy.uri());
    let mut cswatch = scenario.watch_at(&uri, &["--retry-for", LIMIT]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..2);
    cswatch.expect_inserts(0..2);
    proxy.set_mode(mode);
    proxy.cut(Cut::Reset);
    let broken = Instant::now();
    let finished = cswatch.wait();
    expect_limit(finished, broken.elapsed(), cause);
}

#[test]
fn limits_an_outage_of_a_server_that_refuses_connections() {
    check_outage("retry_for_refused", Mode::Refuse, "Connection refused");
}

#[test]
fn limits_an_outage_of_a_server_that_accepts_connections_and_never_replies() {
    check_outage("retry_for_silent", Mode::BlackHole, "Connection reset");
}

#[test]
fn limits_the_wait_for_a_first_server() {
    let silent = free_listener();
    let silent = silent.local_addr().expect("an address").port();
    for (port, cause) in [(free_port(), "Connection refused"), (silent, "")] {
        let uri = format!("mongodb://127.0.0.1:{port}/?{PATIENT}");
        let started = Instant::now();
        let finished = Cswatch::new()
            .args(["--uri", &uri, "--no-resume", "--wait", "--retry-for", LIMIT])
            .run();
        expect_limit(finished, started.elapsed(), cause);
    }
}

#[test]
fn does_not_retry_with_a_limit_of_zero() {
    let scenario = Scenario::new("retry_for_zero");
    let proxy = Proxy::start(scenario.set().primary());
    let mut cswatch = scenario
        .watch_at(&proxy.uri(), &["--retry-for", "0s"])
        .spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..2);
    cswatch.expect_inserts(0..2);
    proxy.set_mode(Mode::Refuse);
    let broken = Instant::now();
    let finished = cswatch.wait().expect_code(7);
    let took = broken.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    finished.expect_error("no connection, and --retry-for 0s allows no retry: ", HINT);
}
