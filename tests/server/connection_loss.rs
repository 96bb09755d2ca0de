//! Connections that are closed, refused or silent. The proxy is between `cswatch` and the shared replica set, which is not affected.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts};
use testkit::load::Load;
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::scenario::Scenario;

use super::{LOST, RECONNECTED};

/// Part of the message that `-v` adds for each failed attempt.
const ATTEMPT: &str = " replied=";

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
    // Until now the driver may have resumed without an error. If its own resume fails too, `cswatch` reports an outage.
    let is_lost = poll(DEADLINE, || {
        if cswatch.has_reported(LOST) {
            return Some(());
        }
        proxy.cut(Cut::Reset);
        None
    });
    assert!(is_lost.is_some(), "no outage");
    // More than was inserted before the last cut: the stream is back.
    cswatch.expect_inserts(70..100);
    let count = load.stop();
    cswatch.expect_inserts(100..count);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..count));
    let lost = finished.stderr.matches(LOST).count();
    assert_eq!(
        finished.stderr.matches(RECONNECTED).count(),
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
    let reconnected = cswatch.expect_stderr(RECONNECTED);
    assert!(
        seconds_in(&reconnected) >= down.as_secs_f64() - 0.5,
        "{reconnected}, but the outage lasted {down:?}"
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
fn survives_a_network_that_forwards_nothing() {
    let scenario = Scenario::new("black_hole");
    let proxy = Proxy::start(scenario.set().primary());
    // By default the driver notices a silent server after 20 s: 10 s until the next heartbeat, 10 s without a reply to it.
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
    assert!(
        gap < Duration::from_secs(35),
        "{gap:?} after the network was restored"
    );
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
    // A new connection becomes silent too after its first `getMore`.
    proxy.set_mode(Mode::Pass);
    cswatch.expect_inserts(5..10);
    let elapsed = silent.elapsed();
    assert!(elapsed < Duration::from_secs(35), "{elapsed:?}");
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(0..10));
}

#[test]
fn ends_when_an_outage_lasts_longer_than_retry_for() {
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
        "no connection for 2s, the limit of --retry-for: ",
        "use a longer --retry-for, or --retry-for forever to keep trying",
    );
}

/// Returns the seconds at the end of "reconnected after 1.5s".
#[track_caller]
fn seconds_in(line: &str) -> f64 {
    let (_, time) = line.rsplit_once(' ').expect("a word at the end");
    let seconds = time
        .strip_suffix('s')
        .and_then(|seconds| seconds.parse().ok());
    seconds.unwrap_or_else(|| panic!("no seconds at the end: {line}"))
}
