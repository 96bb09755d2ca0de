//! Members whose oplog is younger than the checkpoint, as after a new initial sync: history is lost only when no member has it.

use std::path::Path;

use mongodb::bson::Timestamp;

use testkit::cswatch::Cswatch;
use testkit::events::{as_start, briefs, insert, inserts, saved_time, saved_token};
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// The options of a watch that reads from a secondary until now.
fn secondary(scenario: &Scenario<'_>) -> [String; 4] {
    let uri = format!("{}&readPreference=secondary", scenario.set().uri());
    [
        "--uri".to_owned(),
        uri,
        "--db".to_owned(),
        scenario.db().name().to_owned(),
    ]
}

fn until_now(scenario: &Scenario<'_>, options: &[&str]) -> Cswatch {
    Cswatch::new()
        .args(secondary(scenario))
        .args(["--coll", "c", "--until", "now", "--max-await", "50ms"])
        .args(options)
}

/// Saves a checkpoint before any event.
#[track_caller]
fn save(scenario: &Scenario<'_>, file: &Path) {
    let save = until_now(scenario, &["--resume-file"]).args([file]);
    assert_eq!(save.run().expect_code(0).stdout, [""; 0]);
}

/// Makes both secondaries synchronize anew: their oplogs begin about now.
#[track_caller]
fn resync_secondaries(set: &ReplicaSet) {
    for member in set.secondaries() {
        member.wipe();
        set.wait_until_ready();
    }
}

#[test]
fn reads_from_another_member_that_still_has_the_history() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "resynced");
    insert(&scenario.coll("other"), [1]);
    let file = scenario.path("resume.json");
    save(&scenario, &file);
    insert(&scenario.coll("c"), [1, 2]);
    resync_secondaries(&set);

    let check = Cswatch::new()
        .args(["check"])
        .args(secondary(&scenario))
        .args(["--coll", "c", "--resume-file"])
        .args([&file])
        .run()
        .expect_code(0);
    let primary = set.primary().address();
    let only_there = format!("can be resumed, but only from {primary}");
    assert!(
        check.stdout.iter().any(|line| line.ends_with(&only_there)),
        "{:?}",
        check.stdout
    );

    let token = saved_token(&file);
    let start = as_start(saved_time(&file));
    let file = file.to_str().expect("a path");
    let options: [&[&str]; 4] = [
        &["--no-resume", "--start-after", &token],
        &["--no-resume", "--start", &start],
        &[
            "--no-resume",
            "--start",
            &start,
            "--on-history-lost",
            "earliest",
        ],
        &["--resume-file", file, "--on-history-lost", "earliest"],
    ];
    for options in options {
        let run = until_now(&scenario, options).run().expect_code(0);
        assert_eq!(
            briefs(&run.stdout),
            inserts([1, 2]),
            "{options:?}\n{}",
            run.stderr
        );
        let warning = " are no longer on ";
        let reading = format!(", reading from {primary}");
        assert!(
            run.stderr.contains(warning) && run.stderr.contains(&reading),
            "{}",
            run.stderr
        );
        for member in set.secondaries() {
            assert!(run.stderr.contains(&member.address()), "{}", run.stderr);
        }
        assert!(!run.stderr.contains("history lost"), "{}", run.stderr);
    }
    insert(&scenario.coll("c"), [3]);
    // For a secondary, now is the latest time that it has heard of.
    set.wait_for_replication();
    let next = until_now(&scenario, &["--resume-file", file])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&next.stdout), inserts([3]));
}

#[test]
fn continues_at_the_oldest_event_of_any_member_when_none_has_the_history() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "lost_everywhere");
    let file = scenario.path("resume.json");
    save(&scenario, &file);
    insert(&scenario.coll("c"), [1]);
    let saved: Timestamp = saved_time(&file);
    set.roll_oplog(set.operation_time());
    assert!(set.oplog_start() > saved);
    insert(&scenario.coll("c"), [2]);
    // An initial sync copies the oplog from the latest entry on.
    insert(&scenario.coll("other"), 1..=5);
    resync_secondaries(&set);
    let file = file.to_str().expect("a path");
    let lost = until_now(&scenario, &["--resume-file", file])
        .run()
        .expect_code(3);
    assert!(
        lost.stderr
            .contains("history lost: the checkpoint is from "),
        "{}",
        lost.stderr
    );
    let options = ["--resume-file", file, "--on-history-lost", "earliest"];
    let run = until_now(&scenario, &options).run().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts([2]), "{}", run.stderr);
}

/// There is no checkpoint then, and the message names what is.
#[test]
fn names_the_start_that_is_out_of_history() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "start_out_of_history");
    let probe = scenario.path("probe.json");
    scenario
        .cswatch(["--coll", "c", "--until", "now", "--resume-file"])
        .args([&probe])
        .run()
        .expect_code(0);
    set.roll_oplog(set.operation_time());
    let token = saved_token(&probe);
    let start = as_start(saved_time(&probe));
    let cases = [
        (["--start", &start], "history lost: --start is at "),
        (
            ["--start-after", &token],
            "history lost: the token of --start-after is from ",
        ),
    ];
    for (options, message) in cases {
        let run = scenario
            .cswatch(["--coll", "c"])
            .args(options)
            .run()
            .expect_code(3);
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
}
