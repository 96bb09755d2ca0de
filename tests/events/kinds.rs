//! Every kind of event comes out as the server sent it, a line each and at once. What the server
//! sent is known from the driver.

use std::io::{self, IoSlice};

use mongodb::bson::{Document, RawDocumentBuf, doc};
use rustix::io::{ReadWriteFlags, pwritev2};
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::reference::{Reference, filled, line};
use testkit::replica_set::ReplicaSet;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The kinds of `events`, in order.
fn kinds(events: &[RawDocumentBuf]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event.get_str("operationType"));
    kinds
        .map(|kind| kind.expect("an event has a kind"))
        .collect()
}

/// What `cswatch` prints of what `reference` has seen, each line compared with the driver's event.
#[track_caller]
fn printed(
    scenario: &Scenario,
    arguments: &[&str],
    reference: &Reference,
    events: &[RawDocumentBuf],
) -> Vec<Value> {
    let count = events.len().to_string();
    let finished = scenario
        .cswatch(["--no-resume", "--count", &count])
        .args(reference.start())
        .args(arguments)
        .run()
        .expect_code(0);
    let expected: Vec<String> = events.iter().map(|event| line(event)).collect();
    assert_eq!(finished.stdout, expected);
    finished.events()
}

/// Runs one command on the scenario's database.
#[track_caller]
fn run(scenario: &Scenario, command: Document) {
    block_on(scenario.db().run_command(command)).expect("a command that the server takes");
}

/// Renames a collection of the scenario's database, over another one where that is there.
#[track_caller]
fn rename(scenario: &Scenario, from: &str, to: &str) {
    let db = scenario.db().name();
    scenario.set().admin(doc! {
        "renameCollection": format!("{db}.{from}"),
        "to": format!("{db}.{to}"),
        "dropTarget": true,
    });
}

#[test]
fn prints_the_tutorial_in_six_lines() {
    // The one test on this namespace.
    let set = ReplicaSet::shared();
    let collection = set
        .client()
        .database("changestream")
        .collection::<Document>("collection");
    let mut reference = Reference::open(collection.watch());
    let mut cswatch = Cswatch::new()
        .args(["--uri", &set.uri()])
        .args(["--db", "changestream", "--coll", "collection"])
        .spawn();
    cswatch.wait_open();
    let id = || doc! { "_id": 1 };
    block_on(async {
        let insert = doc! { "_id": 1, "hello": "world" };
        collection.insert_one(insert).await?;
        let mars = doc! { "$set": { "hello": "mars" } };
        collection.update_one(id(), mars).await?;
        collection
            .replace_one(id(), doc! { "bye": "world" })
            .await?;
        collection.delete_one(id()).await?;
        collection.drop().await
    })
    .expect("five writes");
    let finished = cswatch.wait().expect_code(4);

    let templates = [
        concat!(
            r#"{"_id":<_id>,"operationType":"insert","clusterTime":<clusterTime>,"wallTime":<wallTime>,"#,
            r#""fullDocument":{"_id":{"$numberInt":"1"},"hello":"world"},"#,
            r#""ns":{"db":"changestream","coll":"collection"},"documentKey":{"_id":{"$numberInt":"1"}}}"#,
        ),
        concat!(
            r#"{"_id":<_id>,"operationType":"update","clusterTime":<clusterTime>,"wallTime":<wallTime>,"#,
            r#""ns":{"db":"changestream","coll":"collection"},"documentKey":{"_id":{"$numberInt":"1"}},"#,
            r#""updateDescription":{"updatedFields":{"hello":"mars"},"removedFields":[],"truncatedArrays":[]}}"#,
        ),
        concat!(
            r#"{"_id":<_id>,"operationType":"replace","clusterTime":<clusterTime>,"wallTime":<wallTime>,"#,
            r#""fullDocument":{"_id":{"$numberInt":"1"},"bye":"world"},"#,
            r#""ns":{"db":"changestream","coll":"collection"},"documentKey":{"_id":{"$numberInt":"1"}}}"#,
        ),
        concat!(
            r#"{"_id":<_id>,"operationType":"delete","clusterTime":<clusterTime>,"wallTime":<wallTime>,"#,
            r#""ns":{"db":"changestream","coll":"collection"},"documentKey":{"_id":{"$numberInt":"1"}}}"#,
        ),
        concat!(
            r#"{"_id":<_id>,"operationType":"drop","clusterTime":<clusterTime>,"wallTime":<wallTime>,"#,
            r#""ns":{"db":"changestream","coll":"collection"}}"#,
        ),
        r#"{"_id":<_id>,"operationType":"invalidate","clusterTime":<clusterTime>,"wallTime":<wallTime>}"#,
    ];
    let events = reference.take(templates.len());
    let expected: Vec<String> = templates
        .iter()
        .zip(&events)
        .map(|(template, event)| filled(template, event))
        .collect();
    assert_eq!(finished.stdout, expected);
    assert!(finished.torn.is_empty(), "{:?}", finished.torn);
    // What was filled in has the form that MongoDB documents.
    for line in &finished.stdout {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        let time = &event["clusterTime"]["$timestamp"];
        let (t, i) = (time["t"].as_u64(), time["i"].as_u64());
        let (t, i) = (t.expect("seconds"), i.expect("an increment"));
        let token = event["_id"]["_data"].as_str().expect("a token");
        assert!(token.starts_with(&format!("82{t:08X}{i:08X}")), "{line}");
        let wall = event["wallTime"]["$date"]["$numberLong"].as_str();
        let wall: u64 = wall.expect("a date").parse().expect("milliseconds");
        assert!((wall / 1000).abs_diff(t) <= 1, "{line}");
    }
}

#[test]
fn prints_each_kind_of_write_as_the_server_sent_it() {
    let scenario = Scenario::new("kinds_of_writes");
    let mut reference = Reference::open(scenario.db().watch());
    let collection = scenario.coll("c");
    let id = || doc! { "_id": 1 };
    block_on(async {
        let insert = doc! { "_id": 1, "list": [1, 2, 3, 4], "gone": { "z": 1, "a": 2_i64 } };
        collection.insert_one(insert).await?;
        let update = doc! { "$set": { "deep.x": 1.5, "list.0": "first" }, "$unset": { "gone": 1 } };
        collection.update_one(id(), update).await?;
        let truncate = vec![doc! { "$set": { "list": { "$slice": ["$list", 2] } } }];
        collection.update_one(id(), truncate).await?;
        collection
            .replace_one(id(), doc! { "b": 1, "a": 2 })
            .await?;
        collection.delete_one(id()).await
    })
    .expect("five writes");
    let events = reference.take(5);
    let expected = ["insert", "update", "update", "replace", "delete"];
    assert_eq!(kinds(&events), expected);
    let lines = printed(&scenario, &[], &reference, &events);
    let changed = |line: usize| lines[line]["updateDescription"].to_string();
    assert_eq!(
        changed(1),
        concat!(
            r#"{"updatedFields":{"deep":{"x":{"$numberDouble":"1.5"}},"list.0":"first"},"#,
            r#""removedFields":["gone"],"truncatedArrays":[]}"#,
        )
    );
    assert_eq!(
        changed(2),
        concat!(
            r#"{"updatedFields":{},"removedFields":[],"#,
            r#""truncatedArrays":[{"field":"list","newSize":{"$numberInt":"2"}}]}"#,
        )
    );
}

#[test]
fn prints_renames_and_drops_as_the_server_sent_them() {
    let scenario = Scenario::new("renames_and_drops");
    let mut reference = Reference::open(scenario.db().watch());
    for name in ["a", "b"] {
        run(&scenario, doc! { "create": name });
    }
    rename(&scenario, "a", "c");
    rename(&scenario, "c", "b");
    run(&scenario, doc! { "drop": "b" });
    block_on(scenario.coll("d").insert_one(doc! { "_id": 1 })).expect("an insert");
    run(&scenario, doc! { "dropDatabase": 1 });
    let events = reference.take(7);
    let expected = [
        "rename",
        "rename",
        "drop",
        "insert",
        "drop",
        "dropDatabase",
        "invalidate",
    ];
    assert_eq!(kinds(&events), expected);
    let lines = printed(&scenario, &[], &reference, &events);
    let db = scenario.db().name();
    assert_eq!(lines[0]["to"], serde_json::json!({ "db": db, "coll": "c" }));
    assert_eq!(lines[5]["ns"], serde_json::json!({ "db": db }));
    assert_eq!(lines[6].get("ns"), None);
}

#[test]
fn prints_expanded_events_only_on_request() {
    let scenario = Scenario::new("expanded_events");
    let mut expanded = Reference::open(scenario.db().watch().show_expanded_events(true));
    let mut plain = Reference::open(scenario.db().watch());
    run(
        &scenario,
        doc! { "create": "c", "capped": true, "size": 4096 },
    );
    let index = doc! { "key": { "b": 1, "a": -1 }, "name": "by_b", "unique": true };
    run(&scenario, doc! { "createIndexes": "c", "indexes": [index] });
    let hide = doc! { "name": "by_b", "hidden": true };
    run(&scenario, doc! { "collMod": "c", "index": hide });
    run(&scenario, doc! { "dropIndexes": "c", "index": "by_b" });
    run(&scenario, doc! { "create": "target" });
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 })).expect("an insert");
    rename(&scenario, "c", "target");
    run(&scenario, doc! { "drop": "target" });

    let events = expanded.take(8);
    let expected = [
        "create",
        "createIndexes",
        "modify",
        "dropIndexes",
        "create",
        "insert",
        "rename",
        "drop",
    ];
    assert_eq!(kinds(&events), expected);
    let lines = printed(&scenario, &["--expanded-events"], &expanded, &events);
    for line in &lines {
        assert_eq!(line["collectionUUID"]["$binary"]["subType"], "04");
    }
    let key = r#"{"b":{"$numberInt":"1"},"a":{"$numberInt":"-1"}}"#;
    let described = &lines[1]["operationDescription"]["indexes"][0];
    assert_eq!(described["key"].to_string(), key);
    assert_eq!(
        lines[2]["stateBeforeChange"]["indexOptions"]["hidden"],
        false
    );
    let target = &lines[4]["collectionUUID"];
    assert_eq!(lines[6]["operationDescription"]["dropTarget"], *target);

    let events = plain.take(3);
    assert_eq!(kinds(&events), ["insert", "rename", "drop"]);
    for line in printed(&scenario, &[], &plain, &events) {
        assert_eq!(line.get("operationDescription"), None);
    }
}

#[test]
fn prints_the_events_of_a_transaction_with_its_number_and_session() {
    let scenario = Scenario::new("transaction");
    run(&scenario, doc! { "create": "c" });
    let mut reference = Reference::open(scenario.db().watch());
    let collection = scenario.coll("c");
    block_on(async {
        let mut session = scenario.set().client().start_session().await?;
        session.start_transaction().await?;
        for id in [1, 2] {
            let insert = collection.insert_one(doc! { "_id": id });
            insert.session(&mut session).await?;
        }
        session.commit_transaction().await
    })
    .expect("a transaction");
    let events = reference.take(2);
    let lines = printed(&scenario, &[], &reference, &events);
    for line in &lines {
        assert!(line["txnNumber"]["$numberLong"].is_string(), "{line}");
        assert!(line["lsid"]["id"]["$binary"].is_object(), "{line}");
        for shared in ["txnNumber", "lsid", "clusterTime"] {
            assert_eq!(line[shared], lines[0][shared], "{shared}");
        }
    }
}

#[test]
fn ends_a_collection_stream_with_the_events_of_the_end() {
    let scenario = Scenario::new("end_of_a_collection");
    run(&scenario, doc! { "create": "c" });
    let mut reference = Reference::open(scenario.coll("c").watch());
    rename(&scenario, "c", "d");
    let events = reference.take(2);
    assert_eq!(kinds(&events), ["rename", "invalidate"]);
    let finished = scenario
        .cswatch(["--coll", "c", "--no-resume"])
        .args(reference.start())
        .run()
        .expect_code(4);
    let expected: Vec<String> = events.iter().map(|event| line(event)).collect();
    assert_eq!(finished.stdout, expected);
    let named = format!("{}.c was dropped or renamed", scenario.db().name());
    assert!(finished.stderr.contains(&named), "{}", finished.stderr);
    let way_out = "--on-invalidate reopen";
    assert!(finished.stderr.contains(way_out), "{}", finished.stderr);
}

/// Whether the kernel knows a write to a pipe that is refused where it would have to wait.
fn knows_refusable_writes() -> bool {
    let (_reader, writer) = io::pipe().expect("a pipe");
    let line = [IoSlice::new(b"line")];
    pwritev2(&writer, &line, u64::MAX, ReadWriteFlags::NOWAIT).is_ok()
}

#[test]
fn prints_an_event_without_waking_a_thread_for_it() {
    const EVENTS: u64 = 50;

    let scenario = Scenario::new("at_once");
    let mut cswatch = scenario
        .cswatch(["--coll", "c", "--no-resume", "--max-await", "10m"])
        .spawn();
    cswatch.wait_open();
    let mut insert = || {
        block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
        cswatch.next_line();
        cswatch.waits_of_thread("writer")
    };
    let before = insert();
    for _ in 1..EVENTS {
        insert();
    }
    let waits = insert() - before;
    // Where the kernel has no such writes, each event needs the thread.
    if knows_refusable_writes() {
        assert!(waits < EVENTS / 5, "{waits} waits");
    }
}

#[test]
fn prints_a_lone_event_without_waiting_for_another() {
    let scenario = Scenario::new("lone_event");
    let mut cswatch = scenario
        .cswatch(["--coll", "c", "--no-resume", "--max-await", "10m"])
        .spawn();
    cswatch.wait_open();
    // Longer than any wait of a test: what comes, comes neither with a second event nor with an
    // empty reply.
    for id in 0..3 {
        block_on(scenario.coll("c").insert_one(doc! { "_id": id })).expect("an insert");
        let event = cswatch.next_event();
        let id = serde_json::json!({ "$numberInt": id.to_string() });
        assert_eq!(event["documentKey"]["_id"], id);
    }
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(finished.stdout.len(), 3);
}
