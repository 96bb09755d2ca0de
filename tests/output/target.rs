//! An output file with its resume file, and what tests do to the two.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::insert;
use testkit::running::Running;
use testkit::scenario::Scenario;

/// A file of events and its resume file.
pub(super) struct Target {
    pub(super) file: PathBuf,
    pub(super) resume_file: PathBuf,
}

impl Target {
    /// Names the two in `directory`; creates neither.
    pub(super) fn new(directory: &Path, name: &str) -> Target {
        Target {
            file: directory.join(format!("{name}.jsonl")),
            resume_file: directory.join(format!("{name}.json")),
        }
    }

    /// Returns a watch of collection `c` into the file.
    pub(super) fn watch(&self, scenario: &Scenario) -> Cswatch {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--output"), &self.file])
            .args([Path::new("--resume-file"), &self.resume_file])
    }

    /// Returns `cswatch check` of that watch.
    pub(super) fn check(&self, scenario: &Scenario) -> Cswatch {
        Cswatch::new()
            .args(["check", "--uri", &scenario.set().uri()])
            .args(["--db", scenario.db().name(), "--coll", "c"])
            .args([Path::new("--output"), &self.file])
            .args([Path::new("--resume-file"), &self.resume_file])
    }

    /// Watches up to now.
    #[track_caller]
    pub(super) fn catch_up(&self, scenario: &Scenario) {
        let watch = self.watch(scenario).args(["--until", "now"]);
        watch.run().expect_code(0);
    }

    /// Returns the whole lines of the file, and fails if one is torn.
    #[track_caller]
    pub(super) fn lines(&self) -> Vec<String> {
        lines(&self.file)
    }

    /// Opens a watch, inserts these, waits until their lines are in the file, and kills it. The resume file then holds the checkpoint of
    /// the opening, as after a kill before the next save.
    #[track_caller]
    pub(super) fn print_unsaved(&self, scenario: &Scenario, ids: RangeInclusive<i32>) {
        let before = fs::read(&self.file).map_or(0, |content| count_lines(&content));
        let mut running = self.watch(scenario).spawn();
        running.wait_open();
        let resume_file = fs::read(&self.resume_file).expect("a resume file");
        let count = ids.clone().count();
        insert(&scenario.coll("c"), ids);
        wait_for_lines(&self.file, before + count);
        running.kill();
        fs::write(&self.resume_file, resume_file).expect("a resume file");
    }

    /// Starts a watch, and inserts these after it opened and waits for their lines.
    #[track_caller]
    pub(super) fn print(&self, scenario: &Scenario, ids: RangeInclusive<i32>) -> Running {
        let before = fs::read(&self.file).map_or(0, |content| count_lines(&content));
        let mut running = self.watch(scenario).spawn();
        running.wait_open();
        let count = ids.clone().count();
        insert(&scenario.coll("c"), ids);
        wait_for_lines(&self.file, before + count);
        running
    }

    /// Runs the watch, and expects this failure and both files untouched.
    #[track_caller]
    pub(super) fn is_refused(&self, scenario: &Scenario, code: i32, why: &str) -> String {
        let content = || (fs::read(&self.file).ok(), fs::read(&self.resume_file).ok());
        let before = content();
        let run = self.watch(scenario).run().expect_code(code);
        assert!(run.stderr.contains(why), "{why}\n{}", run.stderr);
        assert!(content() == before, "a file was changed");
        run.stderr
    }
}

/// Returns the whole lines of a file, and fails if one is torn.
#[track_caller]
pub(super) fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a file of events");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    text.lines().map(str::to_owned).collect()
}

/// Waits until the file has this many whole lines.
#[track_caller]
pub(super) fn wait_for_lines(file: &Path, count: usize) {
    let enough = || {
        let content = fs::read(file).unwrap_or_default();
        (count_lines(&content) >= count).then_some(())
    };
    let found = poll(DEADLINE, enough);
    assert!(found.is_some(), "no {count} lines in {}", file.display());
}

fn count_lines(content: &[u8]) -> usize {
    content.iter().filter(|byte| **byte == b'\n').count()
}
