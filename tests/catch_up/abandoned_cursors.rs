//! Cursors of a watch that reads from a secondary: each one that it no longer needs is closed on that member while the watch runs.

use rustix::process::Signal;

use testkit::fail_point::LATE_REPLY;

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

/// Turns a fail point of all secondaries on, with this data, or off.
#[track_caller]
fn set_on_secondaries(set: &ReplicaSet, name: &str, mode: &str, data: Document) {
    let command = doc! { "configureFailPoint": name, "mode": mode, "data": data };
    for member in set.secondaries() {
        set.admin_on(member, command.clone());
    }
}

/// Breaks the connection to a secondary while the server holds back the reply to the first `aggregate` of a watch with this number of
/// streams. Its cursor is open then, and the driver has no part of it.
#[track_caller]
fn expect_first_cursor_closed(set: &ReplicaSet, streams: &str) {
    let scenario = Scenario::on(set, &format!("opening_by_{streams}"));
    let coll = scenario.coll("c");
    fill(&coll, 0..1);
    let uri = format!("{}&readPreference=secondary&appName=opening", set.uri());
    let watch = |uri: String| {
        Cswatch::new()
            .args(["--db", scenario.db().name(), "--coll", "c", "--uri", &uri])
            .args(["--catch-up-streams", streams, "--resume-file"])
            .args([scenario.path("resume.json")])
    };
    watch(set.uri())
        .args(["--until", "now"])
        .run()
        .expect_code(0);
    let late = doc! { "ns": coll.namespace().to_string(), "commands": ["aggregate"] };
    set_on_secondaries(set, LATE_REPLY, "alwaysOn", late);
    let mut running = watch(uri).args(["--wait"]).spawn();
    let is_open = poll(DEADLINE, || (on_secondaries(&scenario) > 0).then_some(()));
    assert!(is_open.is_some(), "no cursor");
    let broken = doc! { "failCommands": ["hello"], "closeConnection": true, "appName": "opening" };
    set_on_secondaries(set, "failCommand", "alwaysOn", broken);
    running.expect_stderr("connection lost, retrying");
    set_on_secondaries(set, "failCommand", "off", doc! {});
    set_on_secondaries(set, LATE_REPLY, "off", doc! {});
    running.wait_open();
    let closed = poll(DEADLINE, || (on_secondaries(&scenario) == 1).then_some(()));
    let open = on_secondaries(&scenario);
    let finished = running.signal_until_end(Signal::TERM);
    assert!(closed.is_some(), "{open} cursors\n{}", finished.stderr);
}

#[test]
fn closes_the_cursor_of_a_request_that_it_gave_up() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    // A watch with a checkpoint opens a single stream at once; before two, it asks the server how far the checkpoint is behind.
    for streams in ["1", "2"] {
        expect_first_cursor_closed(&set, streams);
    }
}
