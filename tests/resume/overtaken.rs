//! Error 136, with which a server reports that the oplog overtook a cursor, while the history after the checkpoint is still there.

use std::thread::sleep;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use testkit::events::{brief, briefs, insert, inserts};
use testkit::live_cursor::aggregates;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// How long every request for events fails.
const FAULT: Duration = Duration::from_secs(3);

fn fail_get_more() -> Document {
    doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": { "failCommands": ["getMore"], "errorCode": 136, "appName": "cswatch" },
    }
}

#[test]
fn resumes_at_the_checkpoint_when_the_history_is_still_there() {
    let set = ReplicaSet::start(Options::default());
    for policy in ["fail", "earliest", "now"] {
        let scenario = Scenario::on(&set, "overtaken_fault");
        let mut cswatch = scenario.watch(&["--on-history-lost", policy]).spawn();
        cswatch.wait_open();
        insert(&scenario.coll("c"), 0..3);
        cswatch.expect_inserts(0..3);
        let before = aggregates(&set);
        let fail_point = set.fail_point(fail_get_more());
        // The duration of the fault is what is tested.
        sleep(FAULT);
        insert(&scenario.coll("c"), 3..6);
        let count = aggregates(&set) - before;
        drop(fail_point);
        cswatch.expect_inserts(3..6);
        // Each attempt opens a stream and asks whether the history is there.
        assert!(count < 60, "{count} aggregates in {FAULT:?}");
        cswatch.signal(Signal::TERM);
        let finished = cswatch.wait().expect_code(0);
        assert_eq!(briefs(&finished.stdout), inserts(0..6));
        assert!(
            !finished.stderr.contains("history lost"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn ends_with_3_when_the_oplog_keeps_overtaking_it_unless_it_may_start_now() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "overtaken_again");
    // The history after the checkpoint is there, so that no event is lost at the oldest one.
    for policy in ["fail", "earliest"] {
        let arguments = ["--retry-for", "2s", "--on-history-lost", policy];
        let mut cswatch = scenario.watch(&arguments).spawn();
        cswatch.wait_open();
        let fail_point = set.fail_point(fail_get_more());
        let finished = cswatch.wait().expect_code(3);
        drop(fail_point);
        finished.expect_error(
            "the oplog is overwritten faster than it is read: ",
            "raise the oplog's size or storage.oplogMinRetentionHours",
        );
        assert!(
            finished.error().0.ends_with(" for 2s"),
            "{}",
            finished.stderr
        );
    }

    let fail_point = set.fail_point(fail_get_more());
    let accepts = ["--retry-for", "2s", "--on-history-lost", "now"];
    let mut cswatch = scenario.watch(&accepts).spawn();
    cswatch.expect_stderr("warning: history lost: events from ");
    drop(fail_point);
    insert(&scenario.coll("c"), 0..1);
    cswatch.lines_until(|line| brief(line) == "insert 0");
    cswatch.kill();
}
