//! `cargo run --example demo`: its messages when it fails.

use std::process::Command;

use testkit::programs;

#[test]
fn reports_a_failure_on_one_line_after_the_step_that_failed() {
    programs::build(&["--example", "demo"]);
    let output = Command::new(programs::example("demo"))
        .env("CSWATCH_TEST_MONGOD", "/nonexistent/mongod")
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the demo runs");
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let lines: Vec<&str> = stderr.lines().collect();
    let [.., step, error] = lines[..] else {
        panic!("{stderr}");
    };
    assert!(step.starts_with("demo: looking for mongod"), "{stderr}");
    assert!(
        error.starts_with("demo: error: CSWATCH_TEST_MONGOD: /nonexistent/mongod: "),
        "{stderr}"
    );
}
