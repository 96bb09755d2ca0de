//! The start of a watch: `--start` in all its forms, and `--start-after`.

use std::path::Path;

use mongodb::bson::{Timestamp, doc};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{as_start, brief, briefs, insert, inserts, saved_token, time, token};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns the lines of a watch of collection `c` up to now, without a resume file.
#[track_caller]
fn read_until_now(scenario: &Scenario, options: &[&str]) -> Vec<String> {
    scenario
        .cswatch([
            "--coll",
            "c",
            "--no-resume",
            "--until",
            "now",
            "--max-await",
            "50ms",
        ])
        .args(options)
        .run()
        .expect_code(0)
        .stdout
}

/// Writes to another collection until the server's time is in a later second than `time`, and returns the server's time.
#[track_caller]
fn wait_later_second(scenario: &Scenario, time: Timestamp) -> Timestamp {
    let clock = scenario.coll("clock");
    let later = poll(DEADLINE, || {
        block_on(clock.insert_one(doc! {})).expect("an insert");
        let now = scenario.set().operation_time();
        (now.time > time.time).then_some(now)
    });
    later.expect("a later second")
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .expect("a time")
        .to_string()
}

#[test]
fn starts_at_now_by_default() {
    let scenario = Scenario::new("start_now");
    let coll = scenario.coll("c");
    insert(&coll, 1..=2);
    for (options, deleted) in [(&[] as &[&str], 1..=2), (&["--start", "now"], 3..=3)] {
        let mut running = scenario
            .cswatch(["--coll", "c", "--no-resume"])
            .args(options)
            .spawn();
        running.wait_open();
        block_on(coll.delete_many(doc! {})).expect("a delete");
        insert(&coll, 3..=3);
        let lines = running.lines_until(|line| brief(line) == "insert 3");
        let mut expected: Vec<_> = deleted.map(|id| format!("delete {id}")).collect();
        expected.push("insert 3".to_owned());
        assert_eq!(briefs(&lines), expected);
        running.kill();
    }
}

#[test]
fn starts_at_the_oldest_event_with_earliest() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "start_earliest");
    insert(&scenario.coll("c"), 1..=3);
    assert_eq!(
        briefs(&read_until_now(&scenario, &["--start", "earliest"])),
        inserts(1..=3)
    );
}

#[test]
fn starts_with_the_first_event_at_or_after_a_time() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "start_time");
    let coll = scenario.coll("c");
    insert(&coll, 1..=2);
    let second = wait_later_second(&scenario, scenario.set().operation_time());
    insert(&coll, 3..=5);
    let all = read_until_now(&scenario, &["--start", "earliest"]);
    assert_eq!(briefs(&all), inserts(1..=5));
    let seconds = i64::from(second.time);
    let starts = [
        (rfc3339(seconds), 3),
        // Fractions of a second are ignored; an offset is not.
        (rfc3339(seconds).replace('Z', ".9Z"), 3),
        (rfc3339(seconds - 3600).replace('Z', "-01:00"), 3),
        (seconds.to_string(), 3),
        (as_start(time(&all[3])), 4),
        (
            as_start(Timestamp {
                increment: time(&all[3]).increment + 1,
                ..time(&all[3])
            }),
            5,
        ),
        ("-1h".to_owned(), 1),
        ("0".to_owned(), 1),
    ];
    for (start, first) in starts {
        let lines = read_until_now(&scenario, &["--start", &start]);
        assert_eq!(briefs(&lines), inserts(first..=5), "{start}");
    }
}

/// The server would silently skip all events up to that time.
#[test]
fn refuses_a_time_ahead_of_the_server_and_saves_nothing() {
    let scenario = Scenario::new("start_ahead");
    let file = scenario.path("resume.json");
    let now = scenario.set().operation_time();
    let ahead = Timestamp {
        time: now.time + 3600,
        increment: 1,
    };
    for start in [
        rfc3339(ahead.time.into()),
        ahead.time.to_string(),
        as_start(ahead),
    ] {
        let run = scenario
            .cswatch(["--coll", "c", "--start", &start])
            .args([Path::new("--resume-file"), &file])
            .run();
        run.expect_failure(
            2,
            &format!(
                "--start: {} is ahead of the server's time, ",
                rfc3339(ahead.time.into())
            ),
            "use --start now",
        );
        assert!(!file.exists());
    }
}

#[test]
fn ignores_start_once_a_checkpoint_is_saved() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "start_ignored");
    let catch_up = |start: &str| {
        let run = scenario
            .cswatch(["--coll", "c", "--until", "now", "--start", start])
            .run()
            .expect_code(0);
        briefs(&run.stdout)
    };
    insert(&scenario.coll("c"), 1..=2);
    assert_eq!(catch_up("earliest"), inserts(1..=2));
    insert(&scenario.coll("c"), 3..=4);
    for start in ["now", "earliest", "-1h", "2099-01-01T00:00:00Z"] {
        assert_eq!(
            catch_up(start),
            if start == "now" {
                inserts(3..=4)
            } else {
                Vec::new()
            }
        );
    }
}

#[test]
fn starts_after_a_token_despite_a_checkpoint_and_saves_the_new_one() {
    let scenario = Scenario::new("start_after");
    let file = scenario.path("resume.json");
    let watch = |options: &[&str]| -> Cswatch {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--resume-file"), &file])
            .args(options)
    };
    let start = as_start(scenario.set().operation_time());
    insert(&scenario.coll("c"), 1..=5);
    let all = watch(&["--start", &start, "--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0)
        .stdout;
    assert_eq!(briefs(&all), inserts(1..=5));
    let whole = token(&all[1]);
    let parsed: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let hex = parsed["_data"].as_str().expect("a string");
    for (flag, value) in [
        ("--start-after", hex),
        ("--start-after", &whole),
        ("--resume-after", hex),
    ] {
        let run = watch(&[flag, value, "--count", "1"]).run().expect_code(0);
        assert_eq!(briefs(&run.stdout), inserts([3]), "{flag} {value}");
        assert_eq!(saved_token(&file), token(&all[2]));
        let next = watch(&["--count", "1"]).run().expect_code(0);
        assert_eq!(briefs(&next.stdout), inserts([4]));
    }
}

/// Without its `_typeBits`, the server refuses the token of this `_id`.
#[test]
fn needs_the_whole_token_where_it_has_type_bits() {
    let scenario = Scenario::new("start_after_whole");
    let coll = scenario.coll("c");
    let start = as_start(scenario.set().operation_time());
    block_on(coll.insert_one(doc! { "_id": 1.5 })).expect("an insert");
    insert(&coll, 2..=2);
    let all = read_until_now(&scenario, &["--start", &start]);
    let whole = token(&all[0]);
    let lines = read_until_now(&scenario, &["--start-after", &whole]);
    assert_eq!(briefs(&lines), inserts([2]));
    let parsed: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let hex = parsed["_data"].as_str().expect("a string");
    let run = scenario
        .cswatch(["--coll", "c", "--start-after", hex])
        .run()
        .expect_code(3);
    run.expect_error(
        "the server does not accept the resume token: ",
        "it was truncated or edited, or comes from a newer server; use the whole _id of the last line you have: --start-after TOKEN",
    );
}

#[test]
fn refuses_an_invalid_token_before_connecting() {
    for (value, why) in [
        ("826Bzz", "the resume token's _data is not hex"),
        (
            "{\"_data\":1}",
            "the resume token's _data is not a single string",
        ),
    ] {
        let run = Cswatch::new()
            .args(["--start-after", value])
            .run_unconnected();
        run.expect_failure(
            2,
            &format!("--start-after: {why}"),
            "use the _data of an event's _id (hex) or the whole _id, as printed or as mongosh shows it",
        );
    }
}

/// The server would silently skip all events up to that time.
#[test]
fn refuses_a_token_ahead_of_the_server() {
    let scenario = Scenario::new("start_after_ahead");
    let file = scenario.path("resume.json");
    let ahead = scenario.set().operation_time().time + 3600;
    let high_water_mark = format!("82{ahead:08X}000000012B0229296E04");
    let run = scenario
        .cswatch(["--coll", "c", "--start-after", &high_water_mark])
        .args([Path::new("--resume-file"), &file])
        .run();
    run.expect_failure(
        2,
        &format!(
            "--start-after: {} is ahead of the server's time, ",
            rfc3339(ahead.into())
        ),
        "give the _id of an event of this deployment, or --start now",
    );
    assert!(!file.exists());
}
