//! Output that cannot be written: exit code 6, the position at the last line that was written whole.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, insert, inserts};
use testkit::running::Finished;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// Watches collection `c`; every watch of a scenario has the same position file.
fn watch(scenario: &Scenario, options: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "50ms", "--resume-file"])
        .args([scenario.path("position.json")])
        .args(options)
}

#[track_caller]
fn ensure_said(run: Finished, what: &str, way_out: &str) {
    let run = run.expect_code(6);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains(&format!("cswatch: error: {what}")) && last.contains(way_out),
        "{what} .. {way_out}\n{}",
        run.stderr
    );
}

fn full_device() -> File {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.expect("/dev/full")
}

#[test]
fn stdout_that_is_full_loses_no_event() {
    let scenario = Scenario::new("dev_full");
    let mut running = watch(&scenario, &[])
        .stdout(Stdout::File(full_device()))
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    ensure_said(
        running.wait(),
        "stdout cannot be written: No space left on device",
        "mend that and start again: the position is at the last line that was written whole",
    );
    let again = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&again.stdout), inserts(1..=2));
}

#[test]
fn stdout_on_a_disk_that_fills_up_loses_no_event() {
    let scenario = Scenario::new("stdout_disk");
    let disk = SmallDisk::new(64 * 1024);
    let lines = disk.path_outside().join("lines");
    let file = File::create(&lines).expect("a file");
    let mut running = watch(&scenario, &[]).stdout(Stdout::File(file)).spawn();
    running.wait_open();
    let text = "x".repeat(10_000);
    for id in 1..=10 {
        let document = doc! { "_id": id, "text": &text };
        block_on(scenario.coll("c").insert_one(document)).expect("an insert");
    }
    ensure_said(
        running.wait(),
        "stdout cannot be written: No space left on device",
        "mend that and start again",
    );
    let printed = fs::read_to_string(&lines).expect("lines");
    let (whole, _torn) = printed.rsplit_once('\n').expect("a whole line");
    let mut lines: Vec<_> = whole.lines().map(str::to_owned).collect();
    let again = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    lines.extend(again.stdout);
    assert_eq!(briefs(&lines), inserts(1..=10));
}

#[test]
fn output_file_must_be_a_regular_file_or_none_yet() {
    let scenario = Scenario::new("no_regular_file");
    let folder = scenario.path("folder");
    fs::create_dir(&folder).expect("a folder");
    let pipe = scenario.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let way_out = "name a regular file, or leave --output out and use stdout";
    for (path, what, way_out) in [
        (folder.as_path(), "is a folder", way_out),
        (
            &pipe,
            "is a pipe, where no event can be written exactly once",
            way_out,
        ),
        (
            Path::new("/dev/null"),
            "is a device, where no event can be written exactly once",
            way_out,
        ),
        (
            &scenario.path("missing/lines"),
            "No such file or directory",
            "",
        ),
    ] {
        // Nothing is connected before that is known.
        let run = Cswatch::new()
            .args(["--uri", "mongodb://127.0.0.1:1", "--output"])
            .args([path])
            .run();
        ensure_said(
            run,
            &format!("--output {}: {what}", path.display()),
            way_out,
        );
    }
}

#[test]
fn output_file_on_a_disk_that_fills_up_has_each_event_once() {
    let scenario = Scenario::new("output_disk");
    let disk = SmallDisk::new(64 * 1024);
    let inside = disk.path_inside().join("lines");
    let outside = disk.path_outside().join("lines");
    let filler = disk.path_outside().join("filler");
    fs::write(&filler, vec![0; 32 * 1024]).expect("a filler");
    let watch = |options: &[&str]| {
        watch(&scenario, options)
            .args([PathBuf::from("--output"), inside.clone()])
            .through(disk.through())
    };
    let mut running = watch(&[]).spawn();
    running.wait_open();
    let text = "x".repeat(5_000);
    for id in 1..=10 {
        let document = doc! { "_id": id, "text": &text };
        block_on(scenario.coll("c").insert_one(document)).expect("an insert");
    }
    let lines = || -> Vec<String> {
        let text = fs::read_to_string(&outside).expect("lines");
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    };
    ensure_said(
        running.wait(),
        &format!(
            "--output {}: cannot be written: No space left on device",
            inside.display()
        ),
        "make room there and start again: nothing is lost",
    );
    let before = lines();
    assert_eq!(briefs(&before), inserts(1..=before.len()));
    assert!((1..10).contains(&before.len()), "{}", before.len());
    fs::remove_file(&filler).expect("the filler");
    watch(&["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&lines()), inserts(1..=10));
}
