//! The scan and the stream take turns: no line of the snapshot comes after an event that is newer than its document.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use testkit::deadline::{DEADLINE, poll};
use testkit::events::briefs;
use testkit::fail_point::LATE_REPLY;
use testkit::live_cursor::LiveCursor;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::fill;

/// Returns whether a command on this collection waits at the fail point.
fn waits(set: &ReplicaSet, ns: &str) -> bool {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true } },
        doc! { "$match": { "ns": ns, "failpointMsg": LATE_REPLY } },
    ];
    let admin = set.client().database("admin");
    let waiting: Vec<Document> =
        block_on(async { admin.aggregate(pipeline).await?.try_collect().await })
            .expect("$currentOp");
    !waiting.is_empty()
}

#[test]
fn prints_a_document_before_an_event_that_comes_after_it_was_read() {
    let set = ReplicaSet::start(Options::default());
    for (command, filter) in [
        ("find", &[][..]),
        ("aggregate", &["--match", "{operationType: {$ne: 'x'}}"][..]),
    ] {
        let scenario = Scenario::on(&set, &format!("turns_{command}"));
        let coll = scenario.coll("c");
        fill(&coll, 0..3);
        let ns = coll.namespace().to_string();
        let delayed = set.fail_point(doc! {
            "configureFailPoint": LATE_REPLY,
            "mode": "alwaysOn",
            "data": { "ns": &ns, "commands": [command] },
        });
        // The stream itself is on the database.
        let run = scenario.cswatch(["--no-resume", "--snapshot"]).args(filter);
        let mut running = run.spawn();
        let read = poll(DEADLINE, || waits(&set, &ns).then_some(()));
        assert!(read.is_some(), "no {command} reads the documents");
        let update = doc! { "$set": { "isUpdated": true } };
        block_on(coll.update_one(doc! { "_id": 1 }, update)).expect("an update");
        // The event is in cswatch, which asks for no more of them until it has the documents.
        LiveCursor::wait_for(&scenario, |cursor| {
            cursor.returned == 1 && cursor.get_more.is_none()
        });
        drop(delayed);
        let lines: Vec<String> = (0..4).map(|_| running.next_line()).collect();
        assert_eq!(
            briefs(&lines),
            ["snapshot 0", "snapshot 1", "snapshot 2", "update 1"]
        );
        assert!(!lines[1].contains("isUpdated"), "{}", lines[1]);
    }
}
