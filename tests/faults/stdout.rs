//! What readers of stdout do to a watch, and SIGTERM whatever it is doing. Exit code 0, the position at the last line that was
//! written whole.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use rustix::process::Signal;

use super::load::Load;
use testkit::cswatch::{Cswatch, Stdout};

use testkit::events::{brief, briefs, insert, inserts, saved_token, token};
use testkit::proxy::{Mode, Proxy};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{Finished, PIPE_FULL, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// How long lines may still be written after the end was asked for.
const GRACE: Duration = Duration::from_secs(3);

/// What ending takes beyond that on a busy machine: the driver's farewell is given 2 s at most.
const SLACK: Duration = Duration::from_secs(3);

/// Wait for a reply that no test sees the end of: no empty reply moves the position behind the last line.
const NEVER: &str = "10m";

/// Memory while a reader stalls.
const MEMORY_LIMIT: u64 = 150 * 1024 * 1024;

/// Heartbeats of the driver, twenty times as often as by default.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Eight heartbeats, and four times the interval after which a driver that sent none would have been found frozen: what a
/// stall of a minute is with the default of 10 s.
const STALL: Duration = Duration::from_secs(4);

fn file(scenario: &Scenario) -> PathBuf {
    scenario.path("position.json")
}

/// Watches collection `c` at `uri`; every watch of a scenario has the same position file.
fn watch_at(scenario: &Scenario, uri: &str, options: &[&str]) -> Cswatch {
    Cswatch::new()
        .args(["--uri", uri, "--db", scenario.db().name(), "--coll", "c"])
        .args(["--resume-file".into(), file(scenario)])
        .args(options)
}

fn watch(scenario: &Scenario, options: &[&str]) -> Cswatch {
    watch_at(scenario, &scenario.set().uri(), options)
}

/// The events after the saved position, up to now.
#[track_caller]
fn catch_up(scenario: &Scenario) -> Vec<String> {
    let run = watch(scenario, &["--until", "now", "--max-await", "50ms"]).run();
    briefs(&run.expect_code(0).stdout)
}

/// Sends SIGTERM and waits for the end, with exit code 0 and in time.
#[track_caller]
fn end(running: Running) -> Finished {
    let sent = Instant::now();
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(0);
    let took = sent.elapsed();
    assert!(took < GRACE + SLACK, "{took:?}\n{}", ended.stderr);
    assert!(!ended.stderr.contains("cswatch: error"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

#[test]
fn f36_reader_goes_away_after_five_lines() {
    let scenario = Scenario::new("f36");
    let coll = scenario.coll("c");
    let mut running = watch(&scenario, &[]).stdout(Stdout::Head(5)).spawn();
    running.wait_open();
    for id in 1..=5 {
        insert(&coll, [id]);
        assert_eq!(brief(&running.next_line()), format!("insert {id}"));
    }
    running.wait_reader_gone();
    insert(&coll, 6..=8);
    let ended = running.wait().expect_code(0);
    let said: Vec<_> = ended.stderr.lines().collect();
    assert!(
        said.len() == 2 && said[1].contains("watching"),
        "{}",
        ended.stderr
    );
    assert_eq!(saved_token(&file(&scenario)), token(&ended.stdout[4]));
    assert_eq!(catch_up(&scenario), inserts(6..=8));
}

/// Lets the reader stall, and fails unless everything else lives on.
#[track_caller]
fn stall(running: &Running, proxy: &Proxy) {
    running.wait_unread(PIPE_FULL);
    let before = proxy.requests();
    // The elapsed time is the fault.
    thread::sleep(STALL);
    // Each interval has a ping for the round trip time, which the client begins; the server's own replies come without a
    // request. Half of them: a busy machine is late.
    let heartbeats = STALL.as_millis() / HEARTBEAT.as_millis() / 2;
    let seen = u128::from(proxy.requests() - before);
    assert!(seen >= heartbeats, "{seen} requests");
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
}

/// The server behind `proxy`, asked for a heartbeat as often as [`stall`] expects it.
fn uri(proxy: &Proxy) -> String {
    let heartbeat = HEARTBEAT.as_millis();
    format!("{}&heartbeatFrequencyMS={heartbeat}", proxy.uri())
}

#[test]
fn f37_reader_stalls_with_200_mb_of_events() {
    const EVENTS: i32 = 200;
    // Of its own: others would read the 200 MB in the oplog too.
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "f37");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(set.primary());
    let uri = uri(&proxy);
    let text = "x".repeat(1024 * 1024);

    let mut running = watch_at(&scenario, &uri, &["--save-interval", "1h"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    insert(&coll, [0]);
    running.wait_unread(1);
    for id in 1..=EVENTS {
        block_on(coll.insert_one(doc! { "_id": id, "text": &text })).expect("an insert");
    }
    stall(&running, &proxy);
    let ended = end(running);
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);

    // The backlog, which a reader takes up again that stalled at first. The one line that was written whole is not among it.
    let mut running = watch_at(&scenario, &uri, &[])
        .stdout(Stdout::Stalled)
        .spawn();
    stall(&running, &proxy);
    running.read_stdout();
    for id in 1..=EVENTS {
        let line = running.next_line();
        assert!(line.contains(&text), "no text in event {id}");
        assert_eq!(brief(&line.replacen(&text, "", 1)), format!("insert {id}"));
    }
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
    let ended = end(running);
    assert_eq!(ended.stdout.len(), EVENTS as usize);
    assert!(!ended.stderr.contains("connection"), "{}", ended.stderr);
    assert_eq!(catch_up(&scenario), [""; 0]);
}

#[test]
fn f37_reader_stalls_with_events_that_are_printed_one_by_one() {
    /// Three times what a pipe holds.
    const EVENTS: i32 = 600;

    let scenario = Scenario::new("f37_small");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(scenario.set().primary());
    let mut running = watch_at(&scenario, &uri(&proxy), &["--max-await", NEVER])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    for id in 0..EVENTS {
        insert(&coll, [id]);
    }
    stall(&running, &proxy);
    running.read_stdout();
    let lines = running.lines_until(|line| brief(line) == format!("insert {}", EVENTS - 1));
    assert_eq!(briefs(&lines), inserts(0..EVENTS));
    let ended = end(running);
    assert!(!ended.stderr.contains("connection"), "{}", ended.stderr);
    assert_eq!(
        saved_token(&file(&scenario)),
        token(&lines[lines.len() - 1])
    );
    assert_eq!(catch_up(&scenario), [""; 0]);
}

#[test]
fn f38_sigterm_while_idle() {
    let scenario = Scenario::new("f38_idle");
    let coll = scenario.coll("c");
    let mut running = watch(&scenario, &["--max-await", NEVER]).spawn();
    running.wait_open();
    insert(&coll, 1..=3);
    running.lines_until(|line| brief(line) == "insert 3");
    let ended = end(running);
    assert_eq!(saved_token(&file(&scenario)), token(&ended.stdout[2]));
    insert(&coll, 4..=5);
    assert_eq!(catch_up(&scenario), inserts(4..=5));
}

#[test]
fn f38_sigterm_under_load() {
    let scenario = Scenario::new("f38_load");
    catch_up(&scenario);
    let load = Load::start(scenario.coll("c"));
    let mut printed = Vec::new();
    // At the beginning of the stream, and later.
    for lines in [1, 100, 1000] {
        let mut running = watch(&scenario, &["--save-interval", "1h"]).spawn();
        for _ in 0..lines {
            running.next_line();
        }
        let ended = end(running);
        assert_eq!(ended.torn, b"");
        let last = ended.stdout.last().expect("a line");
        assert_eq!(saved_token(&file(&scenario)), token(last));
        printed.extend(briefs(&ended.stdout));
    }
    let count = load.stop();
    printed.extend(catch_up(&scenario));
    assert_eq!(printed, inserts(0..count));
}

#[test]
fn f38_sigterm_during_an_outage() {
    let scenario = Scenario::new("f38_outage");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(scenario.set().primary());
    // So that an outage is found within seconds.
    let uri = format!(
        "{}&heartbeatFrequencyMS=500&connectTimeoutMS=500&serverSelectionTimeoutMS=500",
        proxy.uri()
    );
    let mut next = 1;
    for (mode, noticed) in [
        (Mode::BlackHole, false),
        (Mode::BlackHole, true),
        (Mode::Refuse, false),
        (Mode::Refuse, true),
    ] {
        let mut running = watch_at(&scenario, &uri, &["--max-await", NEVER]).spawn();
        running.wait_open();
        insert(&coll, next..next + 3);
        for id in next..next + 3 {
            assert_eq!(brief(&running.next_line()), format!("insert {id}"));
        }
        proxy.set_mode(mode);
        insert(&coll, next + 3..next + 5);
        if noticed {
            running.expect_stderr("connection lost");
        }
        let ended = end(running);
        assert_eq!(ended.stdout.len(), 3);
        assert_eq!(saved_token(&file(&scenario)), token(&ended.stdout[2]));
        proxy.set_mode(Mode::Pass);
        assert_eq!(catch_up(&scenario), inserts(next + 3..next + 5));
        next += 5;
    }
}
