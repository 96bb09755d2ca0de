//! Connections that break, are refused, or fall silent. The proxy is between `cswatch` and the shared set, which notices nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::inserts::{self, Inserts, assert_inserts, expect_inserts, insert};
use super::{BACK, LOST};
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::scenario::Scenario;

/// What `-v` says of each attempt that failed.
const ATTEMPT: &str = "debug: ";

#[test]
fn f08_connections_reset_and_closed() {
    let scenario = Scenario::new("f08");
    let proxy = Proxy::start(scenario.set().primary());
    let mut cswatch = inserts::watch(&scenario, &proxy.uri(), &[]).spawn();
    cswatch.wait_open();
    let load = Inserts::start(&scenario);
    expect_inserts(&mut cswatch, 0..10);
    proxy.cut(Cut::Reset);
    expect_inserts(&mut cswatch, 10..40);
    proxy.cut(Cut::Close);
    expect_inserts(&mut cswatch, 40..70);
    let count = load.stop();
    expect_inserts(&mut cswatch, 70..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..count);
    // The driver may have resumed before it came to that.
    let lost = finished.stderr.matches(LOST).count();
    assert_eq!(
        finished.stderr.matches(BACK).count(),
        lost,
        "{}",
        finished.stderr
    );
}

#[test]
fn f09_connections_refused_for_a_while() {
    let scenario = Scenario::new("f09");
    let proxy = Proxy::start(scenario.set().primary());
    let uri = format!("{}&serverSelectionTimeoutMS=500", proxy.uri());
    let mut cswatch = inserts::watch(&scenario, &uri, &["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..5);
    expect_inserts(&mut cswatch, 0..5);
    let refused = Instant::now();
    proxy.set_mode(Mode::Refuse);
    cswatch.expect_stderr(LOST);
    insert(&scenario, 5..10);
    for _ in 0..3 {
        cswatch.expect_stderr(ATTEMPT);
    }
    let down = refused.elapsed();
    proxy.set_mode(Mode::Pass);
    expect_inserts(&mut cswatch, 5..10);
    let back = cswatch.expect_stderr(BACK);
    assert!(
        seconds_in(&back) >= down.as_secs_f64() - 0.5,
        "{back} after {down:?}"
    );
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..10);
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn f10_black_hole() {
    let scenario = Scenario::new("f10");
    let proxy = Proxy::start(scenario.set().primary());
    // By default a silent server is noticed after 20 s: 10 s until it is asked, 10 s until it has not answered.
    let uri = format!(
        "{}&heartbeatFrequencyMS=500&connectTimeoutMS=1000&serverSelectionTimeoutMS=500",
        proxy.uri()
    );
    let mut cswatch = inserts::watch(&scenario, &uri, &["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..5);
    expect_inserts(&mut cswatch, 0..5);
    proxy.set_mode(Mode::BlackHole);
    insert(&scenario, 5..10);
    cswatch.expect_stderr(LOST);
    for _ in 0..3 {
        cswatch.expect_stderr(ATTEMPT);
    }
    proxy.set_mode(Mode::Pass);
    let gap = expect_inserts(&mut cswatch, 5..10);
    assert!(gap < Duration::from_secs(35), "{gap:?} after healing");
    insert(&scenario, 10..15);
    expect_inserts(&mut cswatch, 10..15);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..15);
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn f11_half_open_connection_under_a_healthy_monitor() {
    let scenario = Scenario::new("f11");
    let proxy = Proxy::start(scenario.set().primary());
    let mut cswatch = inserts::watch(&scenario, &proxy.uri(), &[])
        .deadline(Duration::from_secs(50))
        .spawn();
    cswatch.wait_open();
    insert(&scenario, 0..5);
    expect_inserts(&mut cswatch, 0..5);
    let silent = Instant::now();
    proxy.set_mode(Mode::BlackHoleGetMore);
    insert(&scenario, 5..10);
    let lost = cswatch.expect_stderr(LOST);
    assert!(lost.contains("no reply for 30s"), "{lost}");
    // New connections have carried no `getMore` yet; without this they would fall silent in their turn.
    proxy.set_mode(Mode::Pass);
    expect_inserts(&mut cswatch, 5..10);
    let elapsed = silent.elapsed();
    assert!(elapsed < Duration::from_secs(35), "{elapsed:?}");
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_inserts(&finished.stdout, 0..10);
}

#[test]
fn f12_server_down_at_start() {
    let scenario = Scenario::new("f12");
    let proxy = Proxy::start(scenario.set().primary());
    proxy.set_mode(Mode::Refuse);
    let uri = format!("{}&serverSelectionTimeoutMS=1000", proxy.uri());
    let started = Instant::now();
    let finished = inserts::watch(&scenario, &uri, &[]).run().expect_code(7);
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    assert_eq!(finished.stdout, [""; 0]);
    let (_, said) = finished.stderr.trim_end().split_once(' ').expect("a time");
    let host = proxy.uri();
    let host = host
        .trim_start_matches("mongodb://")
        .split('/')
        .next()
        .expect("a host");
    assert!(
        said.starts_with(&format!(
            "cswatch: error: cannot reach MongoDB at {host}: the connection was refused ("
        )) && said.ends_with("check that mongod runs there and on that port; --wait keeps trying"),
        "{said}"
    );

    let mut cswatch = inserts::watch(&scenario, &uri, &["--wait"]).spawn();
    cswatch.expect_stderr("warning: no connection yet, trying again: ");
    proxy.set_mode(Mode::Pass);
    cswatch.expect_stderr("connection is there after ");
    cswatch.wait_open();
    insert(&scenario, 0..5);
    expect_inserts(&mut cswatch, 0..5);
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}

#[test]
fn gives_up_when_unreachable_for_longer_than_it_was_told_to_retry() {
    let scenario = Scenario::new("retry_for");
    let proxy = Proxy::start(scenario.set().primary());
    let uri = format!("{}&serverSelectionTimeoutMS=300", proxy.uri());
    let mut cswatch = inserts::watch(&scenario, &uri, &["--retry-for", "2s"]).spawn();
    cswatch.wait_open();
    insert(&scenario, 0..1);
    expect_inserts(&mut cswatch, 0..1);
    let refused = Instant::now();
    proxy.set_mode(Mode::Refuse);
    let finished = cswatch.wait().expect_code(7);
    let elapsed = refused.elapsed();
    assert!(
        elapsed > Duration::from_secs(2) && elapsed < Duration::from_secs(5),
        "{elapsed:?}"
    );
    assert!(
        finished
            .stderr
            .contains("error: no server for 2s, longer than --retry-for: ")
            && finished
                .stderr
                .ends_with("; --retry-for forever keeps trying"),
        "{}",
        finished.stderr
    );
}

/// The seconds at the end of "connection is back after 1.5s".
#[track_caller]
fn seconds_in(line: &str) -> f64 {
    let (_, time) = line.rsplit_once(' ').expect("a word at the end");
    let seconds = time
        .strip_suffix('s')
        .and_then(|seconds| seconds.parse().ok());
    seconds.unwrap_or_else(|| panic!("no seconds at the end: {line}"))
}
