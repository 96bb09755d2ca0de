//! `cswatch health` believes a heartbeat only while a watch holds the lock, and only if it is not from the future.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::finished::Finished;
use testkit::running::Running;
use testkit::scenario::Scenario;

use super::{neighbor, watch};

fn health(file: &Path) -> Finished {
    Cswatch::new()
        .args(["health", "--resume-file"])
        .args([file])
        .run()
}

/// A watch that is healthy.
#[track_caller]
fn healthy(scenario: &Scenario, file: &Path) -> Running {
    let mut running = watch(scenario, file).spawn();
    running.wait_open();
    let found = poll(DEADLINE, || (health(file).code == Some(0)).then_some(()));
    assert!(found.is_some(), "{}", health(file).stderr);
    running
}

fn heartbeat(file: &Path) -> Value {
    let text = fs::read(neighbor(file, "heartbeat")).expect("a heartbeat");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn reports_a_killed_watch_as_unhealthy_at_once() {
    let scenario = Scenario::new("killed");
    let file = scenario.path("resume.json");
    healthy(&scenario, &file).kill();
    // What it left is only seconds old.
    assert!(heartbeat(&file)["last_reply"].is_u64());
    let stderr = health(&file).expect_code(1).stderr;
    assert!(
        stderr.contains("no watch is running with this resume file"),
        "{stderr}"
    );
    let check = Cswatch::new()
        .args([
            "check",
            "--uri",
            &scenario.set().uri(),
            "--db",
            scenario.db().name(),
            "--coll",
            "c",
        ])
        .args([Path::new("--resume-file"), &file])
        .run()
        .expect_code(0);
    let printed = check.stdout.join("\n");
    assert!(!printed.contains("in use by pid"), "{printed}");

    // The next watch does not inherit it, though it reaches no server.
    let next = Cswatch::new()
        .args([
            "--uri",
            "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
        ])
        .args(["--wait", "--db", scenario.db().name(), "--coll", "c"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    let removed = poll(DEADLINE, || {
        let stderr = health(&file).expect_code(1).stderr;
        stderr
            .contains("has not reached a server yet")
            .then_some(stderr)
    });
    let stderr = removed.expect("a heartbeat of the new watch");
    assert!(stderr.contains(&format!("pid {}", next.pid())), "{stderr}");
    next.signal(Signal::TERM);
    next.wait();
}

#[test]
fn does_not_believe_a_heartbeat_from_the_future() {
    let scenario = Scenario::new("future");
    let file = scenario.path("resume.json");
    let running = healthy(&scenario, &file);
    // It holds its lock, and writes no other heartbeat.
    running.signal(Signal::STOP);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    let ahead = u64::try_from((now + Duration::from_secs(3600)).as_millis()).expect("a time");
    for field in ["written", "last_reply"] {
        let mut forged = heartbeat(&file);
        let kept = forged.clone();
        forged[field] = json!(ahead);
        fs::write(neighbor(&file, "heartbeat"), forged.to_string()).expect("a heartbeat");
        let stderr = health(&file).expect_code(1).stderr;
        assert!(stderr.contains("in the future"), "{field}: {stderr}");
        fs::write(neighbor(&file, "heartbeat"), kept.to_string()).expect("a heartbeat");
        health(&file).expect_code(0);
    }
    running.kill();
}

#[test]
fn does_not_keep_a_watch_from_starting() {
    let scenario = Scenario::new("checked_at_start");
    let file = scenario.path("resume.json");
    for _ in 0..10 {
        let checks: Vec<_> = (0..4)
            .map(|_| {
                Cswatch::new()
                    .args(["health", "--resume-file"])
                    .args([&file])
                    .spawn()
            })
            .collect();
        super::watch_until_now(&scenario, &file);
        for check in checks {
            check.wait().expect_code(1);
        }
    }
}
