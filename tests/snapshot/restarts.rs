//! Runs after the first one: an incomplete snapshot continues, a complete one is not repeated, and a checkpoint without one has none.

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::events::{briefs, checkpoint, insert};
use testkit::finished::Finished;
use testkit::scenario::Scenario;

use super::fill;

/// Documents in collection `c`.
const DOCUMENTS: i32 = 2000;

fn watch(scenario: &Scenario<'_>, options: &[&str]) -> Cswatch {
    scenario
        .watch(&["--batch-size", "2", "--max-await", "50ms"])
        .args(options)
}

/// Returns the briefs of the snapshot lines of these documents.
fn snapshots(ids: std::ops::Range<i32>) -> Vec<String> {
    ids.map(|id| format!("snapshot {id}")).collect()
}

/// Starts a snapshot, and stops it before its end. Returns what it printed.
#[track_caller]
fn begun(scenario: &Scenario<'_>, options: &[&str]) -> Finished {
    fill(&scenario.coll("c"), 0..DOCUMENTS);
    let mut running = watch(scenario, options).args(["--snapshot"]).spawn();
    running.next_line();
    running.signal(Signal::TERM);
    let finished = running.wait().expect_code(0);
    assert!(finished.stdout.len() < DOCUMENTS as usize);
    finished
}

#[test]
fn continues_a_snapshot_that_was_stopped_and_does_not_repeat_a_complete_one() {
    let scenario = Scenario::new("snapshot_continued");
    let first = begun(&scenario, &[]);
    let printed = first.stdout.len() as i32;
    assert_eq!(briefs(&first.stdout), snapshots(0..printed));
    let rest = watch(&scenario, &["--snapshot", "--until", "now"])
        .run()
        .expect_code(0);
    assert!(
        rest.stderr.contains("continuing the snapshot"),
        "{}",
        rest.stderr
    );
    assert_eq!(briefs(&rest.stdout), snapshots(printed..DOCUMENTS));
    assert_eq!(checkpoint(&scenario.resume_file())["snapshot"], "finished");
    let again = watch(&scenario, &["--snapshot", "--until", "now"])
        .run()
        .expect_code(0);
    assert!(
        again.stderr.contains("the snapshot is complete"),
        "{}",
        again.stderr
    );
    assert_eq!(again.stdout, [""; 0]);
    // Nor once the option is gone, and nothing warns.
    insert(&scenario.coll("c"), [DOCUMENTS]);
    let without = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&without.stdout), [format!("insert {DOCUMENTS}")]);
    assert!(
        !without.stderr.contains("the snapshot"),
        "{}",
        without.stderr
    );
}

#[test]
fn has_no_snapshot_after_a_checkpoint_without_one() {
    let scenario = Scenario::new("snapshot_ignored");
    fill(&scenario.coll("c"), 0..10);
    assert_eq!(scenario.remaining(), [""; 0]);
    let run = watch(&scenario, &["--snapshot", "--until", "now"])
        .run()
        .expect_code(0);
    assert_eq!(run.stdout, [""; 0]);
    assert!(
        run.stderr
            .contains("--snapshot is ignored because there is a checkpoint"),
        "{}",
        run.stderr
    );
}

#[test]
fn warns_of_an_incomplete_snapshot_without_the_option_and_keeps_its_progress() {
    let scenario = Scenario::new("snapshot_paused");
    let first = begun(&scenario, &[]);
    let printed = first.stdout.len() as i32;
    insert(&scenario.coll("c"), [-1]);
    let without = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&without.stdout), ["insert -1"]);
    assert!(
        without
            .stderr
            .contains("warning: the snapshot is incomplete"),
        "{}",
        without.stderr
    );
    let rest = watch(&scenario, &["--snapshot", "--until", "now"])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&rest.stdout), snapshots(printed..DOCUMENTS));
}

#[test]
fn continues_with_another_filter() {
    let scenario = Scenario::new("snapshot_filter_changed");
    let first = begun(&scenario, &["--match", "{'fullDocument.n': {$gte: 0}}"]);
    let printed = first.stdout.len() as i32;
    let filter = [
        "--snapshot",
        "--until",
        "now",
        "--match",
        "{'fullDocument.n': {$gte: 1990}}",
    ];
    let rest = watch(&scenario, &filter).run().expect_code(0);
    assert_eq!(
        briefs(&rest.stdout),
        snapshots(printed.max(1990)..DOCUMENTS)
    );
}

#[test]
fn checks_how_much_of_a_snapshot_is_left() {
    let scenario = Scenario::new("snapshot_checked");
    begun(&scenario, &[]);
    let check = || {
        Cswatch::new()
            .args([
                "check",
                "--snapshot",
                "--uri",
                &scenario.set().uri(),
                "--db",
                scenario.db().name(),
                "--coll",
                "c",
                "--resume-file",
            ])
            .args([scenario.resume_file()])
            .run()
            .expect_code(0)
    };
    let expect = |part: &str| {
        let lines = check().stdout;
        assert!(lines.iter().any(|line| line.contains(part)), "{lines:#?}");
    };
    expect(&format!(
        "continues in {}.c: at most 2,000 documents in 1 collection to read",
        scenario.db().name()
    ));
    watch(&scenario, &["--snapshot", "--until", "now"])
        .run()
        .expect_code(0);
    expect("complete, is not repeated");
}
