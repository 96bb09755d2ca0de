//! An output file that is deleted or replaced while lines are written to it: the watch ends, and no event is lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use testkit::cswatch::Stdout;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, checkpoint, insert, inserts, saved_token, token};
use testkit::running::Running;
use testkit::scenario::Scenario;

use super::target::{Target, lines, wait_for_lines};

const DELETED: &str = "was deleted or replaced while cswatch wrote to it";

/// The option of the hint, up to its token.
const COMMAND: &str = "start once with --start-after ";

/// Waits until a checkpoint is saved that knows lines in the file.
#[track_caller]
fn wait_for_saved_lines(target: &Target) {
    let is_saved = || {
        let length = checkpoint(&target.resume_file)["output"]["length"].as_u64();
        (length? > 0).then_some(())
    };
    assert!(poll(DEADLINE, is_saved).is_some(), "nothing is saved");
}

/// Returns the path of a file that a running watch has open, which also leads there when the file is deleted.
#[track_caller]
fn open_file(running: &Running, path: &Path) -> PathBuf {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", running.pid())).expect("a live process");
    descriptors
        .map(|entry| entry.expect("a descriptor").path())
        .find(|entry| fs::read_link(entry).is_ok_and(|target| target == path))
        .expect("an open output file")
}

/// Expects that the next start names a command, and that this command prints these events into a new file.
#[track_caller]
fn continues_by_the_command_of_the_hint(scenario: &Scenario, target: &Target, ids: &[i32]) {
    let stderr = target.is_refused(scenario, 5, "does not exist");
    let (_, rest) = stderr.split_once(COMMAND).expect(&stderr);
    let (token, _) = rest.split_once(' ').expect(&stderr);
    let watch = target.watch(scenario);
    watch
        .args(["--start-after", token, "--until", "now"])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&target.lines()), inserts(ids));
    // Only once: the checkpoint knows the new file.
    insert(&scenario.coll("c"), 100..=100);
    target.catch_up(scenario);
    assert_eq!(
        briefs(&target.lines()),
        inserts(ids.iter().copied().chain([100]))
    );
}

#[test]
fn ends_the_watch_before_the_checkpoint_passes_the_lost_lines() {
    let scenario = Scenario::new("deleted");
    let target = Target::new(&scenario.path(""), "events");
    let running = target.print(&scenario, 1..=1);
    wait_for_saved_lines(&target);
    fs::remove_file(&target.file).expect("an output file");
    insert(&scenario.coll("c"), 2..=3);
    let run = running.wait().expect_code(6);
    assert!(run.stderr.contains(DELETED), "{}", run.stderr);
    continues_by_the_command_of_the_hint(&scenario, &target, &[2, 3]);
}

#[test]
fn is_noticed_at_the_end_and_at_a_reopening() {
    for signal in [Signal::TERM, Signal::HUP] {
        let scenario = Scenario::new("deleted_signal");
        let target = Target::new(&scenario.path(""), "events");
        // Apart from the first save, none is due before the signal.
        let mut running = target
            .watch(&scenario)
            .args(["--save-interval", "10m", "--max-await", "10m"])
            .spawn();
        running.wait_open();
        insert(&scenario.coll("c"), 1..=2);
        wait_for_lines(&target.file, 2);
        // The first lines after a start are saved at once.
        wait_for_saved_lines(&target);
        let file = open_file(&running, &target.file);
        fs::remove_file(&target.file).expect("an output file");
        insert(&scenario.coll("c"), 3..=3);
        wait_for_lines(&file, 3);
        let content = fs::read(&file).expect("the deleted file");
        running.signal(signal);
        let run = running.wait().expect_code(6);
        assert!(run.stderr.contains(DELETED), "{}", run.stderr);
        let known = checkpoint(&target.resume_file)["output"]["length"].as_u64();
        let known = &content[..known.expect("a length") as usize];
        let saved = known.iter().filter(|byte| **byte == b'\n').count() as i32;
        let ids: Vec<_> = (saved + 1..=3).collect();
        continues_by_the_command_of_the_hint(&scenario, &target, &ids);
    }
}

#[test]
fn is_noticed_when_another_file_takes_its_place() {
    let scenario = Scenario::new("deleted_replaced");
    let target = Target::new(&scenario.path(""), "events");
    let running = target.print(&scenario, 1..=1);
    wait_for_saved_lines(&target);
    // As `sed -i` does it.
    let copy = scenario.path("copy");
    fs::copy(&target.file, &copy).expect("a copy");
    fs::rename(&copy, &target.file).expect("a rename");
    insert(&scenario.coll("c"), 2..=2);
    let run = running.wait().expect_code(6);
    assert!(run.stderr.contains(DELETED), "{}", run.stderr);
    // The copy has the same content, so that the watch continues in it.
    target.catch_up(&scenario);
    assert_eq!(briefs(&lines(&target.file)), inserts(1..=2));
}

#[test]
fn is_noticed_when_it_is_what_stdout_goes_to() {
    let scenario = Scenario::new("deleted_stdout");
    let file = scenario.path("events.jsonl");
    let resume_file = scenario.path("resume.json");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--save-interval", "0", "--resume-file"])
            .args([&resume_file])
    };
    let open = File::create(&file).expect("a file");
    let mut running = watch().stdout(Stdout::File(open)).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    wait_for_lines(&file, 1);
    let printed = token(&lines(&file)[0]);
    let is_saved = || (saved_token(&resume_file) == printed).then_some(());
    assert!(poll(DEADLINE, is_saved).is_some(), "nothing is saved");
    fs::remove_file(&file).expect("a file");
    insert(&scenario.coll("c"), 2..=2);
    let run = running.wait().expect_code(6);
    assert!(
        run.stderr.contains("was deleted or replaced"),
        "{}",
        run.stderr
    );
    let rest = watch().args(["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&rest.stdout), inserts(2..=2));
}

#[test]
fn is_no_error_when_stdout_never_had_a_name() {
    let scenario = Scenario::new("deleted_unnamed");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--until", "now", "--resume-file"])
            .args([scenario.path("resume.json")])
    };
    watch().run().expect_code(0);
    insert(&scenario.coll("c"), 1..=2);
    let mut file = tempfile::tempfile().expect("a file without a name");
    let open = file.try_clone().expect("a descriptor");
    watch().stdout(Stdout::File(open)).run().expect_code(0);
    std::io::Seek::rewind(&mut file).expect("a file");
    let text = std::io::read_to_string(&file).expect("lines");
    assert_eq!(text.lines().count(), 2);
}
