//! Messages of a first run: what is connected to, where the stream starts, and more with `-v` and `-vv`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::as_start;
use testkit::finished::Finished;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns the messages without their times.
fn messages(finished: &Finished) -> Vec<&str> {
    let texts = finished.messages().into_iter().map(|line| {
        let message = line.split_once("cswatch: ");
        message.map_or(line, |(_, message)| message)
    });
    texts.collect()
}

#[test]
fn names_the_hosts_while_it_waits_for_them() {
    // They accept connections and never reply.
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [first, second] = [&first, &second].map(|server| server.local_addr().expect("an address"));
    let uri = format!(
        "mongodb://user:secret@{first},{second}/?replicaSet=rs0&serverSelectionTimeoutMS=3000"
    );
    let mut hosts = [first, second].map(|address| address.to_string());
    hosts.sort();
    let expected = format!("connecting to {}...", hosts.join(","));
    for command in [&["--no-resume"][..], &["check", "--no-resume"]] {
        let finished = Cswatch::new()
            .args(command)
            .args(["--retry-for", "0s"])
            .env("CSWATCH_URI", &uri)
            .run()
            .expect_code(7);
        let first = finished.stderr.lines().next().expect("a message");
        assert!(first.ends_with(&expected), "{first}");
        let count = finished.stderr.matches("connecting to").count();
        assert_eq!(count, 1, "{}", finished.stderr);
        assert!(!finished.stderr.contains("secret"), "{}", finished.stderr);
    }
}

#[test]
fn stays_silent_about_a_server_that_replies_soon_or_is_refused() {
    let scenario = Scenario::new("first_soon");
    let soon = scenario.cswatch(["--coll", "c", "--no-resume", "--until", "now"]);
    let refused = Cswatch::new().args(["--uri", "mongodb://127.0.0.1:1", "--no-resume"]);
    for (cswatch, code) in [(soon, 0), (refused, 7)] {
        let start = Instant::now();
        let finished = cswatch.run().expect_code(code);
        // On a busy machine, it may take longer.
        let is_slow = start.elapsed() >= Duration::from_secs(1);
        let is_reported = finished.stderr.contains("connecting");
        assert!(is_slow || !is_reported, "{}", finished.stderr);
    }
}

#[test]
fn reports_the_start_and_the_resume_file() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "first_start");
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    let second = scenario.set().operation_time().time;
    let time = as_time(second);
    let second = second.to_string();
    let file = scenario.path("resume.json").display().to_string();
    let beginning = "the beginning of the oplog";
    let date = &time[.."2026-01-31".len()];
    let midnight = format!("{date}T00:00:00Z");
    for (start, named) in [
        (date, &*midnight),
        (&second[..], &*time),
        (&time, &time),
        ("earliest", beginning),
    ] {
        let run = |arguments: &[&str]| {
            scenario
                .cswatch(["--coll", "c", "--start", start, "--until", "now"])
                .args(arguments)
                .run()
                .expect_code(0)
        };
        let finished = run(&["--no-resume"]);
        assert_eq!(messages(&finished)[0], format!("starting at {named}"));
        let finished = run(&["--resume-file", &file]);
        let expected = format!("no checkpoint yet, starting at {named} ({file})");
        assert_eq!(messages(&finished)[0], expected);
        let finished = run(&["--resume-file", &file]);
        let [resuming, ignored, ..] = messages(&finished)[..] else {
            panic!("no messages\n{}", finished.stderr);
        };
        assert!(resuming.starts_with("resuming after "), "{resuming}");
        assert!(resuming.ends_with(&format!(" ({file})")), "{resuming}");
        assert_eq!(ignored, "--start is ignored because there is a checkpoint");
        std::fs::remove_file(&file).expect("a resume file");
    }
    let finished = scenario
        .cswatch(["--coll", "c", "--no-resume", "--until", "now"])
        .run()
        .expect_code(0);
    assert!(!finished.stderr.contains("starting"), "{}", finished.stderr);
}

#[test]
fn reports_the_oldest_time_of_an_oplog_that_was_overwritten() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "first_earliest");
    let start = set.operation_time();
    set.roll_oplog(start);
    let finished = scenario
        .cswatch(["--coll", "c", "--no-resume", "--start", "earliest"])
        .args(["--until", "now"])
        .run()
        .expect_code(0);
    let message = messages(&finished)[0];
    let time = message.strip_prefix("starting at ");
    let time = time.and_then(|rest| rest.strip_suffix(", the oldest time in the oplog"));
    let time = time.unwrap_or_else(|| panic!("no time in {message:?}"));
    // Times of this form sort like text.
    assert!(time >= &*as_time(start.time), "{message}");
}

/// Returns a second since 1970 as cswatch prints it.
fn as_time(second: u32) -> String {
    let date = mongodb::bson::DateTime::from_millis(i64::from(second) * 1000);
    date.try_to_rfc3339_string().expect("a date")
}

#[test]
fn reports_servers_version_and_pipeline_with_verbose() {
    let scenario = Scenario::new("first_verbose");
    let start = as_start(scenario.set().operation_time());
    let run = |arguments: &[&str]| {
        scenario
            .cswatch(["--coll", "c", "--no-resume", "--start", &start])
            .args(["--until", "now", "--op", "insert"])
            .args(arguments)
            .run()
            .expect_code(0)
    };
    let build_info = scenario.db().run_command(doc! { "buildInfo": 1 });
    let build_info = block_on(build_info).expect("a reply");
    let version = build_info.get_str("version").expect("a version");
    let mongod = scenario.set().primary();
    let address = mongod.address();
    let reached = format!("debug: connected to MongoDB {version}, replica set ");
    let primary = format!(", {address} (primary)");
    let pipeline = "debug: opening the stream with { pipeline: [ { $changeStream: {";

    let finished = run(&[]);
    assert!(!finished.stderr.contains("debug: "), "{}", finished.stderr);
    let finished = run(&["-v"]);
    let lines = messages(&finished);
    let found = lines.iter().find(|line| line.starts_with(&reached));
    let found = found.unwrap_or_else(|| panic!("no server\n{}", finished.stderr));
    assert!(found.ends_with(&primary), "{found}");
    let found = lines.iter().find(|line| line.starts_with(pipeline));
    let found = found.unwrap_or_else(|| panic!("no pipeline\n{}", finished.stderr));
    assert!(found.contains("{ $match: { operationType: "), "{found}");
    assert!(!finished.stderr.contains("driver: "), "{}", finished.stderr);
}

#[test]
fn logs_events_of_the_driver_without_values_when_very_verbose() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "first_very_verbose");
    let roles = [doc! { "role": "readAnyDatabase", "db": "admin" }];
    let uri = set.create_user("reader", "hunter2", &roles);
    let finished = Cswatch::new()
        .args(["-vv", "--no-resume", "--until", "now", "--coll", "c"])
        .args(["--db", scenario.db().name()])
        .env("CSWATCH_URI", uri)
        .run()
        .expect_code(0);
    for part in [
        "debug: driver: monitoring ",
        "debug: driver: heartbeat of ",
        "debug: driver: connection 1 to ",
        "debug: driver: aggregate on ",
    ] {
        assert!(
            finished.stderr.contains(part),
            "{part}\n{}",
            finished.stderr
        );
    }
    for secret in ["hunter2", "payload", "signature"] {
        assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
    }
}
