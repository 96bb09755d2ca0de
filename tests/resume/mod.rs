//! Starting and resuming a watch.

/// Reads of local files, which end at a limit.
mod bounded_reads;
/// Checkpoints saved with another filter.
mod changed_filter;
/// The default resume file.
mod default_resume_file;
/// Checkpoints of another deployment.
mod deployment;
/// File systems that lack something.
mod file_systems;
/// The checkpoint that is saved at each start, and the one after the first lines.
mod first_save;
/// What `cswatch health` believes.
mod health;
/// History that the server no longer has.
mod history;
/// Resume files that are refused.
mod invalid_resume_file;
/// Resume tokens that the server does not accept.
mod invalid_token;
/// Drops and renames, which invalidate a stream.
mod invalidate;
/// `kill -9` at any moment.
mod kills;
/// Members that lag.
mod lagging_member;
/// Members that lack history that others have.
mod member_without_history;
/// Who may read the files.
mod modes;
/// Lock, heartbeat and temporary files.
mod neighbors;
/// The oplog overtakes the cursor, though the history is still there.
mod overtaken;
/// The resume file, and resuming from it.
mod resume_file;
/// `--start` and `--start-after`.
mod start;
/// `--start` shortly before the server gets there.
mod start_ahead_of_the_server;
/// Resume tokens recorded from real servers.
mod token;

use std::path::{Path, PathBuf};

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::scenario::Scenario;

/// A watch of collection `c` with its checkpoint in `file`.
fn watch(scenario: &Scenario, file: &Path) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "50ms"])
        .args([Path::new("--resume-file"), file])
}

/// A watch that ends when there is nothing more.
fn watch_until_now(scenario: &Scenario, file: &Path) -> Finished {
    watch(scenario, file)
        .args(["--until", "now"])
        .run()
        .expect_code(0)
}

/// A watch with its checkpoint in `file` of a server that does not exist: exit code 7 unless it ends before it connects.
fn watch_nowhere(file: &Path) -> Cswatch {
    Cswatch::new()
        .args(["--uri", "mongodb://127.0.0.1:1/?directConnection=true"])
        .args(["--db", "db", "--coll", "c", "--retry-for", "0"])
        .args([Path::new("--resume-file"), file])
}

/// The file that cswatch keeps next to `file` for `role`.
fn neighbor(file: &Path, role: &str) -> PathBuf {
    let name = file.file_name().expect("a name").to_string_lossy();
    file.with_file_name(format!(".{name}.cswatch-{role}"))
}

/// Fails unless it ended with this exit code, printed no event, and reported this error and this hint.
#[track_caller]
fn expect_error(run: Finished, code: i32, error: &str, hint: &str) {
    let run = run.expect_code(code);
    let reported = run
        .stderr
        .lines()
        .any(|line| line.contains("error: ") && line.contains(error))
        && run
            .stderr
            .lines()
            .any(|line| line.contains("hint: ") && line.contains(hint));
    assert!(reported, "error: {error}\nhint: {hint}\n{}", run.stderr);
    assert_eq!(run.stdout, [""; 0]);
}
