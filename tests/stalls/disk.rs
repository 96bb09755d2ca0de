//! Disks that hang below the files of a watch: it prints on where the disk is not its sink, and ends on SIGTERM in any case.

use std::fs;
use std::path::PathBuf;

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts, saved_token, token};
use testkit::hanging_disk::HangingDisk;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{
    GRACE, SLACK, terminate_within, wait_handles_sigterm, wait_printing, wait_prints_more,
};

fn file(scenario: &Scenario<'_>) -> PathBuf {
    scenario.path("resume.json")
}

fn watch(scenario: &Scenario<'_>) -> Cswatch {
    watch_awaiting(scenario, "100ms")
}

fn watch_awaiting(scenario: &Scenario<'_>, max_await: &str) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", max_await])
        .args(["--save-interval", "0s"])
        .args(["--resume-file".into(), file(scenario)])
}

#[test]
fn ends_on_sigterm_while_a_file_hangs_at_the_start() {
    let scenario = Scenario::new("disk_start");
    let uri_file = scenario.path("uri");
    fs::write(&uri_file, scenario.set().uri()).expect("a file");
    let output = scenario.path("events.jsonl");
    for (call, path) in [
        ("open", "resume.json"),
        ("sync", "resume.json"),
        ("open", "events.jsonl"),
        ("sync", "events.jsonl"),
        ("open", "uri"),
    ] {
        let disk = HangingDisk::new(call, path);
        disk.hang();
        let running = disk
            .hold(Cswatch::new())
            .args(["--uri-file".into(), uri_file.clone()])
            .args(["--db", scenario.db().name()])
            .args(["--resume-file".into(), file(&scenario)])
            .args(["--output".into(), output.clone()])
            .spawn();
        disk.wait_hanging();
        wait_handles_sigterm(&running);
        terminate_within(running, GRACE).expect_code(0);
    }
}

#[test]
fn prints_while_saves_hang_and_reports_at_the_end_that_the_last_checkpoint_is_not_saved() {
    for call in ["sync", "open"] {
        let scenario = Scenario::new("disk_save");
        let coll = scenario.coll("c");
        let disk = HangingDisk::new(call, "resume.json");
        let mut running = disk.hold(watch(&scenario)).spawn();
        wait_printing(&mut running, &coll);
        disk.hang();
        // A save begins.
        wait_prints_more(&mut running, &coll);
        disk.wait_hanging();
        // More than the writing thread is given at once, and single events.
        let documents = (0..2000).map(|n| doc! { "_id": n, "text": "x".repeat(500) });
        block_on(coll.insert_many(documents)).expect("inserts");
        wait_prints_more(&mut running, &coll);
        wait_prints_more(&mut running, &coll);
        let finished = terminate_within(running, GRACE + SLACK).expect_code(5);
        let expected = "cswatch: error: cannot save the last checkpoint to resume file";
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
        // Nothing is lost.
        let last = finished.stdout.last().expect("a line");
        let again = watch(&scenario).args(["--until", "now"]).run();
        let again = again.expect_code(0).stdout;
        assert_eq!(again.last(), Some(last));
    }
}

#[test]
fn saves_again_when_the_disk_recovers() {
    let scenario = Scenario::new("disk_recovers");
    let coll = scenario.coll("c");
    let disk = HangingDisk::new("sync", "resume.json");
    // No empty reply moves the checkpoint past the last line.
    let mut running = disk.hold(watch_awaiting(&scenario, "10m")).spawn();
    wait_printing(&mut running, &coll);
    disk.hang();
    wait_prints_more(&mut running, &coll);
    disk.wait_hanging();
    block_on(coll.insert_one(doc! { "_id": "last" })).expect("an insert");
    let lines = running.lines_until(|line| line.contains(r#""last""#));
    disk.recover();
    let last = token(lines.last().expect("a line"));
    let is_saved = poll(DEADLINE, || {
        (saved_token(&file(&scenario)) == last).then_some(())
    });
    assert!(is_saved.is_some());
    terminate_within(running, GRACE + SLACK).expect_code(0);
}

#[test]
fn ends_on_sigterm_while_the_heartbeat_hangs() {
    let scenario = Scenario::new("disk_heartbeat");
    let disk = HangingDisk::new("unlink", "heartbeat");
    let mut running = disk.hold(watch(&scenario)).spawn();
    wait_printing(&mut running, &scenario.coll("c"));
    disk.hang();
    terminate_within(running, GRACE + SLACK).expect_code(0);
    disk.wait_hanging();
}

#[test]
fn ends_on_sigterm_while_the_output_file_hangs_and_completes_it_later() {
    for call in ["write", "sync"] {
        let scenario = Scenario::new("disk_output");
        let coll = scenario.coll("c");
        let output = scenario.path("events.jsonl");
        let disk = HangingDisk::new(call, "events.jsonl");
        let write = || watch(&scenario).args(["--output".into(), output.clone()]);
        let mut running = disk.hold(write()).spawn();
        running.wait_open();
        disk.hang();
        insert(&coll, 1..=5);
        disk.wait_hanging();
        let finished = terminate_within(running, GRACE + SLACK).expect_code(6);
        let expected = "was not written within 3s of the shutdown request";
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
        write().args(["--until", "now"]).run().expect_code(0);
        let text = fs::read_to_string(&output).expect("the output");
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(briefs(&lines), inserts(1..=5));
    }
}

#[test]
fn ends_at_once_on_a_second_sigterm_while_a_save_hangs() {
    let scenario = Scenario::new("disk_second_signal");
    let coll = scenario.coll("c");
    let disk = HangingDisk::new("sync", "resume.json");
    let mut running = disk.hold(watch(&scenario)).spawn();
    wait_printing(&mut running, &coll);
    disk.hang();
    wait_prints_more(&mut running, &coll);
    disk.wait_hanging();
    running.signal_until_end(Signal::TERM).expect_code(143);
}
