//! Output that cannot be written: exit code 6, and the checkpoint is the last line that was written whole.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, insert, inserts};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

fn full_device() -> File {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.expect("/dev/full")
}

#[test]
fn stdout_that_is_full_loses_no_event() {
    let scenario = Scenario::new("dev_full");
    let mut running = scenario
        .watch(&[])
        .stdout(Stdout::File(full_device()))
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    running.wait().expect_code(6).expect_error(
        "stdout cannot be written: No space left on device",
        "; mend that and start again: the position is at the last line that was written whole",
    );
    assert_eq!(scenario.remaining(), inserts(1..=2));
}

#[test]
fn stdout_on_a_disk_that_fills_up_loses_no_event() {
    let scenario = Scenario::new("stdout_disk");
    let disk = SmallDisk::new(64 * 1024);
    let lines = disk.path_outside().join("lines");
    let file = File::create(&lines).expect("a file");
    let mut running = scenario.watch(&[]).stdout(Stdout::File(file)).spawn();
    running.wait_open();
    let text = "x".repeat(10_000);
    for id in 1..=10 {
        let document = doc! { "_id": id, "text": &text };
        block_on(scenario.coll("c").insert_one(document)).expect("an insert");
    }
    running.wait().expect_code(6).expect_error(
        "stdout cannot be written: No space left on device",
        "; mend that and start again: the position is at the last line that was written whole",
    );
    let printed = fs::read_to_string(&lines).expect("lines");
    let (whole, _torn) = printed.rsplit_once('\n').expect("a whole line");
    let whole: Vec<_> = whole.lines().map(str::to_owned).collect();
    let mut events = briefs(&whole);
    events.extend(scenario.remaining());
    assert_eq!(events, inserts(1..=10));
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
        let run = Cswatch::new()
            .args([Path::new("--output"), path])
            .run_unconnected();
        run.expect_failure(6, &format!("--output {}: {what}", path.display()), way_out);
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
        scenario
            .watch(options)
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
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines().map(str::to_owned).collect()
    };
    let message = format!(
        "--output {}: cannot be written: No space left on device (os error 28)",
        inside.display()
    );
    let hint = "; make room there and start again: nothing is lost";
    running.wait().expect_code(6).expect_error(&message, hint);
    let before = lines();
    assert_eq!(briefs(&before), inserts(1..=before.len()));
    assert!((1..10).contains(&before.len()), "{}", before.len());
    // As long as the disk is full, each start reports the same and changes nothing.
    let again = watch(&[]).run().expect_code(6);
    again.expect_error(&message, hint);
    assert_eq!(lines(), before);

    fs::remove_file(&filler).expect("the filler");
    watch(&["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&lines()), inserts(1..=10));
}
