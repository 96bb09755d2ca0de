//! An oplog that is overwritten several times while the snapshot is read: nothing is lost, because the stream is read all the time.

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::brief;
use testkit::load::Load;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::Copy;
use super::fill;

#[test]
fn loses_nothing_when_the_oplog_is_overwritten_three_times_during_the_scan() {
    const ROLLS: usize = 3;
    const DOCUMENTS: i32 = 40_000;
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "snapshot_oplog");
    let coll = scenario.coll("c");
    fill(&coll, 0..DOCUMENTS);
    // With 20 documents per request, the scan takes at least 40 s.
    let slow = set.fail_point(doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": { "failCommands": ["find"], "appName": "cswatch", "blockConnection": true, "blockTimeMS": 20 },
    });
    let mut running = scenario
        .cswatch(["--no-resume", "--batch-size", "20", "--snapshot"])
        .spawn();
    running.next_line();
    // A quarter of a megabyte per second: the oplog holds four seconds.
    let load = Load::start(&scenario.coll("load"), 50, 5000);
    for roll in 0..ROLLS {
        let time = set.operation_time();
        let rolled = poll(DEADLINE, || {
            let update = doc! { "$inc": { "n": 1 } };
            let id = i32::try_from(running.printed()).expect("few lines") * 7919 % DOCUMENTS;
            block_on(coll.update_one(doc! { "_id": id }, update)).expect("an update");
            (set.oplog_start() > time).then_some(())
        });
        assert!(rolled.is_some(), "the oplog is not overwritten");
        assert!(!running.has_reported("history lost"), "after {roll} rolls");
    }
    let loaded = usize::try_from(load.stop()).expect("a count");
    // Each event, and the snapshot without its end.
    let printed = running.printed();
    assert!(
        printed < loaded + DOCUMENTS as usize,
        "the scan ended too early: {printed}"
    );
    drop(slow);
    let last = format!("snapshot {}", DOCUMENTS - 1);
    running.lines_until(|line| brief(line) == last);
    block_on(coll.insert_one(doc! { "_id": -1 })).expect("an insert");
    running.lines_until(|line| brief(line) == "insert -1");
    running.signal(Signal::TERM);
    let finished = running.wait().expect_code(0);
    let mut copy = Copy::default();
    finished.stdout.iter().for_each(|line| copy.apply(line));
    copy.expect(&Copy::of(scenario.db(), &["c", "load"]), "");
}
