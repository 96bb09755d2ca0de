//! Which file is the watch's own: decided by content. A file of anything else is refused and left untouched.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use testkit::events::{briefs, checkpoint, insert, inserts};
use testkit::scenario::Scenario;

use super::target::Target;

/// A file as large as the largest that the test machine must not load into memory.
const HUGE: u64 = 1024 * 1024 * 1024;

/// Memory of a watch that has not read such a file.
const MEMORY: u64 = 200 * 1024 * 1024;

#[test]
fn resumes_in_a_file_with_another_inode_and_device() {
    let scenario = Scenario::new("identity_moved");
    let target = Target::new(&scenario.path(""), "events");
    insert(&scenario.coll("c"), 0..=0);
    target.catch_up(&scenario);
    target.print_unsaved(&scenario, 1..=3);
    // A restored copy: another inode.
    let copy = scenario.path("copy");
    fs::copy(&target.file, &copy).expect("a copy");
    fs::remove_file(&target.file).expect("a file");
    fs::rename(&copy, &target.file).expect("a rename");
    target.print_unsaved(&scenario, 4..=5);
    // Another file system under the same name, as after a remount of a re-attached volume.
    let elsewhere = Path::new("/dev/shm").join(scenario.db().name());
    fs::copy(&target.file, &elsewhere).expect("a copy in /dev/shm");
    fs::remove_file(&target.file).expect("a file");
    symlink(&elsewhere, &target.file).expect("a link");
    insert(&scenario.coll("c"), 6..=6);
    target.catch_up(&scenario);
    assert_eq!(briefs(&target.lines()), inserts(1..=6));
    fs::remove_file(&elsewhere).expect("a file in /dev/shm");
}

#[test]
fn refuses_another_file_with_as_many_bytes() {
    let scenario = Scenario::new("identity_other");
    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=3);
    target.catch_up(&scenario);
    let text = fs::read_to_string(&target.file).expect("a file of events");
    fs::write(&target.file, text.replace("insert", "delete")).expect("another file");
    let stderr = target.is_refused(&scenario, 5, "was edited after the checkpoint was saved");
    assert!(stderr.contains("--start-after TOKEN"), "{stderr}");
}

#[test]
fn does_not_take_a_foreign_file_for_new_lines_of_an_empty_one() {
    let scenario = Scenario::new("identity_empty");
    // Events of another time, in a file that another watch wrote.
    let older = Target::new(&scenario.path(""), "older");
    older.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=3);
    older.catch_up(&scenario);
    let older = fs::read_to_string(&older.file).expect("a file of events");

    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    assert_eq!(fs::read(&target.file).expect("an output file"), b"");
    for (content, why) in [
        (older.as_str(), "are older than the checkpoint"),
        ("{\"a\":1}\n", "is not an event of cswatch"),
        ("a word\n", "is not an event of cswatch"),
        ("a word", "are not an event"),
    ] {
        fs::write(&target.file, content).expect("a file");
        target.is_refused(&scenario, 5, why);
    }
    // A line of another program, between two of the watch.
    fs::write(&target.file, "").expect("a file");
    target.print_unsaved(&scenario, 4..=5);
    let lines = fs::read_to_string(&target.file).expect("a file of events");
    let (first, second) = lines.split_once('\n').expect("two lines");
    fs::write(&target.file, format!("{first}\na word\n{second}")).expect("a file");
    target.is_refused(&scenario, 5, "is not an event of cswatch");
    fs::write(&target.file, &lines).expect("a file of events");
    target.catch_up(&scenario);
    assert_eq!(briefs(&target.lines()), inserts(4..=5));
}

#[test]
fn refuses_to_append_to_a_file_that_cswatch_did_not_write() {
    let scenario = Scenario::new("identity_foreign");
    let other = Target::new(&scenario.path(""), "other");
    other.catch_up(&scenario);
    let resume_file = fs::read_to_string(&other.resume_file).expect("a resume file");
    let target = Target::new(&scenario.path(""), "events");
    for (content, why) in [
        (
            resume_file.as_str(),
            "exists and was not written by cswatch",
        ),
        ("a word\n", "it is not a JSON object"),
        ("{\"a\":1}\n", "missing field `_id`"),
        ("{\"_id\":1}\n", "its last line is not an event"),
        (
            "{\"_id\":{\"_data\":\"\"}}\n",
            "its last line is not an event",
        ),
        ("\n", "its last line is not an event"),
        ("no newline", "it does not end with a newline"),
    ] {
        fs::write(&target.file, content).expect("a file");
        let stderr = target.is_refused(&scenario, 6, why);
        assert!(stderr.contains("name another file"), "{stderr}");
        assert!(!target.resume_file.exists());
        let check = target.check(&scenario).run().expect_code(6);
        assert!(check.stdout.concat().contains(why), "{:?}", check.stdout);
    }
    // Nor the resume file of a watch that is running.
    let into_resume_file = Target {
        file: other.resume_file.clone(),
        resume_file: target.resume_file.clone(),
    };
    let mut running = other.watch(&scenario).spawn();
    running.wait_open();
    let run = into_resume_file.watch(&scenario).run().expect_code(6);
    assert!(run.stderr.contains("was not written by cswatch"));
    // Its own watch may have saved a newer checkpoint; nothing else was written to it.
    let kept = checkpoint(&other.resume_file);
    assert_eq!(kept["program"], "cswatch");
}

#[test]
fn appends_to_a_file_of_cswatch_that_no_checkpoint_knows() {
    let scenario = Scenario::new("identity_own");
    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=2);
    target.catch_up(&scenario);
    fs::remove_file(&target.resume_file).expect("a resume file");
    target.catch_up(&scenario);
    insert(&scenario.coll("c"), 3..=3);
    target.catch_up(&scenario);
    assert_eq!(briefs(&target.lines()), inserts(1..=3));
}

#[test]
fn refuses_huge_files_without_reading_them_into_memory() {
    let scenario = Scenario::new("identity_huge");
    for (name, begin, end) in [
        ("zeros", "", ""),
        ("newline", "", "\n"),
        ("object", "{\"_id\":", "\n"),
    ] {
        let target = Target::new(&scenario.path(""), name);
        let sparse = |content: &str| {
            fs::write(&target.file, begin).expect("a file");
            let file = fs::OpenOptions::new().append(true).open(&target.file);
            let file = file.expect("a file");
            file.set_len(HUGE).expect("a sparse file");
            std::io::Write::write_all(&mut &file, content.as_bytes()).expect("a file");
        };
        sparse(end);
        let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", MEMORY / 1024 * 10);
        let run = target
            .watch(&scenario)
            .through(["sh", "-c", &limit])
            .run()
            .expect_code(6);
        assert!(run.stderr.contains("was not written by cswatch"));
    }
}

#[test]
fn creates_a_file_that_only_its_owner_can_read() {
    let scenario = Scenario::new("identity_mode");
    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    let mode = |file: &Path| fs::metadata(file).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&target.file), 0o600);
    // The file is the user's: what was chosen for it stays.
    fs::set_permissions(&target.file, fs::Permissions::from_mode(0o644)).expect("a mode");
    target.catch_up(&scenario);
    assert_eq!(mode(&target.file), 0o644);
}
