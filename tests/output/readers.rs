//! Readers of stdout that exit or stall. The exit code is 0, and the checkpoint is the last line that was written whole.

use std::thread;
use std::time::Duration;

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{brief, briefs, insert, inserts, saved_token, token};
use testkit::proxy::Proxy;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{PIPE_FULL, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use crate::stopping::stop;

/// `--max-await` longer than any test: no empty reply advances the checkpoint past the last line.
const NEVER: &str = "10m";

/// Limit of the memory while a reader stalls.
const MEMORY_LIMIT: u64 = 150 * 1024 * 1024;

/// Interval of the driver's heartbeats, a twentieth of the default.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Duration of a stall: eight heartbeats, and four times the interval after which a driver that sends no heartbeat would be considered
/// frozen. With the default of 10 s, this corresponds to a stall of more than a minute.
const STALL: Duration = Duration::from_secs(4);

/// Starts a watch that has written the line of `insert 1` and is blocked in the line of `insert 2`, a megabyte that is not read. Its
/// checkpoint is still that of the opening of the stream.
#[track_caller]
pub(crate) fn spawn_blocked(scenario: &Scenario, cswatch: Cswatch) -> Running {
    let coll = scenario.coll("c");
    let mut running = cswatch
        .args(["--save-interval", "1h"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    running.wait_unread(1);
    let large = doc! { "_id": 2, "text": "x".repeat(1024 * 1024) };
    block_on(coll.insert_one(large)).expect("an insert");
    running.wait_unread(PIPE_FULL);
    running
}

#[test]
fn stops_quietly_when_the_reader_exits() {
    let scenario = Scenario::new("head");
    let coll = scenario.coll("c");
    insert(&coll, [0]);
    let mut running = scenario.watch(&[]).stdout(Stdout::Head(5)).spawn();
    running.wait_open();
    for id in 1..=5 {
        insert(&coll, [id]);
        assert_eq!(brief(&running.next_line()), format!("insert {id}"));
    }
    running.wait_reader_gone();
    insert(&coll, 6..=8);
    let ended = running.wait().expect_code(0);
    let messages = ended.messages();
    assert!(
        messages.len() == 2
            && messages[0].contains("no checkpoint yet, starting at now (")
            && messages[1].contains("watching"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        saved_token(&scenario.resume_file()),
        token(&ended.stdout[4])
    );
    assert_eq!(scenario.remaining(), inserts(6..=8));
}

#[test]
fn stops_quietly_when_stdout_is_closed_from_the_start() {
    let scenario = Scenario::new("closed");
    let mut running = scenario.watch(&[]).stdout(Stdout::Closed).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    let ended = running.wait().expect_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
    assert_eq!(scenario.remaining(), inserts(1..=1));
}

#[test]
fn saves_no_checkpoint_after_a_line_that_was_written_in_part() {
    let scenario = Scenario::new("reader_dies");
    let mut running = spawn_blocked(&scenario, scenario.watch(&[]));
    running.close_stdout();
    running.wait().expect_code(0);
    assert_eq!(scenario.remaining(), inserts([2]));
}

/// Waits until `full` bytes fill the pipe, lets the reader stall, and fails unless heartbeats continue and memory stays bounded.
#[track_caller]
fn stall(running: &Running, proxy: &Proxy, full: u64) {
    running.wait_unread(full);
    let before = proxy.requests();
    // The duration is the fault that is tested: there is no event to wait for.
    thread::sleep(STALL);
    // In each interval the client sends a ping for the round-trip time; the server's streamed replies need no request. Half of the pings
    // are enough on a busy machine.
    let heartbeats = STALL.as_millis() / HEARTBEAT.as_millis() / 2;
    let seen = u128::from(proxy.requests() - before);
    assert!(seen >= heartbeats, "{seen} requests");
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
}

/// Returns the connection string of `proxy`, with heartbeats as often as [`stall`] expects them.
fn uri(proxy: &Proxy) -> String {
    let heartbeat = HEARTBEAT.as_millis();
    format!("{}&heartbeatFrequencyMS={heartbeat}", proxy.uri())
}

#[test]
fn keeps_the_connection_and_bounds_memory_while_200_mb_of_events_are_not_read() {
    const EVENTS: i32 = 200;
    // A separate set: on the shared one, other tests would read the 200 MB in the oplog too.
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "stall_large");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(set.primary());
    let uri = uri(&proxy);
    let text = "x".repeat(1024 * 1024);
    // A collection that does not exist would be mentioned.
    block_on(scenario.db().create_collection("c")).expect("a collection");

    let mut running = scenario
        .watch_at(&uri, &["--save-interval", "1h"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    insert(&coll, [0]);
    running.wait_unread(1);
    for id in 1..=EVENTS {
        block_on(coll.insert_one(doc! { "_id": id, "text": &text })).expect("an insert");
    }
    stall(&running, &proxy, PIPE_FULL);
    let ended = stop(running, Signal::TERM);
    // The start and the open stream, and nothing about connections.
    assert_eq!(ended.messages().len(), 2, "{}", ended.stderr);

    // The backlog, read by a reader that stalls at first. It starts after the one line that was written whole.
    let mut running = scenario.watch_at(&uri, &[]).stdout(Stdout::Stalled).spawn();
    stall(&running, &proxy, PIPE_FULL);
    running.read_stdout();
    for id in 1..=EVENTS {
        let line = running.next_line();
        assert!(line.contains(&text), "no text in event {id}");
        assert_eq!(brief(&line.replacen(&text, "", 1)), format!("insert {id}"));
    }
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
    let ended = stop(running, Signal::TERM);
    assert_eq!(ended.stdout.len(), EVENTS as usize);
    assert!(!ended.stderr.contains("connection"), "{}", ended.stderr);
    assert_eq!(scenario.remaining(), [""; 0]);
}

#[test]
fn keeps_the_connection_while_events_printed_one_by_one_are_not_read() {
    /// Three times as many as a pipe holds.
    const EVENTS: i32 = 600;
    /// Bytes in a full pipe: lines shorter than 512 bytes leave less than 512 bytes of each page empty.
    const FULL_OF_SHORT_LINES: u64 = PIPE_FULL / 4096 * (4096 - 512);

    let scenario = Scenario::new("stall_small");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(scenario.set().primary());
    let mut running = scenario
        .watch_at(&uri(&proxy), &["--max-await", NEVER])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    for id in 0..EVENTS {
        insert(&coll, [id]);
    }
    stall(&running, &proxy, FULL_OF_SHORT_LINES);
    running.read_stdout();
    let lines = running.lines_until(|line| brief(line) == format!("insert {}", EVENTS - 1));
    assert_eq!(briefs(&lines), inserts(0..EVENTS));
    let ended = stop(running, Signal::TERM);
    assert!(!ended.stderr.contains("connection"), "{}", ended.stderr);
    assert_eq!(
        saved_token(&scenario.resume_file()),
        token(&lines[lines.len() - 1])
    );
    assert_eq!(scenario.remaining(), [""; 0]);
}
