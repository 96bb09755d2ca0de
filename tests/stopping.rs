//! Stopping on request: after a count, at a time or on a signal. The exit code is 0, and the checkpoint is the last line that was written
//! whole.

mod until_now;

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, insert, inserts, saved_token, time, token};
use testkit::finished::Finished;
use testkit::load::Load;
use testkit::port::free_port;
use testkit::proxy::{Mode, Proxy};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{PIPE_FULL, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

use crate::output::readers::spawn_blocked;

/// How long lines may still be written after shutdown was requested.
const GRACE: Duration = Duration::from_secs(3);

/// Additional time until the exit on a busy machine: the driver gets at most 2 s to close its cursors and sessions.
const SLACK: Duration = Duration::from_secs(3);

/// `--max-await` longer than any test: no empty reply advances the checkpoint past the last line.
const NEVER: &str = "10m";

const SIGNALS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// Sends a signal and waits for the exit. Fails unless it is in time, with exit code 0 and without an error.
#[track_caller]
pub(crate) fn stop(running: Running, signal: Signal) -> Finished {
    stop_within(running, signal, GRACE + SLACK)
}

/// Like [`stop`], with another limit.
#[track_caller]
fn stop_within(running: Running, signal: Signal, limit: Duration) -> Finished {
    let sent = Instant::now();
    running.signal(signal);
    let ended = running.wait().expect_code(0);
    let took = sent.elapsed();
    assert!(took < limit, "{took:?}\n{}", ended.stderr);
    assert!(!ended.stderr.contains("cswatch: error"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// Formats a time as `--until` accepts it.
fn rfc3339(time: u32) -> String {
    jiff::Timestamp::from_second(time.into())
        .expect("a time")
        .to_string()
}

#[test]
fn stops_after_a_count_and_resumes_after_the_last_event() {
    let scenario = Scenario::new("count");
    scenario.remaining();
    // All events come in one reply.
    insert(&scenario.coll("c"), 1..=10);
    for (count, ids) in [("3", 1..=3), ("1", 4..=4), ("4", 5..=8)] {
        let run = scenario.watch(&["--count", count]).run().expect_code(0);
        assert_eq!(briefs(&run.stdout), inserts(ids));
        let last = run.stdout.last().expect("a line");
        assert_eq!(saved_token(&scenario.resume_file()), token(last));
    }
    let mut running = scenario.watch(&["--count", "4"]).spawn();
    running.lines_until(|line| brief(line) == "insert 10");
    insert(&scenario.coll("c"), 11..=13);
    let run = running.wait().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(9..=12));
    assert_eq!(scenario.remaining(), inserts(13..=13));
}

#[test]
fn catches_up_until_now_and_stops() {
    let scenario = Scenario::new("until_now");
    for round in 0..3 {
        // Stops also when there is no event.
        assert_eq!(scenario.remaining(), [""; 0]);
        let ids = round * 3..round * 3 + 3;
        insert(&scenario.coll("c"), ids.clone());
        assert_eq!(scenario.remaining(), inserts(ids));
    }
}

#[test]
fn catches_up_until_now_on_an_idle_server() {
    let set = ReplicaSet::start(Options {
        arguments: vec!["--setParameter=writePeriodicNoops=false".to_owned()],
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "idle_set");
    let coll = scenario.coll("c");
    assert_eq!(scenario.remaining(), [""; 0]);
    insert(&coll, 1..=1);
    assert_eq!(scenario.remaining(), inserts(1..=1));
    assert_eq!(scenario.remaining(), [""; 0]);
    block_on(coll.drop()).expect("a drop");
    let until_now = ["--until", "now", "--on-invalidate", "reopen"];
    let run = scenario.watch(&until_now).run().expect_code(0);
    assert_eq!(briefs(&run.stdout), ["drop", "invalidate"]);
    // The checkpoint is the invalidate event, and the server's time is still that of the event.
    assert_eq!(scenario.remaining(), [""; 0]);
    insert(&scenario.coll("other"), 1..=1);
    // The server's time is later now, without an event.
    assert_eq!(scenario.remaining(), [""; 0]);
    insert(&coll, 2..=2);
    assert_eq!(scenario.remaining(), inserts(2..=2));
}

#[test]
fn stops_after_the_last_event_at_or_before_a_time() {
    let scenario = Scenario::new("until_time");
    let coll = scenario.coll("c");
    scenario.remaining();
    // Writes events in at least three seconds. The first write takes longer than the others: it creates the collection.
    insert(&coll, [1]);
    let first = scenario.set().operation_time().time;
    let mut last = 1;
    let written = poll(DEADLINE, || {
        last += 1;
        insert(&coll, [last]);
        (scenario.set().operation_time().time > first + 2).then_some(())
    });
    assert!(written.is_some());
    let middle = first + 1;
    let early = scenario
        .watch(&["--until", &rfc3339(middle)])
        .run()
        .expect_code(0);
    let is_early = |line: &String| time(line).time <= middle;
    assert!(early.stdout.iter().all(is_early));
    let late = scenario.watch(&["--until", "now"]).run().expect_code(0);
    assert!(!late.stdout.iter().any(is_early));
    assert!(!early.stdout.is_empty() && !late.stdout.is_empty());
    let all = [early.stdout, late.stdout].concat();
    assert_eq!(briefs(&all), inserts(1..=last));
    // Before the checkpoint there is no event to print, and the checkpoint stays.
    let saved = saved_token(&scenario.resume_file());
    let run = scenario.watch(&["--until", "-1h"]).run().expect_code(0);
    assert_eq!(run.stdout, [""; 0]);
    assert_eq!(saved_token(&scenario.resume_file()), saved);
}

#[test]
fn stops_at_a_future_time() {
    let scenario = Scenario::new("until_future");
    let coll = scenario.coll("c");
    scenario.remaining();
    let until = scenario.set().operation_time().time + 2;
    let running = scenario.watch(&["--until", &rfc3339(until)]).spawn();
    let mut last = 0;
    let beyond = poll(DEADLINE, || {
        last += 1;
        insert(&coll, [last]);
        (scenario.set().operation_time().time > until + 1).then_some(())
    });
    assert!(beyond.is_some());
    let run = running.wait().expect_code(0);
    let in_time = |line: &String| time(line).time <= until;
    assert!(run.stdout.iter().all(in_time));
    let rest = scenario.watch(&["--until", "now"]).run().expect_code(0);
    assert!(!rest.stdout.iter().any(in_time));
    let all = [run.stdout, rest.stdout].concat();
    assert_eq!(briefs(&all), inserts(1..=last));
}

#[test]
fn stops_at_the_first_signal_while_idle() {
    let scenario = Scenario::new("signal_idle");
    let coll = scenario.coll("c");
    let mut next = 0;
    for signal in SIGNALS {
        for events in [0, 3] {
            let ids = next..next + events;
            next += events;
            let mut running = scenario.watch(&["--max-await", NEVER]).spawn();
            running.wait_open();
            insert(&coll, ids.clone());
            running.expect_inserts(ids);
            let ended = stop_within(running, signal, GRACE);
            assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
            assert_eq!(ended.stdout.len() as i32, events);
            if let Some(last) = ended.stdout.last() {
                assert_eq!(saved_token(&scenario.resume_file()), token(last));
            }
        }
    }
    insert(&coll, next..next + 2);
    assert_eq!(scenario.remaining(), inserts(next..next + 2));
}

#[test]
fn stops_at_the_first_signal_under_load_after_a_whole_line() {
    let scenario = Scenario::new("signal_load");
    scenario.remaining();
    let load = Load::start(&scenario.coll("c"), 1000, 500);
    let mut printed = Vec::new();
    // Early in the stream, and later.
    for lines in [1, 100, 1000] {
        for signal in SIGNALS {
            let save_interval = if signal == Signal::INT { "1s" } else { "1h" };
            let mut running = scenario.watch(&["--save-interval", save_interval]).spawn();
            for _ in 0..lines {
                running.next_line();
            }
            let ended = stop_within(running, signal, GRACE);
            assert_eq!(ended.torn, b"");
            let last = ended.stdout.last().expect("a line");
            assert_eq!(saved_token(&scenario.resume_file()), token(last));
            printed.extend(briefs(&ended.stdout));
        }
    }
    let count = load.stop();
    printed.extend(scenario.remaining());
    assert_eq!(printed, inserts(0..count));
}

#[test]
fn stops_at_the_first_signal_during_an_outage() {
    let scenario = Scenario::new("signal_outage");
    let coll = scenario.coll("c");
    let proxy = Proxy::start(scenario.set().primary());
    // With these options the driver notices an outage within seconds.
    let uri = format!(
        "{}&heartbeatFrequencyMS=500&connectTimeoutMS=500&serverSelectionTimeoutMS=500",
        proxy.uri()
    );
    let mut next = 1;
    for (mode, is_noticed) in [
        (Mode::BlackHole, false),
        (Mode::BlackHole, true),
        (Mode::Refuse, false),
        (Mode::Refuse, true),
    ] {
        let mut running = scenario.watch_at(&uri, &["--max-await", NEVER]).spawn();
        running.wait_open();
        insert(&coll, next..next + 3);
        running.expect_inserts(next..next + 3);
        proxy.set_mode(mode);
        insert(&coll, next + 3..next + 5);
        if is_noticed {
            running.expect_stderr("connection lost, retrying: ");
        }
        let ended = stop(running, Signal::TERM);
        assert_eq!(ended.stdout.len(), 3);
        assert_eq!(
            saved_token(&scenario.resume_file()),
            token(&ended.stdout[2])
        );
        proxy.set_mode(Mode::Pass);
        assert_eq!(scenario.remaining(), inserts(next + 3..next + 5));
        next += 5;
    }
}

#[test]
fn stops_at_the_first_signal_while_waiting_for_a_server() {
    let scenario = Scenario::new("signal_waiting");
    for signal in SIGNALS {
        let uri = format!(
            "mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=100",
            free_port()
        );
        let mut running = Cswatch::new()
            .args(["--uri", &uri, "--wait", "--resume-file"])
            .args([scenario.resume_file()])
            .spawn();
        running.expect_stderr("no connection yet, retrying: ");
        stop_within(running, signal, GRACE);
        assert!(!scenario.resume_file().exists());
    }
}

#[test]
fn stops_after_the_grace_period_when_stdout_is_not_read() {
    let scenario = Scenario::new("stalled");
    let running = spawn_blocked(&scenario, scenario.watch(&[]));
    let sent = Instant::now();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    let took = sent.elapsed();
    assert!(took >= GRACE && took < GRACE + SLACK, "{took:?}");
    assert_eq!(scenario.remaining(), inserts([2]));
}

#[test]
fn reports_a_failed_save_when_stdout_is_not_read() {
    /// More than the bytes of one line, less than those of two.
    const TWO_LINES: u64 = 700;
    let scenario = Scenario::new("stalled_full_disk");
    let disk = SmallDisk::new(64 * 1024);
    let file = disk.path_inside().join("resume.json");
    let outside = disk.path_outside().join("resume.json");
    let watch = scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([&file])
        .through(disk.through());
    let coll = scenario.coll("c");
    let mut running = watch
        .args(["--save-interval", "1h"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_open();
    // The first line is saved at once, the second is not, and the third blocks.
    let before = saved_token(&outside);
    insert(&coll, 1..=1);
    poll(DEADLINE, || (saved_token(&outside) != before).then_some(())).expect("a save");
    insert(&coll, 2..=2);
    running.wait_unread(TWO_LINES);
    let large = doc! { "_id": 3, "text": "x".repeat(1024 * 1024) };
    block_on(coll.insert_one(large)).expect("an insert");
    running.wait_unread(PIPE_FULL);
    disk.fill();
    running.signal(Signal::TERM);
    running.wait().expect_code(5).expect_error(
        &format!(
            "cannot write resume file {}: No space left on device",
            file.display()
        ),
        "free space on that disk; the next run prints the events after the last save again",
    );
}

#[test]
fn writes_pending_lines_when_stdout_is_read_within_the_grace_period() {
    let scenario = Scenario::new("read_again");
    let mut running = spawn_blocked(&scenario, scenario.watch(&[]));
    running.signal(Signal::TERM);
    running.read_stdout();
    let ended = running.wait().expect_code(0);
    assert_eq!(briefs(&ended.stdout), inserts(1..=2));
    assert_eq!(ended.torn, b"");
    assert_eq!(scenario.remaining(), [""; 0]);
}

#[test]
fn stops_at_once_at_the_second_signal() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let scenario = Scenario::new("second_signal");
        let running = spawn_blocked(&scenario, scenario.watch(&[]));
        let sent = Instant::now();
        running.signal_until_end(signal).expect_code(code);
        assert!(sent.elapsed() < GRACE, "{:?}", sent.elapsed());
        let again = scenario.remaining();
        assert_eq!(again.last(), inserts([2]).last());
    }
}
