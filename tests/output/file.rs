//! Output files. They hold each event exactly once, even after kills and power losses; a file that does not match the checkpoint is refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{BACKLOG_DEADLINE, DEADLINE, poll};
use testkit::events::{as_start, briefs, insert, inserts, token};
use testkit::load::Load;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The hint for a file that does not match the checkpoint.
const RESTORE: &str = "restore that file, or give another --output, another --resume-file and --start-after TOKEN (the _id of the last line you have)";

/// An output file and its resume file.
struct Output {
    file: PathBuf,
    resume_file: PathBuf,
}

impl Output {
    fn new(directory: &Path, name: &str) -> Output {
        Output {
            file: directory.join(format!("{name}.jsonl")),
            resume_file: directory.join(format!("{name}.json")),
        }
    }

    /// Returns a watch of collection `c` into the file.
    fn watch(&self, scenario: &Scenario) -> Cswatch {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--output"), &self.file])
            .args([Path::new("--resume-file"), &self.resume_file])
    }

    /// Runs a watch up to now.
    #[track_caller]
    fn catch_up(&self, scenario: &Scenario) {
        self.watch(scenario)
            .args(["--until", "now"])
            .deadline(BACKLOG_DEADLINE)
            .run()
            .expect_code(0);
    }

    /// Returns the lines of the file.
    #[track_caller]
    fn lines(&self) -> Vec<String> {
        lines(&self.file)
    }
}

/// Returns the lines of an output file, and fails if its last line is torn.
#[track_caller]
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("an output file");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    text.lines().map(str::to_owned).collect()
}

/// Returns the lines that an undisturbed run writes from `start` up to now.
#[track_caller]
fn read_undisturbed(scenario: &Scenario, start: &[&str; 2]) -> Vec<String> {
    let output = Output::new(&scenario.path(""), "undisturbed");
    output
        .watch(scenario)
        .args(start)
        .args(["--until", "now"])
        .deadline(BACKLOG_DEADLINE)
        .run()
        .expect_code(0);
    output.lines()
}

/// Fails unless the lines are the same, byte for byte. Shows only the first difference.
#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    let difference = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    if let Some(index) = difference {
        panic!(
            "line {index}:\n{}\ninstead of\n{}",
            found[index], expected[index]
        );
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn writes_the_file_of_an_undisturbed_run_despite_200_kills() {
    const KILLS: usize = 200;
    /// Maximum time from the opening of the stream, or from the start, to the kill.
    const MAX_DELAY: Duration = Duration::from_millis(60);
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "output_kills");
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
        // Otherwise it is killed during its startup.
        if random.u8(..4) > 0 {
            running.wait_open();
        }
        // The random moment is the fault that is tested: there is no event to wait for.
        thread::sleep(MAX_DELAY.mul_f64(random.f64()));
        running.kill();
    }
    let count = load.stop();
    output.catch_up(&scenario);
    let expected = read_undisturbed(&scenario, &start);
    assert_eq!(briefs(&expected), inserts(0..count));
    assert_same(&output.lines(), &expected);
}

#[test]
fn writes_each_event_once_across_rotations() {
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
        // As with logrotate, lines go to the renamed file until the signal.
        running.signal(Signal::HUP);
        running.expect_stderr("reopened ");
        found.extend(lines(&rotated));
    }
    // After a kill, the next run continues in the new file.
    running.kill();
    let count = load.stop();
    output.catch_up(&scenario);
    found.extend(output.lines());
    let expected = read_undisturbed(&scenario, &start);
    assert_eq!(briefs(&expected), inserts(0..count));
    assert_same(&found, &expected);
}

/// Waits until the file has at least `count` lines.
#[track_caller]
fn wait_for_lines(file: &Path, count: usize) {
    let has_enough = || {
        let text = fs::read(file).unwrap_or_default();
        (text.iter().filter(|byte| **byte == b'\n').count() >= count).then_some(())
    };
    assert!(
        poll(DEADLINE, has_enough).is_some(),
        "no {count} lines in {}",
        file.display()
    );
}

/// Starts a watch, inserts documents with these `_id`s, waits for this number of new lines in the file, and kills the watch. Restores the
/// checkpoint of the opening of the stream, as if the kill had come before the next save.
#[track_caller]
fn print_unsaved(
    scenario: &Scenario,
    output: &Output,
    flags: &[&str],
    ids: RangeInclusive<i32>,
    new_lines: usize,
) {
    let before = match output.file.exists() {
        true => output.lines().len(),
        false => 0,
    };
    let mut running = output.watch(scenario).args(flags).spawn();
    running.wait_open();
    let checkpoint = fs::read(&output.resume_file).expect("a resume file");
    insert(&scenario.coll("c"), ids);
    wait_for_lines(&output.file, before + new_lines);
    running.kill();
    fs::write(&output.resume_file, checkpoint).expect("a resume file");
}

#[test]
fn keeps_lines_after_the_checkpoint() {
    let scenario = Scenario::new("output_beyond");
    let output = Output::new(&scenario.path(""), "events");
    print_unsaved(&scenario, &output, &[], 1..=3, 3);
    print_unsaved(&scenario, &output, &[], 4..=5, 2);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=5));
}

#[test]
fn saves_a_checkpoint_of_a_new_file_before_its_first_line() {
    let scenario = Scenario::new("output_first_line");
    let to_stdout = |output: &Output, flags: &[&str]| {
        let watch = scenario.cswatch(["--coll", "c", "--resume-file"]);
        let watch = watch.args([&output.resume_file]).args(flags);
        watch.run().expect_code(0).stdout
    };
    let output = Output::new(&scenario.path(""), "events");
    to_stdout(&output, &["--until", "now"]);
    print_unsaved(&scenario, &output, &[], 1..=2, 2);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=2));

    // The same with --start-after, here with a token from before the checkpoint.
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
fn removes_the_torn_line_and_the_zero_bytes_of_a_power_loss() {
    let scenario = Scenario::new("output_torn");
    let output = Output::new(&scenario.path(""), "events");
    print_unsaved(&scenario, &output, &[], 1..=3, 3);
    let whole = fs::read(&output.file).expect("an output file");
    // After a power loss, a disk may hold a part of a line, and zeros in place of pages that were never written.
    let torn = &whole[..whole.len() - 10];
    let zeros = [&whole[..], &[0; 5000]].concat();
    let torn_zeros = [torn, &[0; 5000]].concat();
    let hole = [torn, &[0; 5000], &whole[whole.len() - 400..]].concat();
    let checkpoint = fs::read(&output.resume_file).expect("a resume file");
    for content in [torn, &zeros, &torn_zeros, &hole] {
        // Written in place: another file would be refused.
        fs::write(&output.file, content).expect("an output file");
        fs::write(&output.resume_file, &checkpoint).expect("a resume file");
        output.catch_up(&scenario);
        assert!(fs::read(&output.file).expect("an output file") == whole);
    }
}

#[test]
fn refuses_a_changed_file_and_leaves_it_untouched() {
    let scenario = Scenario::new("output_changed");
    let output = Output::new(&scenario.path(""), "events");
    output.catch_up(&scenario);
    insert(&scenario.coll("c"), 1..=3);
    output.catch_up(&scenario);
    let whole = fs::read_to_string(&output.file).expect("an output file");
    let checkpoint = fs::read(&output.resume_file).expect("a resume file");
    let first = whole.split_inclusive('\n').next().expect("a line");
    let expect_refused = |why: &str| {
        let before = fs::read(&output.file).ok();
        output.watch(&scenario).run().expect_failure(
            5,
            &format!("output file {} {why}", output.file.display()),
            RESTORE,
        );
        assert_eq!(fs::read(&output.file).ok(), before);
        let found = fs::read(&output.resume_file).expect("a resume file");
        assert_eq!(found, checkpoint);
    };
    for (content, why) in [
        (
            String::new(),
            "is shorter than when the checkpoint was saved",
        ),
        (
            first.to_owned(),
            "is shorter than when the checkpoint was saved",
        ),
        (
            whole.replace("insert", "delete"),
            "was edited after the checkpoint was saved",
        ),
        (
            format!("{whole}a word\n"),
            "was written to by another program: a line of it is not an event of cswatch: ",
        ),
        (
            format!("{whole}{{\"a\":1}}\n"),
            "was written to by another program: a line of it is not an event of cswatch: ",
        ),
        (
            format!("{whole}a word"),
            "was written to by another program: the bytes after its last whole line are not an event",
        ),
    ] {
        fs::write(&output.file, content).expect("an output file");
        expect_refused(why);
    }
    let elsewhere = scenario.path("elsewhere");
    fs::rename(&output.file, &elsewhere).expect("a rename");
    let last = whole.lines().last().expect("a line");
    let last: serde_json::Value = serde_json::from_str(last).expect("an event");
    let token = last["_id"]["_data"].as_str().expect("a token");
    output.watch(&scenario).run().expect_failure(
        5,
        &format!(
            "output file {} does not exist, although the checkpoint was saved with an output file, and no file next to it has its lines",
            output.file.display()
        ),
        &format!("move the file back, or start once with --start-after {token} to continue in a new file"),
    );

    // The content makes the file: another one with the same lines is continued.
    fs::write(&output.file, &whole).expect("an output file");
    insert(&scenario.coll("c"), 4..=4);
    output.catch_up(&scenario);
    assert_eq!(briefs(&output.lines()), inserts(1..=4));
}

#[test]
fn stops_when_another_program_truncates_or_writes_to_the_file() {
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
        change(&file.expect("an output file")).expect("a change");
        block_on(scenario.coll("c").delete_one(doc! { "_id": 1 })).expect("a delete");
        let run = running.wait().expect_code(5);
        let message = format!(
            "output file {} was truncated or written to by another program (to rotate it, rename it and send SIGHUP)",
            output.file.display()
        );
        run.expect_error(&message, RESTORE);
    }
}
