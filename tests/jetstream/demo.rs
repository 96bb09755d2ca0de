//! `cargo run --example demo -- --nats`.

use std::process::Command;

use testkit::events::brief;
use testkit::programs;

#[test]
fn shows_the_same_events_read_back_in_two_partitions() {
    programs::build(&["--example", "demo"]);
    let output = Command::new(programs::example("demo"))
        .arg("--nats")
        .output()
        .expect("the demo runs");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let events: Vec<String> = stdout.lines().map(brief).collect();
    // What concerns no document is in partition 0.
    let expected = [
        "snapshot \"a\"",
        "insert 1",
        "update 1",
        "replace 1",
        "delete 1",
        "drop",
        "invalidate",
        "snapshot \"b\"",
        "insert 2",
        "update 2",
        "replace 2",
        "delete 2",
    ];
    assert_eq!(events, expected);
    for (partition, messages) in [(0, 7), (1, 5)] {
        let line = format!("the consumer of cswatch.*.*.*.{partition} reads {messages} messages\n");
        assert!(stderr.contains(&line), "{stderr}");
    }
}
