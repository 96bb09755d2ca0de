//! Cursors of a watch that reads from a secondary: each one that it no longer needs is closed on that member while the watch runs.

use rustix::process::Signal;

use super::cursors::open_cursors;
use super::*;

/// Returns the number of cursors on the scenario's database that the secondaries have open.
#[track_caller]
fn on_secondaries(scenario: &Scenario) -> usize {
    let secondaries = scenario.set().secondaries();
    let counts = secondaries
        .iter()
        .map(|member| open_cursors(scenario, member));
    counts.sum()
}

#[test]
fn closes_the_cursor_of_each_slice_on_the_secondary_that_it_reads_from() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "slices_of_secondary");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..6000);
    backlog.settle();
    let uri = format!("{}&readPreference=secondary", set.uri());
    let mut running = Cswatch::new()
        .args([
            "--uri",
            &uri,
            "--db",
            scenario.db().name(),
            "--coll",
            "c",
            "-v",
        ])
        .args(["--no-resume", "--start", &as_start(backlog.start)])
        .args(["--catch-up-streams", "2"])
        .spawn();
    running.lines_until(|line| brief(line) == "insert 5999");
    let closed = poll(DEADLINE, || (on_secondaries(&scenario) == 1).then_some(()));
    let open = on_secondaries(&scenario);
    let finished = running.signal_until_end(Signal::TERM);
    assert!(closed.is_some(), "{open} cursors\n{}", finished.stderr);
    let slices = finished.stderr.matches(SLICE_START).count();
    assert!(slices > 2, "{slices} slices\n{}", finished.stderr);
}
