//! `cswatch health`, for the health check of a container: exit code 0 or 1 by the sign of life beside the position file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::finished::Finished;
use testkit::scenario::Scenario;

#[track_caller]
fn health(file: &Path, arguments: &[&str]) -> Finished {
    let file = file.to_str().expect("a path");
    Cswatch::new()
        .args(["health", "--resume-file", file])
        .args(arguments)
        .run()
}

#[track_caller]
fn expect_healthy(file: &Path) -> Finished {
    let healthy = poll(DEADLINE, || {
        let finished = health(file, &[]);
        (finished.code == Some(0)).then_some(finished)
    });
    healthy.unwrap_or_else(|| panic!("not well: {}", health(file, &[]).stderr))
}

#[test]
fn a_watch_that_hears_the_server_is_well_until_it_ends() {
    let scenario = Scenario::new("health");
    let file = scenario.path("position.json");
    let finished = health(&file, &[]).expect_code(1);
    assert!(
        finished.stderr.contains("nobody watches"),
        "{}",
        finished.stderr
    );

    let mut cswatch = scenario
        .cswatch(["--resume-file", file.to_str().expect("a path")])
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    let finished = expect_healthy(&file);
    let said = finished.stdout.join("\n");
    let expected = format!("well: pid {} heard the server ", cswatch.pid());
    assert!(said.starts_with(&expected), "{said}");

    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    health(&file, &[]).expect_code(1);
    let left: Vec<_> = fs::read_dir(file.parent().expect("a folder"))
        .expect("it can be read")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains("heartbeat"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_watch_that_was_killed_or_stands_still_is_found_out_by_its_silence() {
    let scenario = Scenario::new("health_silence");
    let file = scenario.path("position.json");
    let mut cswatch = scenario
        .cswatch(["--resume-file", file.to_str().expect("a path")])
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    expect_healthy(&file);
    cswatch.signal(Signal::STOP);
    let found = poll(DEADLINE, || {
        let finished = health(&file, &["--max-silence", "2s"]);
        (finished.code == Some(1)).then_some(finished)
    });
    let stderr = found.expect("it is found out").stderr;
    assert!(stderr.contains("longer than --max-silence 2s"), "{stderr}");
    // Who is more patient still thinks it well.
    health(&file, &["--max-silence", "10m"]).expect_code(0);
    cswatch.kill();
    health(&file, &["--max-silence", "1s"]).expect_code(1);
}

#[test]
fn the_position_file_may_be_named_by_a_link_and_by_the_environment() {
    let scenario = Scenario::new("health_link");
    let file = scenario.path("position.json");
    let link = scenario.path("link.json");
    symlink(&file, &link).expect("a link");
    let mut cswatch = scenario
        .cswatch(["--resume-file", link.to_str().expect("a path")])
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    expect_healthy(&file);
    expect_healthy(&link);
    Cswatch::new()
        .args(["health"])
        .env("CSWATCH_RESUME_FILE", &link)
        .run()
        .expect_code(0);
}

#[test]
fn without_a_server_a_watch_is_not_well_yet() {
    let scenario = Scenario::new("health_unreached");
    let file = scenario.path("position.json");
    let mut cswatch = Cswatch::new()
        .args([
            "--uri",
            "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
            "--wait",
        ])
        .args(["--resume-file", file.to_str().expect("a path")])
        .spawn();
    cswatch.expect_stderr("no connection yet");
    let found = poll(DEADLINE, || {
        let stderr = health(&file, &[]).expect_code(1).stderr;
        stderr
            .contains("has not reached a server yet")
            .then_some(())
    });
    assert!(found.is_some());
}

#[test]
fn what_is_no_duration_is_a_usage_error() {
    let scenario = Scenario::new("health_usage");
    let finished = health(&scenario.path("position.json"), &["--max-silence", "soon"]);
    let stderr = finished.expect_code(2).stderr;
    assert!(stderr.contains("--max-silence"), "{stderr}");
    Cswatch::new().args(["health"]).run().expect_code(2);
}
