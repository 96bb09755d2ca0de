//! Where a watch starts: `--start` in all its forms, and `--start-after`.

use std::path::Path;

use mongodb::bson::{Timestamp, doc};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{as_start, brief, briefs, insert, inserts, saved_token, time, token};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The events of collection `c` up to now, without a position file.
#[track_caller]
fn events(scenario: &Scenario, options: &[&str]) -> Vec<String> {
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

/// Writes elsewhere until the server's time is in a later second than `time`, and returns it.
#[track_caller]
fn later_second(scenario: &Scenario, time: Timestamp) -> Timestamp {
    let elsewhere = scenario.coll("clock");
    let later = poll(DEADLINE, || {
        block_on(elsewhere.insert_one(doc! {})).expect("an insert");
        let now = scenario.set().operation_time();
        (now.time > time.time).then_some(now)
    });
    later.expect("time passes")
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .expect("a time")
        .to_string()
}

#[test]
fn starts_at_now_by_default() {
    let scenario = Scenario::new("start_now");
    insert(&scenario.coll("c"), 1..=2);
    for options in [&[] as &[&str], &["--start", "now"]] {
        let mut running = scenario
            .cswatch(["--coll", "c", "--no-resume"])
            .args(options)
            .spawn();
        running.wait_open();
        block_on(scenario.coll("c").delete_many(doc! {})).expect("a delete");
        insert(&scenario.coll("c"), 3..=3);
        let lines = running.lines_until(|line| brief(line) == "insert 3");
        assert!(lines.iter().all(|line| brief(line) != "insert 1"));
        running.kill();
    }
}

#[test]
fn starts_at_the_oldest_event_there_is() {
    let scenario = Scenario::new("start_earliest");
    insert(&scenario.coll("c"), 1..=3);
    assert_eq!(
        briefs(&events(&scenario, &["--start", "earliest"])),
        inserts(1..=3)
    );
}

#[test]
fn starts_with_the_first_event_at_or_after_a_time() {
    let scenario = Scenario::new("start_time");
    let coll = scenario.coll("c");
    insert(&coll, 1..=2);
    let second = later_second(&scenario, scenario.set().operation_time());
    insert(&coll, 3..=5);
    let all = events(&scenario, &["--start", "earliest"]);
    assert_eq!(briefs(&all), inserts(1..=5));
    let seconds = i64::from(second.time);
    let starts = [
        (rfc3339(seconds), 3),
        // With a fraction and another offset; the second counts.
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
        let lines = events(&scenario, &["--start", &start]);
        assert_eq!(briefs(&lines), inserts(first..=5), "{start}");
    }
}

/// The server would silently skip all events until then.
#[test]
fn refuses_a_time_ahead_of_the_server_and_saves_nothing() {
    let scenario = Scenario::new("start_ahead");
    let file = scenario.path("position.json");
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
            .run()
            .expect_code(2);
        let said = format!(
            "cswatch: error: --start: {} is ahead of the server, which is at ",
            rfc3339(ahead.time.into())
        );
        assert!(
            run.stderr.contains(&said) && run.stderr.contains("; use --start now"),
            "{}",
            run.stderr
        );
        assert!(!file.exists());
    }
}

#[test]
fn ignores_the_start_when_the_file_holds_a_position() {
    let scenario = Scenario::new("start_ignored");
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
fn starts_after_a_token_whatever_the_file_says_and_the_file_follows_on() {
    let scenario = Scenario::new("start_after");
    let file = scenario.path("position.json");
    let watch = |options: &[&str]| -> Cswatch {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--resume-file"), &file])
            .args(options)
    };
    insert(&scenario.coll("c"), 1..=5);
    let all = watch(&[
        "--start",
        "earliest",
        "--until",
        "now",
        "--max-await",
        "50ms",
    ])
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

/// Of such an `_id` the hex alone is not enough, and the server says so.
#[test]
fn starts_after_a_token_with_type_bits_given_whole() {
    let scenario = Scenario::new("start_after_whole");
    let coll = scenario.coll("c");
    block_on(coll.insert_one(doc! { "_id": 1.5 })).expect("an insert");
    insert(&coll, 2..=2);
    let all = events(&scenario, &["--start", "earliest"]);
    let whole = token(&all[0]);
    let lines = events(&scenario, &["--start-after", &whole]);
    assert_eq!(briefs(&lines), inserts([2]));
    let parsed: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let hex = parsed["_data"].as_str().expect("a string");
    let run = scenario
        .cswatch(["--coll", "c", "--start-after", hex])
        .run()
        .expect_code(3);
    assert!(
        run.stderr
            .contains("the server does not take the resume token: ")
            && run.stderr.contains("take the whole _id of the last line"),
        "{}",
        run.stderr
    );
}

#[test]
fn refuses_what_is_no_token_before_connecting() {
    for (value, why) in [
        ("826Bzz", "the resume token's _data is not hex"),
        (
            "{\"_data\":1}",
            "the resume token's _data is not one string",
        ),
        ("{", "the resume token is not Extended JSON"),
    ] {
        let run = Cswatch::new()
            .args(["--start-after", value])
            .run_unconnected();
        run.expect_failure(
            2,
            &format!("--start-after: {why}"),
            "; give the _data of an event's _id (hex), or the whole _id as Extended JSON",
        );
    }
}

/// The server would silently skip all events until then.
#[test]
fn refuses_a_token_ahead_of_the_server() {
    let scenario = Scenario::new("start_after_ahead");
    let file = scenario.path("position.json");
    let ahead = scenario.set().operation_time().time + 3600;
    let mark = format!("82{ahead:08X}000000012B0229296E04");
    let run = scenario
        .cswatch(["--coll", "c", "--start-after", &mark])
        .args([Path::new("--resume-file"), &file])
        .run()
        .expect_code(2);
    let said = format!(
        "cswatch: error: --start-after: {} is ahead of the server, which is at ",
        rfc3339(ahead.into())
    );
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    assert!(!file.exists());
}
