//! An oplog that no longer reaches back to the saved position, and one that would not, had the position not moved on.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mongodb::bson::{Timestamp, doc};
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, insert, saved_time, wait_saved_from};
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

fn set_with_tiny_oplog() -> ReplicaSet {
    ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    })
}

/// A watch of collection `c` with its position in `position.json`.
fn watch(scenario: &Scenario, arguments: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([scenario.path("position.json")])
        .args(arguments)
}

/// As messages show it.
fn shown(time: Timestamp) -> String {
    let second = jiff::Timestamp::from_second(time.time.into());
    second.expect("a time").to_string()
}

#[test]
fn f21_history_lost_at_start() {
    let set = set_with_tiny_oplog();
    let scenario = Scenario::on(&set, "f21");
    let coll = scenario.coll("c");
    let file = scenario.path("position.json");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    insert(&coll, 1..=1);
    set.roll_oplog(set.operation_time());
    let before = fs::read(&file).expect("a position");
    let from = shown(saved_time(&file));

    // As often as it is tried.
    for _ in 0..2 {
        let lost = watch(&scenario, &[]).run().expect_code(3);
        assert_eq!(lost.stdout, [""; 0]);
        let last = lost.stderr.lines().last().expect("a line on stderr");
        let what = format!(
            "cswatch: error: history lost: the position is from {from}, the oldest the server still has is "
        );
        assert!(last.contains(&what), "{last}");
        let way_out = "; accept the gap with --on-history-lost earliest or --on-history-lost now; against the next time raise the oplog's size or storage.oplogMinRetentionHours";
        assert!(last.ends_with(way_out), "{last}");
        assert_eq!(fs::read(&file).expect("a position"), before);
    }

    // `earliest` is exact to the second: this one is in a later second than all that may still be forgotten.
    let rolled = set.operation_time().time;
    let later = || {
        (SystemTime::now() >= UNIX_EPOCH + Duration::from_secs(u64::from(rolled) + 1)).then_some(())
    };
    poll(DEADLINE, later).expect("time passes");
    insert(&coll, 2..=2);
    let said = format!("history lost: events from {from} to ");
    for (policy, printed) in [
        ("earliest", vec!["insert 2".to_owned()]),
        ("now", Vec::new()),
    ] {
        fs::write(&file, &before).expect("a position");
        let mut running = watch(&scenario, &["--on-history-lost", policy]).spawn();
        let gap = running.expect_stderr(&said);
        assert!(gap.ends_with(" are missing"), "{gap}");
        running.wait_open();
        insert(&coll, [if policy == "now" { 4 } else { 3 }]);
        let last = if policy == "now" {
            "insert 4"
        } else {
            "insert 3"
        };
        let lines = running.lines_until(|line| brief(line) == last);
        let expected: Vec<_> = printed.into_iter().chain([last.to_owned()]).collect();
        assert_eq!(briefs(&lines), expected);
        running.signal(Signal::TERM);
        running.wait().expect_code(0);
        // The position has gone on behind the gap.
        let next = watch(&scenario, &["--until", "now"]).run().expect_code(0);
        assert_eq!(next.stdout, [""; 0]);
    }
}

#[test]
fn f22_filter_that_matches_nothing_never_ages_out_of_the_oplog() {
    let set = set_with_tiny_oplog();
    let scenario = Scenario::on(&set, "f22");
    let file = scenario.path("position.json");
    let filter = ["--op", "delete"];
    let mut running = watch(&scenario, &filter).spawn();
    running.wait_open();
    let opened = saved_time(&file);
    // Three times the oplog, of other writes.
    for _ in 0..3 {
        set.roll_oplog(set.operation_time());
    }
    assert!(set.oplog_start() > opened);
    wait_saved_from(&file, set.operation_time());
    running.kill();
    let coll = scenario.coll("c");
    insert(&coll, 1..=1);
    block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
    let next = watch(&scenario, &filter).args(["--until", "now"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), ["delete 1"]);
}
