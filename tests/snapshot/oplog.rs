//! An oplog that is overwritten several times while the snapshot is read: nothing is lost, because the stream is read all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mongodb::bson::doc;

use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::Copy;
use super::{DUMP, fill};

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
    let is_rolled = AtomicBool::new(false);
    // One document per request: the scan takes longer than the oplog holds.
    let mut running = scenario
        .cswatch(["--no-resume", "--coll", "c", "--batch-size", "1"])
        .args(DUMP)
        .spawn();
    running.next_line();
    let mut rolls = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut id = 0;
            while !is_rolled.load(Ordering::Relaxed) {
                id = (id + 7919) % DOCUMENTS;
                let update = coll.update_one(doc! { "_id": id }, doc! { "$inc": { "n": 1 } });
                block_on(update).expect("an update");
            }
        });
        for _ in 0..ROLLS {
            let time = set.operation_time();
            set.roll_oplog(time);
            rolls += usize::from(running.printed() < DOCUMENTS as usize);
        }
        is_rolled.store(true, Ordering::Relaxed);
    });
    assert_eq!(rolls, ROLLS, "the scan ended too early");
    let finished = running.wait().expect_code(0);
    let mut copy = Copy::default();
    finished.stdout.iter().for_each(|line| copy.apply(line));
    copy.expect(&Copy::of(scenario.db(), &["c"]), "");
    assert!(
        !finished.stderr.contains("history lost"),
        "{}",
        finished.stderr
    );
}
