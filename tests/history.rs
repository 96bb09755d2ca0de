//! History that the server no longer has: cswatch says so, with both ends of the gap, and stops; it
//! goes on only when it is told where.

use std::fs;
use std::path::Path;

use mongodb::bson::Timestamp;
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, insert, inserts, saved_time, saved_token, wait_saved_from};
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

fn forgetful() -> ReplicaSet {
    ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    })
}

/// Watches collection `c` from the position in `file`.
fn watch(scenario: &Scenario, file: &Path, options: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "50ms", "--resume-file"])
        .args([file])
        .args(options)
}

fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.time.into())
        .expect("a time")
        .to_string()
}

/// The times after `first` and `then` in the one line that has both.
#[track_caller]
fn times_in(stderr: &str, first: &str, then: &str) -> (String, String) {
    let found = stderr.lines().find_map(|line| {
        let (_, rest) = line.split_once(first)?;
        let (from, rest) = rest.split_once(then)?;
        let end = rest.find('Z').map_or(rest.len(), |end| end + 1);
        Some((from.to_owned(), rest[..end].to_owned()))
    });
    match found {
        Some(times) => times,
        None => panic!("no {first:?} and {then:?} in\n{stderr}"),
    }
}

/// Whether a text is the time of the oldest entry of the oplog, exact to the second.
#[track_caller]
fn ensure_is_oldest(text: &str, set: &ReplicaSet) {
    let start = set.oplog_start();
    let next = Timestamp {
        time: start.time + 1,
        ..start
    };
    assert!(
        [rfc3339(start), rfc3339(next)].contains(&text.to_owned()),
        "{text}, the oplog begins at {start}"
    );
}

#[test]
fn lost_history_ends_the_watch_and_goes_on_where_it_is_told() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "history");
    let file = scenario.path("position.json");
    watch(&scenario, &file, &["--until", "now"])
        .run()
        .expect_code(0);
    insert(&scenario.coll("c"), 1..=1);
    let position = saved_time(&file);
    set.roll_oplog(set.operation_time());
    let before = fs::read(&file).expect("a position file");

    // The history stays lost.
    for _ in 0..2 {
        let run = watch(&scenario, &file, &[]).run().expect_code(3);
        let (from, to) = times_in(
            &run.stderr,
            "cswatch: error: history lost: the position is from ",
            ", the oldest the server still has is ",
        );
        assert_eq!(from, rfc3339(position));
        ensure_is_oldest(&to, &set);
        for way_out in [
            "accept the gap with --on-history-lost earliest or --on-history-lost now",
            "raise the oplog's size or storage.oplogMinRetentionHours",
        ] {
            assert!(run.stderr.contains(way_out), "{}", run.stderr);
        }
        assert_eq!(run.stdout, [""; 0]);
        assert_eq!(fs::read(&file).expect("a position file"), before);
    }

    insert(&scenario.coll("c"), 2..=2);
    let gap = |stderr: &str| {
        let first = "cswatch: warning: history lost: events from ";
        times_in(stderr, first, " to ")
    };
    let from_earliest = scenario.path("earliest.json");
    fs::copy(&file, &from_earliest).expect("a copy");
    let run = watch(
        &scenario,
        &from_earliest,
        &["--on-history-lost", "earliest", "--until", "now"],
    )
    .run()
    .expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(2..=2));
    let (from, to) = gap(&run.stderr);
    assert_eq!(from, rfc3339(position));
    ensure_is_oldest(&to, &set);

    let mut running = watch(&scenario, &file, &["--on-history-lost", "now"]).spawn();
    let said = running.expect_stderr("history lost");
    assert_eq!(gap(&said).0, rfc3339(position));
    // What is written from then on comes after the gap.
    insert(&scenario.coll("c"), 3..=3);
    assert_eq!(brief(&running.next_line()), "insert 3");
    running.signal(Signal::TERM);
    let run = running.wait().expect_code(0);
    assert_eq!(run.stdout.len(), 1);
    insert(&scenario.coll("c"), 4..=4);
    let next = watch(&scenario, &file, &["--until", "now"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), inserts(4..=4));
}

#[test]
fn start_that_is_out_of_history_is_refused_and_not_saved() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "start_lost");
    let probe = scenario.path("probe.json");
    watch(&scenario, &probe, &["--until", "now"])
        .run()
        .expect_code(0);
    let lost = set.operation_time();
    let token = saved_token(&probe);
    set.roll_oplog(lost);
    insert(&scenario.coll("c"), 1..=1);

    let file = scenario.path("position.json");
    let start = rfc3339(lost);
    let run = watch(&scenario, &file, &["--start", &start])
        .run()
        .expect_code(3);
    let (from, to) = times_in(
        &run.stderr,
        "cswatch: error: history lost: the position is from ",
        ", the oldest the server still has is ",
    );
    assert_eq!(from, start);
    ensure_is_oldest(&to, &set);
    assert!(!file.exists(), "the next start must not be bound to it");

    watch(&scenario, &file, &["--start-after", &token])
        .run()
        .expect_code(3);
    assert!(!file.exists(), "the next start must not be bound to it");

    let run = watch(
        &scenario,
        &file,
        &[
            "--start",
            &start,
            "--on-history-lost",
            "earliest",
            "--until",
            "now",
        ],
    )
    .run()
    .expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(1..=1));
    assert!(
        run.stderr.contains("history lost: events from "),
        "{}",
        run.stderr
    );

    let other = scenario.path("other.json");
    let run = watch(
        &scenario,
        &other,
        &["--start", "earliest", "--until", "now"],
    )
    .run()
    .expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(1..=1));
}

#[test]
fn quiet_stream_is_not_overtaken_by_the_oplog() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "quiet");
    let file = scenario.path("position.json");
    let options = ["--match", r#"{"fullDocument.never":true}"#];
    let mut running = watch(&scenario, &file, &options).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    let opened = saved_time(&file);
    set.roll_oplog(set.operation_time());
    wait_saved_from(&file, set.operation_time());
    assert!(set.oplog_start() > opened);
    running.kill();
    let run = watch(&scenario, &file, &options)
        .args(["--until", "now"])
        .run();
    assert_eq!(run.expect_code(0).stdout, [""; 0]);
}
