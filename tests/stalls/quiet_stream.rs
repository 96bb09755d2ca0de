//! A quiet stream with a `--max-await` above a minute: the server replies to the opening, and then not for long.

use std::fs;
use std::time::Duration;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::scenario::Scenario;

/// A limit that the silence has passed as soon as it is seen.
const SHORT: &str = "1ms";

#[test]
fn is_healthy_on_a_quiet_stream_whose_replies_take_minutes() {
    let scenario = Scenario::new("health_long_await");
    let file = scenario.path("resume.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--max-await", "10m"])
        .args(["--resume-file".into(), file.clone()])
        .spawn();
    running.wait_open();
    let health = |arguments: &[&str]| {
        Cswatch::new()
            .args(["health", "--resume-file"])
            .args([&file])
            .args(arguments)
            .run()
    };
    let healthy = poll(DEADLINE, || (health(&[]).code == Some(0)).then_some(()));
    assert!(healthy.is_some(), "{}", health(&[]).stderr);
    // The limit follows from --max-await unless it is given.
    let entries = fs::read_dir(file.parent().expect("a folder")).expect("it can be read");
    let heartbeat = entries
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().ends_with("heartbeat"))
        .expect("a heartbeat file");
    let heartbeat = fs::read_to_string(heartbeat).expect("a heartbeat");
    let heartbeat: serde_json::Value = serde_json::from_str(&heartbeat).expect("JSON");
    let limit = Duration::from_secs(30 * 60);
    assert_eq!(heartbeat["max_reply_age"], limit.as_millis() as u64);
    let stderr = health(&["--max-silence", SHORT]).expect_code(1).stderr;
    assert!(stderr.contains("more than --max-silence"), "{stderr}");
}
