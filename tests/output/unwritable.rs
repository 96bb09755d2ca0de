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

/// Opens a device on which every write fails because there is no space.
fn open_full_device() -> File {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.expect("/dev/full")
}

#[test]
fn loses_no_event_when_stdout_is_full() {
    let scenario = Scenario::new("dev_full");
    let mut running = scenario
        .watch(&[])
        .stdout(Stdout::File(open_full_device()))
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    running.wait().expect_code(6).expect_error(
        "cannot write to stdout: No space left on device",
        "fix that and start cswatch again: it resumes after the last line that was written whole",
    );
    assert_eq!(scenario.remaining(), inserts(1..=2));
}

#[test]
fn loses_no_event_when_the_disk_of_stdout_fills_up() {
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
        "cannot write to stdout: No space left on device",
        "fix that and start cswatch again: it resumes after the last line that was written whole",
    );
    let printed = fs::read_to_string(&lines).expect("lines");
    let (whole, _torn) = printed.rsplit_once('\n').expect("a whole line");
    let whole: Vec<_> = whole.lines().map(str::to_owned).collect();
    let mut events = briefs(&whole);
    events.extend(scenario.remaining());
    assert_eq!(events, inserts(1..=10));
}

#[test]
fn refuses_an_output_file_that_cannot_be_a_regular_file() {
    let scenario = Scenario::new("no_regular_file");
    let directory = scenario.path("directory");
    fs::create_dir(&directory).expect("a directory");
    let pipe = scenario.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let expect_refused = |path: &Path, message: &str, hint: &str| {
        let run = Cswatch::new()
            .args([Path::new("--output"), path])
            .run_unconnected();
        run.expect_failure(6, message, hint);
    };
    for (path, why) in [
        (directory.as_path(), "is a directory"),
        (
            &pipe,
            "is a pipe, which cannot hold each event exactly once",
        ),
        (
            Path::new("/dev/null"),
            "is a device, which cannot hold each event exactly once",
        ),
    ] {
        expect_refused(
            path,
            &format!("output file {} {why}", path.display()),
            "name a regular file, or omit --output to use stdout",
        );
    }
    let missing = scenario.path("missing");
    let file = missing.join("lines");
    expect_refused(
        &file,
        &format!(
            "cannot open output file {}: directory {} does not exist",
            file.display(),
            missing.display()
        ),
        "create that directory, or name a file elsewhere",
    );
}

#[test]
fn writes_each_event_once_when_the_disk_of_the_output_file_fills_up() {
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
        "cannot write output file {}: No space left on device (os error 28)",
        inside.display()
    );
    let hint = "free space on that disk and start cswatch again: no event is lost";
    running.wait().expect_code(6).expect_error(&message, hint);
    let before = lines();
    assert_eq!(briefs(&before), inserts(1..=before.len()));
    assert!((1..10).contains(&before.len()), "{}", before.len());
    // While the disk is full, each run reports the same and changes nothing.
    let again = watch(&[]).run().expect_code(6);
    again.expect_error(&message, hint);
    assert_eq!(lines(), before);

    fs::remove_file(&filler).expect("the filler");
    watch(&["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&lines()), inserts(1..=10));
}
