//! Connections that break, are refused, or fall silent. The proxy is between `cswatch` and the shared set, which notices nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts};
use testkit::load::Load;
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::scenario::Scenario;

use super::{BACK, LOST};

/// What `-v` says of each attempt that failed.
const ATTEMPT: &str = "debug: ";

#[test]
fn survives_connections_that_are_reset_and_closed() {
    let scenario = Scenario::new("reset");
    let proxy = Proxy::start(scenario.set().primary());
    let mut cswatch = scenario.watch_at(&proxy.uri(), &[]).spawn();
    cswatch.wait_open();
    let load = Load::start_through_failures(&scenario.coll("c"));
    cswatch.expect_inserts(0..10);
    proxy.cut(Cut::Reset);
    cswatch.expect_inserts(10..40);
    proxy.cut(Cut::Close);
    cswatch.expect_inserts(40..70);
    // The driver may have resumed by itself so far. When its resume fails too, there is an outage.
    let is_lost = poll(DEADLINE, || {
        proxy.cut(Cut::Reset);
        cswatch.has_reported(LOST).then_some(())
    });
    assert!(is_lost.is_some(), "no outage");
    cswatch.expect_stderr(BACK);
    let count = load.stop();
    cswatch.expect_inserts(70..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
    let lost = finished.stderr.matches(LOST).count();
    assert_eq!(
        finished.stderr.matches(BACK).count(),
        lost,
        "{}",
        finished.stderr
    );
    assert!(lost > 0, "{}", finished.stderr);
}

#[test]
fn survives_refused_connections() {
    let scenario = Scenario::new("refused");
    let proxy = Proxy::start(scenario.set().primary());
    let uri = format!("{}&serverSelectionTimeoutMS=500", proxy.uri());
    let mut cswatch = scenario.watch_at(&uri, &["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..5);
    cswatch.expect_inserts(0..5);
    let refused = Instant::now();
    proxy.set_mode(Mode::Refuse);
    cswatch.expect_stderr(LOST);
    insert(&scenario.coll("c"), 5..10);
    for _ in 0..3 {
        cswatch.expect_stderr(ATTEMPT);
    }
    let down = refused.elapsed();
    proxy.set_mode(Mode::Pass);
    cswatch.expect_inserts(5..10);
    let back = cswatch.expect_stderr(BACK);
    assert!(
        seconds_in(&back) >= down.as_secs_f64() - 0.5,
        "{back} after {down:?}"
    );
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..10));
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn survives_a_network_that_carries_nothing() {
    let scenario = Scenario::new("black_hole");
    let proxy = Proxy::start(scenario.set().primary());
    // By default a silent server is noticed after 20 s: 10 s until it is asked, 10 s until it has not answered.
    let uri = format!(
        "{}&heartbeatFrequencyMS=500&connectTimeoutMS=1000&serverSelectionTimeoutMS=500",
        proxy.uri()
    );
    let mut cswatch = scenario.watch_at(&uri, &["-v"]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..5);
    cswatch.expect_inserts(0..5);
    proxy.set_mode(Mode::BlackHole);
    insert(&scenario.coll("c"), 5..10);
    cswatch.expect_stderr(LOST);
    for _ in 0..3 {
        cswatch.expect_stderr(ATTEMPT);
    }
    proxy.set_mode(Mode::Pass);
    let gap = cswatch.expect_inserts(5..10);
    assert!(gap < Duration::from_secs(35), "{gap:?} after healing");
    insert(&scenario.coll("c"), 10..15);
    cswatch.expect_inserts(10..15);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..15));
    assert_eq!(
        finished.stderr.matches("warning:").count(),
        1,
        "{}",
        finished.stderr
    );
}

#[test]
fn survives_a_half_open_connection_under_a_healthy_monitor() {
    let scenario = Scenario::new("half_open");
    let proxy = Proxy::start(scenario.set().primary());
    let mut cswatch = scenario
        .watch_at(&proxy.uri(), &[])
        .deadline(Duration::from_secs(50))
        .spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..5);
    cswatch.expect_inserts(0..5);
    let silent = Instant::now();
    proxy.set_mode(Mode::BlackHoleGetMore);
    insert(&scenario.coll("c"), 5..10);
    let lost = cswatch.expect_stderr(LOST);
    assert!(lost.contains("no reply for 30s"), "{lost}");
    // New connections have carried no `getMore` yet; without this they would fall silent in their turn.
    proxy.set_mode(Mode::Pass);
    cswatch.expect_inserts(5..10);
    let elapsed = silent.elapsed();
    assert!(elapsed < Duration::from_secs(35), "{elapsed:?}");
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..10));
}

#[test]
fn gives_up_when_an_outage_lasts_longer_than_it_may_retry() {
    let scenario = Scenario::new("retry_for");
    let proxy = Proxy::start(scenario.set().primary());
    let uri = format!("{}&serverSelectionTimeoutMS=300", proxy.uri());
    let mut cswatch = scenario.watch_at(&uri, &["--retry-for", "2s"]).spawn();
    cswatch.wait_open();
    insert(&scenario.coll("c"), 0..1);
    cswatch.expect_inserts(0..1);
    let refused = Instant::now();
    proxy.set_mode(Mode::Refuse);
    let finished = cswatch.wait().expect_code(7);
    let elapsed = refused.elapsed();
    assert!(
        elapsed > Duration::from_secs(2) && elapsed < Duration::from_secs(5),
        "{elapsed:?}"
    );
    finished.expect_error(
        "no server for 2s, longer than --retry-for: ",
        "; --retry-for forever keeps trying",
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
