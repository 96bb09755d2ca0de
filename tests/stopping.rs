//! How a watch ends that was asked to end: by a count, a time, a signal, or its reader. Exit code 0,
//! the position at the last line that was written whole.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, insert, inserts, saved_token, time, token};
use testkit::load::Load;
use testkit::port::free_port;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{PIPE_FULL, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// How long lines may still be written after the end was asked for.
const GRACE: Duration = Duration::from_secs(3);

fn file(scenario: &Scenario) -> PathBuf {
    scenario.path("position.json")
}

/// Watches collection `c`; every watch of a scenario has the same position file.
fn watch(scenario: &Scenario, options: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([file(scenario)])
        .args(options)
}

/// The events after the saved position, up to now.
#[track_caller]
fn catch_up(scenario: &Scenario) -> Vec<String> {
    let run = watch(scenario, &["--until", "now", "--max-await", "50ms"]).run();
    briefs(&run.expect_code(0).stdout)
}

/// A watch that has printed one event, `insert 1`, and is stuck in the line of another: `insert 2`, a
/// megabyte, which nobody reads. What it saved before is its opening position.
#[track_caller]
fn stuck(scenario: &Scenario) -> Running {
    let options = ["--save-interval", "1h"];
    get_stuck(scenario, watch(scenario, &options))
}

#[track_caller]
fn get_stuck(scenario: &Scenario, cswatch: Cswatch) -> Running {
    let coll = scenario.coll("c");
    let mut running = cswatch.stdout(Stdout::Stalled).spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    running.wait_unread(1);
    let large = doc! { "_id": 2, "text": "x".repeat(1024 * 1024) };
    block_on(coll.insert_one(large)).expect("an insert");
    running.wait_unread(PIPE_FULL);
    running
}

fn rfc3339(time: u32) -> String {
    jiff::Timestamp::from_second(time.into())
        .expect("a time")
        .to_string()
}

#[test]
fn stops_after_a_count_and_goes_on_exactly_there() {
    let scenario = Scenario::new("count");
    catch_up(&scenario);
    // All in one reply.
    insert(&scenario.coll("c"), 1..=10);
    for (count, ids) in [("3", 1..=3), ("1", 4..=4), ("4", 5..=8)] {
        let run = watch(&scenario, &["--count", count]).run().expect_code(0);
        assert_eq!(briefs(&run.stdout), inserts(ids));
        let last = run.stdout.last().expect("a line");
        assert_eq!(saved_token(&file(&scenario)), token(last));
    }
    let mut running = watch(&scenario, &["--count", "4"]).spawn();
    running.lines_until(|line| brief(line) == "insert 10");
    insert(&scenario.coll("c"), 11..=13);
    let run = running.wait().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(9..=12));
    assert_eq!(catch_up(&scenario), inserts(13..=13));
}

#[test]
fn catches_up_until_now_and_stops() {
    let scenario = Scenario::new("until_now");
    for round in 0..3 {
        // Also when there is nothing.
        assert_eq!(catch_up(&scenario), [""; 0]);
        let ids = round * 3..round * 3 + 3;
        insert(&scenario.coll("c"), ids.clone());
        assert_eq!(catch_up(&scenario), inserts(ids));
    }
}

#[test]
fn catches_up_until_now_where_nothing_else_is_written() {
    let set = ReplicaSet::start(Options {
        arguments: vec!["--setParameter=writePeriodicNoops=false".to_owned()],
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "idle_set");
    let coll = scenario.coll("c");
    let caught_up = || catch_up(&scenario);
    assert_eq!(caught_up(), [""; 0]);
    insert(&coll, 1..=1);
    assert_eq!(caught_up(), inserts(1..=1));
    assert_eq!(caught_up(), [""; 0]);
    block_on(coll.drop()).expect("a drop");
    let until_now = ["--until", "now", "--on-invalidate", "reopen"];
    let run = watch(&scenario, &until_now).run().expect_code(0);
    assert_eq!(briefs(&run.stdout), ["drop", "invalidate"]);
    // The saved token is the invalidate's, and now is still its time.
    assert_eq!(caught_up(), [""; 0]);
    insert(&scenario.coll("other"), 1..=1);
    // And now is later, without an event to tell.
    assert_eq!(caught_up(), [""; 0]);
    insert(&coll, 2..=2);
    assert_eq!(caught_up(), inserts(2..=2));
}

#[test]
fn stops_after_the_last_event_at_or_before_a_time() {
    let scenario = Scenario::new("until_time");
    let coll = scenario.coll("c");
    catch_up(&scenario);
    // Events of at least three seconds.
    let first = scenario.set().operation_time().time;
    let mut last = 0;
    let written = poll(DEADLINE, || {
        last += 1;
        insert(&coll, [last]);
        (scenario.set().operation_time().time > first + 2).then_some(())
    });
    assert!(written.is_some());
    let middle = first + 1;
    let early = watch(&scenario, &["--until", &rfc3339(middle)])
        .run()
        .expect_code(0);
    let is_early = |line: &String| time(line).time <= middle;
    assert!(early.stdout.iter().all(is_early));
    let late = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert!(!late.stdout.iter().any(is_early));
    assert!(!early.stdout.is_empty() && !late.stdout.is_empty());
    let all = [early.stdout, late.stdout].concat();
    assert_eq!(briefs(&all), inserts(1..=last));
    // Before the position there is nothing to print, and the position stays.
    let saved = saved_token(&file(&scenario));
    let run = watch(&scenario, &["--until", "-1h"]).run().expect_code(0);
    assert_eq!(run.stdout, [""; 0]);
    assert_eq!(saved_token(&file(&scenario)), saved);
}

#[test]
fn stops_at_a_time_to_come() {
    let scenario = Scenario::new("until_future");
    let coll = scenario.coll("c");
    catch_up(&scenario);
    let until = scenario.set().operation_time().time + 2;
    let running = watch(&scenario, &["--until", &rfc3339(until)]).spawn();
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
    let rest = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert!(!rest.stdout.iter().any(in_time));
    let all = [run.stdout, rest.stdout].concat();
    assert_eq!(briefs(&all), inserts(1..=last));
}

#[test]
fn ends_at_the_first_signal_while_idle() {
    let scenario = Scenario::new("signal_idle");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // The usual wait for a reply: it is not waited for.
        let mut running = watch(&scenario, &["--max-await", "10m"]).spawn();
        running.wait_open();
        let sent = Instant::now();
        running.signal(signal);
        let ended = running.wait().expect_code(0);
        assert!(sent.elapsed() < GRACE, "{:?}", sent.elapsed());
        assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    }
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(catch_up(&scenario), inserts(1..=1));
}

#[test]
fn ends_at_the_first_signal_under_load_behind_a_whole_line() {
    let scenario = Scenario::new("signal_load");
    catch_up(&scenario);
    let load = Load::start(&scenario.coll("c"), 1000, 500);
    let mut printed = Vec::new();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut running = watch(&scenario, &[]).spawn();
        for _ in 0..50 {
            running.next_line();
        }
        let sent = Instant::now();
        running.signal(signal);
        let ended = running.wait().expect_code(0);
        assert!(sent.elapsed() < GRACE, "{:?}", sent.elapsed());
        assert_eq!(ended.torn, b"");
        printed.extend(briefs(&ended.stdout));
    }
    let last = load.stop();
    printed.extend(catch_up(&scenario));
    assert_eq!(printed, inserts(1..=last));
}

#[test]
fn ends_at_the_first_signal_while_it_waits_for_a_server() {
    let scenario = Scenario::new("signal_waiting");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let uri = format!(
            "mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=100",
            free_port()
        );
        let mut running = Cswatch::new()
            .args(["--uri", &uri, "--wait", "--resume-file"])
            .args([file(&scenario)])
            .spawn();
        running.expect_stderr("trying again");
        let sent = Instant::now();
        running.signal(signal);
        running.wait().expect_code(0);
        assert!(sent.elapsed() < GRACE, "{:?}", sent.elapsed());
        assert!(!file(&scenario).exists());
    }
}

#[test]
fn ends_within_its_grace_when_nobody_reads() {
    let scenario = Scenario::new("stalled");
    let running = stuck(&scenario);
    let sent = Instant::now();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    let took = sent.elapsed();
    assert!(
        took >= GRACE && took < GRACE + Duration::from_secs(3),
        "{took:?}"
    );
    assert_eq!(catch_up(&scenario), inserts([2]));
}

#[test]
fn says_that_the_position_cannot_be_saved_when_nobody_reads_either() {
    let scenario = Scenario::new("stalled_full_disk");
    let disk = SmallDisk::new(64 * 1024);
    let watch = scenario
        .cswatch(["--coll", "c", "--save-interval", "1h", "--resume-file"])
        .args([disk.path_inside().join("position.json")])
        .through(disk.through());
    let running = get_stuck(&scenario, watch);
    // A write error is how a disk is filled to the last page.
    let _ = fs::write(disk.path_outside().join("filler"), vec![0; 1024 * 1024]);
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(5);
    assert!(
        ended
            .stderr
            .contains("cannot be written: No space left on device"),
        "{}",
        ended.stderr
    );
}

#[test]
fn writes_what_it_has_when_it_is_read_again_within_the_grace() {
    let scenario = Scenario::new("read_again");
    let mut running = stuck(&scenario);
    running.signal(Signal::TERM);
    running.read_stdout();
    let ended = running.wait().expect_code(0);
    assert_eq!(briefs(&ended.stdout), inserts(1..=2));
    assert_eq!(ended.torn, b"");
    assert_eq!(catch_up(&scenario), [""; 0]);
}

#[test]
fn ends_at_once_at_the_second_signal() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let scenario = Scenario::new("second_signal");
        let running = stuck(&scenario);
        let sent = Instant::now();
        running.signal_until_end(signal).expect_code(code);
        assert!(sent.elapsed() < GRACE, "{:?}", sent.elapsed());
        let again = catch_up(&scenario);
        assert_eq!(again.last(), inserts([2]).last());
    }
}

#[test]
fn ends_quietly_when_its_reader_has_enough() {
    let scenario = Scenario::new("head");
    let mut running = watch(&scenario, &[]).stdout(Stdout::Head(3)).spawn();
    running.wait_open();
    for id in 1..=3 {
        insert(&scenario.coll("c"), [id]);
        assert_eq!(brief(&running.next_line()), format!("insert {id}"));
    }
    running.wait_reader_gone();
    insert(&scenario.coll("c"), 4..=5);
    let ended = running.wait().expect_code(0);
    let said: Vec<_> = ended.stderr.lines().collect();
    assert!(
        said.len() == 2 && said[1].contains("watching"),
        "{}",
        ended.stderr
    );
    assert_eq!(catch_up(&scenario), inserts(4..=5));
}

#[test]
fn counts_no_line_that_its_reader_did_not_take_whole() {
    let scenario = Scenario::new("reader_dies");
    let mut running = stuck(&scenario);
    running.close_stdout();
    running.wait().expect_code(0);
    assert_eq!(catch_up(&scenario), inserts([2]));
}

#[test]
fn ends_quietly_when_nobody_reads_from_the_start() {
    let scenario = Scenario::new("closed");
    let mut running = watch(&scenario, &[]).stdout(Stdout::Closed).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    let ended = running.wait().expect_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
    assert_eq!(catch_up(&scenario), inserts(1..=1));
}
