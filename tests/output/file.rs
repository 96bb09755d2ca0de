//! Each event exactly once in a regular file, whatever happens to the process and to the disk, and a file that is not the one of the
//! position is refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{as_start, briefs, insert, inserts, token};
use testkit::load::Load;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// A file of events and its position file.
struct Output {
    file: PathBuf,
    position: PathBuf,
}

impl Output {
    fn new(folder: &Path, name: &str) -> Output {
        Output {
            file: folder.join(format!("{name}.jsonl")),
            position: folder.join(format!("{name}.json")),
        }
    }

    /// A watch of collection `c` into the file.
    fn watch(&self, scenario: &Scenario) -> Cswatch {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--output"), &self.file])
            .args([Path::new("--resume-file"), &self.position])
    }

    /// Watches up to now.
    #[track_caller]
    fn catch_up(&self, scenario: &Scenario) {
        self.watch(scenario)
            .args(["--until", "now"])
            .run()
            .expect_code(0);
    }

    /// The lines of the file.
    #[track_caller]
    fn lines(&self) -> Vec<String> {
        lines(&self.file)
    }
}

#[track_caller]
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a file of events");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    text.lines().map(str::to_owned).collect()
}

/// The file of a watch that nothing happened to, of all events since `start`.
#[track_caller]
fn undisturbed(scenario: &Scenario, start: &[&str; 2]) -> Vec<String> {
    let output = Output::new(&scenario.path(""), "undisturbed");
    output
        .watch(scenario)
        .args(start)
        .args(["--until", "now"])
        .run()
        .expect_code(0);
    output.lines()
}

/// Fails unless the lines are the same, byte for byte; says only where they part.
#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    let parts = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    if let Some(at) = parts {
        panic!("line {at}:\n{}\nin place of\n{}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn is_that_of_an_undisturbed_run_after_200_kills() {
    const KILLS: usize = 200;
    /// Longest time from the opening of a stream to the kill.
    const LONGEST: Duration = Duration::from_millis(60);
    let scenario = Scenario::new("output_kills");
    let start = ["--start", &as_start(scenario.set().operation_time())];
    let output = Output::new(&scenario.path(""), "events");
    let load = Load::start(&scenario.coll("c"), 1000, 0);
    let mut random = fastrand::Rng::with_seed(34);
    for _ in 0..KILLS {
        let save_interval = ["0", "10ms", "1s"][random.usize(..3)];
        let mut running = output
            .watch(&scenario)
            .args(start)
            .args(["--save-interval", save_interval])
            .spawn();
        // Else somewhere in its beginning.
        if random.u8(..4) > 0 {
            running.wait_open();
        }
        // The moment is the fault.
        thread::sleep(LONGEST.mul_f64(random.f64()));
        running.kill();
    }
    let count = load.stop();
    output.catch_up(&scenario);
    let expected = undisturbed(&scenario, &start);
    assert_eq!(briefs(&expected), inserts(0..count));
    assert_same(&output.lines(), &expected);
}

#[test]
fn holds_each_event_once_across_rotations() {
    const ROTATIONS: usize = 5;
    let scenario = Scenario::new("output_rotation");
    let start = ["--start", &as_start(scenario.set().operation_time())];
    let output = Output::new(&scenario.path(""), "events");
    let load = Load::start(&scenario.coll("c"), 1000, 0);
    let mut running = output.watch(&scenario).args(start).spawn();
    let mut found = Vec::new();
    for rotation in 0..ROTATIONS {
        wait_for_lines(&output.file, 1);
        let rotated = scenario.path(&format!("events.jsonl.{rotation}"));
        fs::rename(&output.file, &rotated).expect("a rotation");
        // As logrotate does it: what comes between goes to the renamed file.
        running.signal(Signal::HUP);
        running.expect_stderr("reopened ");
        found.extend(lines(&rotated));
    }
    // Killed behind the last rotation, the position goes on in the new file.
    running.kill();
    let count = load.stop();
    output.catch_up(&scenario);
    found.extend(output.lines());
    let expected = undisturbed(&scenario, &start);
    assert_eq!(briefs(&expected), inserts(0..count));
    assert_same(&found, &expected);
}

/// Waits until the file has this many lines.
#[track_caller]
fn wait_for_lines(file: &Path, count: usize) {
    let enough = || {
        let text = fs::read(file).unwrap_or_default();
        (text.iter().filter(|byte| **byte == b'\n').count() >= count).then_some(())
    };
    assert!(
        poll(DEADLINE, enough).is_some(),
        "no {count} lines in {}",
        file.display()
    );
}

/// Opens the watch, inserts these, waits until `lines` more lines are in the file, and kills it. The position is that of the opening:
/// as after a kill before the next save.
#[track_caller]
fn print_unsaved(
    scenario: &Scenario,
    output: &Output,
    flags: &[&str],
    ids: RangeInclusive<i32>,
    lines_more: usize,
) {
    let before = match output.file.exists() {
        true => output.lines().len(),
        false => 0,
    };
    let mut running = output.watch(scenario).args(flags).spawn();
    running.wait_open();
    let position = fs::read(&output.position).expect("a position");
    insert(&scenario.coll("c"), ids);
    wait_for_lines(&output.file, before + lines_more);
    running.kill();
    fs::write(&output.position, position).expect("a position");
}

#[test]
fn keeps_lines_after_the_saved_position() {
    let scenario = Scenario::new("output_beyond");
    let output = Output::new(&scenario.path(""), "events");
    print_unsaved(&scenario, &output, &[], 1..=3, 3);
    print_unsaved(&scenario, &output, &[], 4..=5, 2);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=5));
}

#[test]
fn belongs_to_a_position_saved_without_it_before_its_first_line() {
    let scenario = Scenario::new("output_first_line");
    let to_stdout = |output: &Output, flags: &[&str]| {
        let watch = scenario.cswatch(["--coll", "c", "--resume-file"]);
        let watch = watch.args([&output.position]).args(flags);
        watch.run().expect_code(0).stdout
    };
    let output = Output::new(&scenario.path(""), "events");
    to_stdout(&output, &["--until", "now"]);
    print_unsaved(&scenario, &output, &[], 1..=2, 2);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=2));

    // The same for a start of one's own, which comes before the saved position here.
    let output = Output::new(&scenario.path(""), "others");
    to_stdout(&output, &["--until", "now"]);
    insert(&scenario.coll("c"), 3..=5);
    let printed = to_stdout(&output, &["--count", "3"]);
    let flags = ["--start-after", &token(&printed[0])];
    print_unsaved(&scenario, &output, &flags, 6..=6, 3);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(4..=6));
}

#[test]
fn loses_the_torn_line_and_the_zero_bytes_of_a_power_loss() {
    let scenario = Scenario::new("output_torn");
    let output = Output::new(&scenario.path(""), "events");
    print_unsaved(&scenario, &output, &[], 1..=3, 3);
    let whole = fs::read(&output.file).expect("a file of events");
    // What a disk may hold behind a power loss: a part of a line, and pages that were never written.
    let torn = &whole[..whole.len() - 10];
    let zeros = [&whole[..], &[0; 5000]].concat();
    let torn_zeros = [torn, &[0; 5000]].concat();
    let hole = [torn, &[0; 5000], &whole[whole.len() - 400..]].concat();
    let position = fs::read(&output.position).expect("a position");
    for content in [torn, &zeros, &torn_zeros, &hole] {
        // Written in place: another file would be refused.
        fs::write(&output.file, content).expect("a file of events");
        fs::write(&output.position, &position).expect("a position");
        output.catch_up(&scenario);
        assert!(fs::read(&output.file).expect("a file of events") == whole);
    }
}

#[test]
fn is_refused_and_left_as_it_is_when_it_is_not_as_it_was_left() {
    let scenario = Scenario::new("output_changed");
    let output = Output::new(&scenario.path(""), "events");
    output.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=3);
    output.catch_up(&scenario);
    let whole = fs::read_to_string(&output.file).expect("a file of events");
    let position = fs::read(&output.position).expect("a position");
    let first = whole.split_inclusive('\n').next().expect("a line");
    let refused = |why: &str| {
        let before = fs::read(&output.file).ok();
        output.watch(&scenario).run().expect_failure(
            5,
            &format!("--output {} {why}", output.file.display()),
            "; put that file back, or name another --output together with another --resume-file and --start-after TOKEN (the _id of the last line you have)",
        );
        assert_eq!(fs::read(&output.file).ok(), before);
        assert_eq!(fs::read(&output.position).expect("a position"), position);
    };
    for (content, why) in [
        (String::new(), "is shorter than when the position was saved"),
        (
            first.to_owned(),
            "is shorter than when the position was saved",
        ),
        (
            whole.replace("insert", "delete"),
            "was edited since the position was saved",
        ),
        (
            format!("{whole}a word\n"),
            "was written to by something else: its last line is no event of cswatch: ",
        ),
        (
            format!("{whole}{{\"a\":1}}\n"),
            "was written to by something else: its last line is no event of cswatch: ",
        ),
        (
            format!("{whole}a word"),
            "was written to by something else: what follows the last whole line is no event",
        ),
    ] {
        fs::write(&output.file, content).expect("a file of events");
        refused(why);
    }
    let elsewhere = scenario.path("elsewhere");
    fs::rename(&output.file, &elsewhere).expect("a rename");
    refused("is not there, though the position was saved together with a file");
    fs::write(&output.file, &whole).expect("a file of events");
    refused("is not the file that the position was saved with");

    // Put back as it was, it goes on.
    fs::rename(&elsewhere, &output.file).expect("a rename");
    fs::write(&output.file, &whole).expect("a file of events");
    insert(&scenario.coll("c"), 4..=4);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=4));
}

#[test]
fn ends_the_watch_when_it_is_cut_or_written_to_meanwhile() {
    let scenario = Scenario::new("output_meanwhile");
    for (name, change) in [
        (
            "cut",
            (|file: &File| file.set_len(0)) as fn(&File) -> std::io::Result<()>,
        ),
        ("written", |mut file: &File| file.write_all(b"a word\n")),
    ] {
        let output = Output::new(&scenario.path(""), name);
        let mut running = output.watch(&scenario).spawn();
        running.wait_open();
        insert(&scenario.coll("c"), 1..=1);
        wait_for_lines(&output.file, 1);
        let file = OpenOptions::new().append(true).open(&output.file);
        change(&file.expect("a file of events")).expect("a change");
        block_on(scenario.coll("c").delete_one(doc! { "_id": 1 })).expect("a delete");
        let run = running.wait().expect_code(5);
        let message = format!(
            "--output {} was cut or written to by something else (to rotate it: rename it, and send SIGHUP)",
            output.file.display()
        );
        run.expect_error(&message, "");
    }
}
