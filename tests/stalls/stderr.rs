//! A stderr that is not read: a full pipe, and a terminal that Ctrl-S stopped.

use std::fs::File;

use mongodb::bson::doc;
use rustix::process::Signal;
use rustix::termios::{Action, tcflow};

use testkit::cswatch::{Cswatch, Stdout};
use testkit::running::PIPE_FULL;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

use super::{GRACE, SLACK, full_pipe, terminate_within, wait_printing};

fn watch(scenario: &Scenario<'_>, stderr: File) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        .env("TERM", "xterm")
        .stderr(stderr)
}

#[test]
fn prints_events_and_ends_on_sigterm_while_stderr_is_a_full_pipe() {
    let scenario = Scenario::new("stderr_full_pipe");
    let (_reader, stderr) = full_pipe();
    let mut running = watch(&scenario, stderr).args(["-vv"]).spawn();
    wait_printing(&mut running, &scenario.coll("c"));
    running.signal(Signal::USR1);
    wait_printing(&mut running, &scenario.coll("c"));
    terminate_within(running, GRACE + SLACK).expect_code(0);
}

#[test]
fn prints_events_and_ends_on_sigterm_while_the_terminal_of_its_status_line_is_stopped() {
    let scenario = Scenario::new("stderr_stopped_terminal");
    let (_terminal, stderr) = Terminal::open(80);
    // As Ctrl-S does.
    tcflow(&stderr, Action::OOff).expect("a terminal can be stopped");
    let mut running = watch(&scenario, stderr).spawn();
    wait_printing(&mut running, &scenario.coll("c"));
    terminate_within(running, GRACE + SLACK).expect_code(0);
}

#[test]
fn ends_at_once_on_a_second_sigterm_while_stdout_and_stderr_are_stalled() {
    let scenario = Scenario::new("stderr_second_signal");
    // The second run has events to print from its start.
    scenario
        .cswatch(["--coll", "c", "--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0);
    let text = "x".repeat(100_000);
    for _ in 0..2 {
        block_on(scenario.coll("c").insert_one(doc! { "text": &text })).expect("an insert");
    }
    let (_reader, stderr) = full_pipe();
    let running = watch(&scenario, stderr).stdout(Stdout::Stalled).spawn();
    running.wait_unread(PIPE_FULL);
    running.signal_until_end(Signal::TERM).expect_code(143);
}

#[test]
fn ends_with_the_exit_code_of_its_error_while_stderr_is_a_full_pipe() {
    let (_reader, stderr) = full_pipe();
    Cswatch::new()
        .args([
            "--uri",
            "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
        ])
        .stderr(stderr)
        .run()
        .expect_code(7);
}
