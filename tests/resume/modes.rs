//! Files and directories that cswatch creates are accessible to their owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, insert};
use testkit::scenario::Scenario;

use super::neighbor;

#[track_caller]
fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

#[test]
fn keeps_all_its_files_private_whatever_the_umask() {
    let scenario = Scenario::new("modes");
    let output = scenario.path("lines");
    let mut running = scenario
        .cswatch([
            "--coll",
            "c",
            "--max-await",
            "50ms",
            "--save-interval",
            "0",
            "--output",
        ])
        .args([&output])
        .through(["sh", "-c", r#"umask 0 && exec "$@""#, "sh"])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    let line = poll(DEADLINE, || {
        fs::read_to_string(&output)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    assert_eq!(brief(&line.expect("a line")), "insert 1");
    let directory = scenario.state_home().join("cswatch");
    let file = fs::read_dir(&directory)
        .expect("the state directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .expect("a resume file");
    let heartbeat = neighbor(&file, "heartbeat");
    assert!(poll(DEADLINE, || heartbeat.exists().then_some(())).is_some());
    for path in [&file, &neighbor(&file, "lock"), &heartbeat, &output] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&directory), 0o700);
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
}

#[test]
fn leaves_the_mode_of_a_directory_that_exists_alone() {
    let scenario = Scenario::new("existing_directory");
    let directory = scenario.state_home().join("cswatch");
    fs::create_dir_all(&directory).expect("a directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).expect("a mode");
    scenario
        .cswatch(["--coll", "c", "--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0);
    assert_eq!(mode(&directory), 0o750);
}
