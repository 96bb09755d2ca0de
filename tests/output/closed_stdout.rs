//! Stdout that is closed: nothing counts as printed.

use std::path::Path;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts};
use testkit::scenario::Scenario;

use super::target::Target;

/// What starts a program with a closed stdout.
const CLOSED: [&str; 3] = ["sh", "-c", "exec \"$0\" \"$@\" >&-"];

/// The same with stdin and stderr closed, whose places files may take then.
const ALL_CLOSED: [&str; 3] = ["sh", "-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"];

/// A token of MongoDB 6.0.27.
const TOKEN: &str = "826B032CA2000000022B0229296E04";

#[test]
fn ends_a_watch_that_would_print_to_it() {
    Cswatch::new()
        .through(CLOSED)
        .run_unconnected()
        .expect_code(6);
    let scenario = Scenario::new("closed_stdout");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--until", "now", "--resume-file"])
            .args([scenario.path("resume.json")])
    };
    watch().run().expect_code(0);
    insert(&scenario.coll("c"), 1..=2);
    let run = watch().through(CLOSED).run().expect_code(6);
    assert!(run.stderr.contains("stdout"), "{}", run.stderr);
    assert!(run.stderr.contains("> /dev/null"), "{}", run.stderr);
    watch().through(ALL_CLOSED).run().expect_code(6);
    // Nothing was counted as printed.
    let run = watch().run().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(1..=2));
}

#[test]
fn is_not_needed_with_an_output_file() {
    let scenario = Scenario::new("closed_stdout_output");
    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=2);
    for through in [CLOSED, ALL_CLOSED] {
        let watch = target.watch(&scenario).args(["--until", "now"]);
        watch.through(through).run().expect_code(0);
    }
    assert_eq!(briefs(&target.lines()), inserts(1..=2));
}

#[test]
fn fails_every_command_that_prints_to_it() {
    let scenario = Scenario::new("closed_stdout_commands");
    let uri = scenario.set().uri();
    for arguments in [
        &["check", "--no-resume", "--uri", &uri][..],
        &["check", "--json", "--no-resume", "--uri", &uri],
        &["token", TOKEN],
        &["token", "--json", TOKEN],
        &["--explain"],
        &["completions", "bash"],
        &["man"],
    ] {
        let run = || Cswatch::new().args(arguments);
        let closed = run().through(CLOSED).run().expect_code(6);
        assert!(closed.stderr.contains("stdout"), "{}", closed.stderr);
        run().run().expect_code(0);
    }
}

#[test]
fn does_not_change_the_answer_of_health() {
    let scenario = Scenario::new("closed_stdout_health");
    let resume_file = scenario.path("resume.json");
    let health = || {
        Cswatch::new()
            .args(["health", "--resume-file"])
            .args([Path::new(&resume_file)])
            .through(CLOSED)
    };
    health().run().expect_code(1);
    let mut running = scenario
        .cswatch(["--coll", "c", "--max-await", "50ms", "--resume-file"])
        .args([&resume_file])
        .spawn();
    running.wait_open();
    let healthy = || (health().run().code == Some(0)).then_some(());
    assert!(poll(DEADLINE, healthy).is_some(), "it stays unhealthy");
}

#[test]
fn that_is_discarded_counts_as_printed() {
    let scenario = Scenario::new("discarded_stdout");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--until", "now", "--resume-file"])
            .args([scenario.path("resume.json")])
    };
    watch().run().expect_code(0);
    insert(&scenario.coll("c"), 1..=2);
    let discarded = ["sh", "-c", "exec \"$0\" \"$@\" > /dev/null"];
    watch().through(discarded).run().expect_code(0);
    assert_eq!(watch().run().expect_code(0).stdout, [""; 0]);
}
