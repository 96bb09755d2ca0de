//! `kill -9` between the renaming of a rotation and its SIGHUP: the next start finishes the renamed file and continues in a new one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use testkit::events::{briefs, insert, inserts};
use testkit::scenario::Scenario;

use super::target::{Target, lines, wait_for_lines};

/// A watch that has saved line 1, and printed 2 and 3 after that, into a file that was then renamed.
struct Rotated<'a> {
    scenario: &'a Scenario<'static>,
    target: Target,
    renamed: std::path::PathBuf,
}

impl<'a> Rotated<'a> {
    #[track_caller]
    fn new(scenario: &'a Scenario<'static>, name: &str) -> Rotated<'a> {
        let target = Target::new(&scenario.path(""), name);
        target.catch_up(scenario);
        insert(&scenario.coll("c"), 1..=1);
        target.catch_up(scenario);
        target.print_unsaved(scenario, 2..=3);
        let renamed = scenario.path(&format!("{name}.jsonl-20261125"));
        fs::rename(&target.file, &renamed).expect("a rename");
        Rotated {
            scenario,
            target,
            renamed,
        }
    }

    /// Watches up to event 4, and expects each event once in the two files.
    #[track_caller]
    fn continues(&self) {
        insert(&self.scenario.coll("c"), 4..=4);
        let watch = self.target.watch(self.scenario).args(["--until", "now"]);
        let run = watch.run().expect_code(0);
        assert!(run.stderr.contains("was renamed to"), "{}", run.stderr);
        assert_eq!(briefs(&lines(&self.renamed)), inserts(1..=3));
        assert_eq!(briefs(&self.target.lines()), inserts(4..=4));
    }
}

#[test]
fn continues_in_a_new_file() {
    let scenario = Scenario::new("rotation_killed");
    Rotated::new(&scenario, "events").continues();
}

#[test]
fn continues_in_the_empty_file_that_logrotate_created() {
    let scenario = Scenario::new("rotation_created");
    let rotated = Rotated::new(&scenario, "events");
    fs::write(&rotated.target.file, "").expect("a file");
    rotated.continues();
}

#[test]
fn cuts_the_torn_line_of_the_renamed_file() {
    let scenario = Scenario::new("rotation_torn");
    let rotated = Rotated::new(&scenario, "events");
    let file = OpenOptions::new().append(true).open(&rotated.renamed);
    let mut file = file.expect("the renamed file");
    file.write_all(b"{\"_id\":{\"_da").expect("a torn line");
    rotated.continues();
}

#[test]
fn recognizes_the_renamed_file_among_others() {
    let scenario = Scenario::new("rotation_others");
    let rotated = Rotated::new(&scenario, "events");
    let others: Vec<_> = [
        // A file of the rotation before, an archive, and notes.
        (
            "events.jsonl-20261124",
            fs::read(&rotated.renamed).expect("lines").split_off(1),
        ),
        ("events.jsonl-20261123.gz", vec![0; 100_000]),
        ("events.jsonl.notes", b"a word\n".to_vec()),
        ("events.jsonl-0", Vec::new()),
    ]
    .into_iter()
    .map(|(name, content)| {
        let path = scenario.path(name);
        fs::write(&path, &content).expect("a file");
        (path, content)
    })
    .collect();
    rotated.continues();
    for (path, content) in others {
        assert_eq!(fs::read(&path).expect("a file"), content);
    }
}

#[test]
fn is_reported_by_check_which_changes_nothing() {
    let scenario = Scenario::new("rotation_check");
    let rotated = Rotated::new(&scenario, "events");
    let before = fs::read(&rotated.renamed).expect("lines");
    let check = rotated.target.check(&scenario).run().expect_code(0);
    let report = check.stdout.concat();
    let renamed = format!("was renamed to {}", rotated.renamed.display());
    assert!(report.contains(&renamed), "{report}");
    assert!(!rotated.target.file.exists());
    assert_eq!(fs::read(&rotated.renamed).expect("lines"), before);
    rotated.continues();
}

#[test]
fn continues_after_a_kill_of_the_start_that_finishes_it() {
    let scenario = Scenario::new("rotation_twice");
    let rotated = Rotated::new(&scenario, "events");
    let resume_file = fs::read(&rotated.target.resume_file).expect("a resume file");
    let mut running = rotated.target.watch(&scenario).spawn();
    running.wait_open();
    running.kill();
    // As before its first save.
    fs::write(&rotated.target.resume_file, resume_file).expect("a resume file");
    rotated.continues();
}

#[test]
fn names_the_command_when_the_renamed_file_is_gone() {
    let scenario = Scenario::new("rotation_gone");
    let rotated = Rotated::new(&scenario, "events");
    let target = &rotated.target;
    let away = scenario.path("away");
    fs::rename(&rotated.renamed, &away).expect("a rename");
    let stderr = target.is_refused(&scenario, 5, "does not exist");
    let (_, rest) = stderr.split_once("--start-after ").expect(&stderr);
    let token = rest.split_once(' ').expect(&stderr).0;
    // Moved back, it is found again.
    fs::rename(&away, &rotated.renamed).expect("a rename");
    rotated.target.check(&scenario).run().expect_code(0);
    // Without it, the events after the checkpoint are printed again.
    fs::remove_file(&rotated.renamed).expect("the renamed file");
    let watch = target.watch(&scenario).args(["--start-after", token]);
    watch.args(["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&target.lines()), inserts(2..=3));
}

#[test]
fn leaves_a_file_alone_that_another_watch_writes_to() {
    let scenario = Scenario::new("rotation_in_use");
    let rotated = Rotated::new(&scenario, "events");
    // A watch with a checkpoint of its own continues in the renamed file.
    let other = Target {
        file: rotated.renamed.clone(),
        resume_file: scenario.path("other.json"),
    };
    let mut running = other.watch(&scenario).spawn();
    running.wait_open();
    rotated
        .target
        .is_refused(&scenario, 5, "no file next to it has its lines");
    insert(&scenario.coll("c"), 5..=5);
    wait_for_lines(&other.file, 4);
}
