//! Signals that are ignored from the start: by `nohup`, and by a shell for its background jobs.

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::scenario::Scenario;

use super::{
    GRACE, SLACK, mask, signal_mask, terminate_within, wait_handles_sigterm, wait_printing,
};

fn watch(scenario: &Scenario<'_>, through: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "100ms"])
        .through(through)
}

#[test]
fn continues_after_sighup_when_started_by_nohup() {
    let scenario = Scenario::new("signal_nohup");
    let mut running = watch(&scenario, &["nohup"]).spawn();
    running.wait_open();
    running.signal(Signal::HUP);
    wait_printing(&mut running, &scenario.coll("c"));
    terminate_within(running, GRACE + SLACK).expect_code(0);
}

#[test]
fn continues_after_sigint_as_a_background_job_of_a_shell() {
    let scenario = Scenario::new("signal_background");
    let ignore = "trap '' INT; exec \"$@\"";
    let mut running = watch(&scenario, &["sh", "-c", ignore, "sh"]).spawn();
    running.wait_open();
    assert_ne!(signal_mask(&running, "SigIgn") & mask(Signal::INT), 0);
    running.signal(Signal::INT);
    wait_printing(&mut running, &scenario.coll("c"));
    // A SIGHUP was not ignored.
    running.signal(Signal::HUP);
    running.wait().expect_code(0);
}

#[test]
fn reopens_its_output_on_sighup_also_when_started_by_nohup() {
    let scenario = Scenario::new("signal_nohup_output");
    let mut running = watch(&scenario, &["nohup"])
        .args(["--output".into(), scenario.path("events.jsonl")])
        .spawn();
    wait_handles_sigterm(&running);
    running.wait_open();
    running.signal(Signal::HUP);
    running.expect_stderr("reopened ");
    terminate_within(running, GRACE + SLACK).expect_code(0);
}
