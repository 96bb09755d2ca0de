//! `cswatch health`, for the health check of a container: exit code 0 or 1, by the heartbeat file next to the resume file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::finished::Finished;
use testkit::scenario::Scenario;

/// Runs `cswatch health` for this resume file.
#[track_caller]
fn health(file: &Path, arguments: &[&str]) -> Finished {
    let file = file.to_str().expect("a path");
    Cswatch::new()
        .args(["health", "--resume-file", file])
        .args(arguments)
        .run()
}

/// Waits until the watch with this resume file is healthy.
#[track_caller]
fn expect_healthy(file: &Path) -> Finished {
    let healthy = poll(DEADLINE, || {
        let finished = health(file, &[]);
        (finished.code == Some(0)).then_some(finished)
    });
    healthy.unwrap_or_else(|| panic!("unhealthy: {}", health(file, &[]).stderr))
}

#[test]
fn reports_a_watch_as_healthy_while_it_runs() {
    let scenario = Scenario::new("health");
    let file = scenario.path("resume.json");
    let finished = health(&file, &[]).expect_code(1);
    finished.expect_error(
        &format!(
            "{}: no watch is running with this resume file",
            file.display()
        ),
        "start cswatch with --resume-file and the same path",
    );

    let mut cswatch = scenario
        .cswatch(["--resume-file", file.to_str().expect("a path")])
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    let finished = expect_healthy(&file);
    let text = finished.stdout.join("\n");
    let expected = format!(
        "healthy: pid {} received the server's last reply ",
        cswatch.pid()
    );
    assert!(text.starts_with(&expected), "{text}");

    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    health(&file, &[]).expect_code(1);
    let heartbeats: Vec<_> = fs::read_dir(file.parent().expect("a folder"))
        .expect("it can be read")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains("heartbeat"))
        .collect();
    assert_eq!(heartbeats, [""; 0]);
}

#[test]
fn reports_a_watch_that_is_stopped_or_was_killed_as_unhealthy() {
    let scenario = Scenario::new("health_silence");
    let file = scenario.path("resume.json");
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
    let unhealthy = found.expect("it becomes unhealthy");
    let message = format!(
        "{}: pid {} received the server's last reply ",
        file.display(),
        cswatch.pid()
    );
    let hint =
        "see its messages on stderr; it may also be stopped, or the reader of its output is stuck";
    unhealthy.expect_error(&message, hint);
    let stderr = unhealthy.stderr;
    assert!(
        stderr.contains(" ago, more than --max-silence 2s\n"),
        "{stderr}"
    );
    // With a longer limit it is healthy still.
    health(&file, &["--max-silence", "10m"]).expect_code(0);
    cswatch.kill();
    health(&file, &["--max-silence", "1s"]).expect_code(1);
}

#[test]
fn accepts_a_symbolic_link_and_the_environment_variable_for_the_resume_file() {
    let scenario = Scenario::new("health_link");
    let file = scenario.path("resume.json");
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
fn reports_a_watch_that_has_not_reached_a_server_yet_as_unhealthy() {
    let scenario = Scenario::new("health_unreached");
    let file = scenario.path("resume.json");
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
fn refuses_an_invalid_duration_and_a_missing_resume_file() {
    let scenario = Scenario::new("health_usage");
    let finished = health(&scenario.path("resume.json"), &["--max-silence", "soon"]);
    finished.expect_failure(
        2,
        "--max-silence: 'soon' is not a duration",
        "use a number and a unit, as in 500ms, 30s, 10m, 1h, 2d",
    );
    Cswatch::new().args(["health"]).run().expect_code(2);
}
