//! Collections that are dropped and renamed while the snapshot is read, before their turn, in the middle of it, or while cswatch is down.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::finished::Finished;
use testkit::running::PIPE_FULL;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::DUMP;
use super::copy::{Copy, is_snapshot, parsed};

/// The collections, in the order in which a snapshot reads them.
const COLLS: [&str; 3] = ["first", "second", "third"];

/// Documents in each collection.
const DOCUMENTS: usize = 40;

/// Bytes of each document: neither the pipe to a reader that stalls, nor the queue, holds a whole collection.
const SIZE: usize = 100_000;

/// Returns a scenario with documents in [`COLLS`].
#[track_caller]
fn filled(name: &str) -> Scenario<'static> {
    let scenario = Scenario::new(name);
    let db = scenario.db();
    for name in ["a", "b", "c"] {
        block_on(db.create_collection(name)).expect("a collection");
    }
    let reply = block_on(db.run_command(doc! { "listCollections": 1 })).expect("a list");
    let listed = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let mut colls: Vec<(Vec<u8>, String)> = listed
        .expect("collections")
        .iter()
        .map(|coll| {
            let coll = coll.as_document().expect("a collection");
            let name = coll.get_str("name").expect("a name").to_owned();
            match coll.get_document("info").expect("an info").get("uuid") {
                Some(Bson::Binary(uuid)) => (uuid.bytes.clone(), name),
                other => panic!("no UUID: {other:?}"),
            }
        })
        .collect();
    colls.sort();
    for ((_, from), to) in colls.iter().zip(COLLS) {
        rename(&scenario, from, to);
        let text = "x".repeat(SIZE);
        let documents =
            (0..DOCUMENTS as i32).map(|id| doc! { "_id": id, "coll": to, "text": &text });
        block_on(scenario.coll(to).insert_many(documents)).expect("an insert");
    }
    scenario
}

fn rename(scenario: &Scenario<'_>, from: &str, to: &str) {
    let db = scenario.db().name();
    scenario.set().admin(doc! { "renameCollection": format!("{db}.{from}"), "to": format!("{db}.{to}"), "dropTarget": true });
}

fn drop(scenario: &Scenario<'_>, coll: &str) {
    block_on(scenario.coll(coll).drop()).expect("a drop");
}

/// Runs `cswatch` to its end, and calls `change` when it is in the middle of the first collection.
#[track_caller]
fn during_the_scan(cswatch: Cswatch, change: impl FnOnce()) -> Finished {
    let mut running = cswatch.stdout(Stdout::Stalled).spawn();
    running.wait_unread(PIPE_FULL);
    change();
    running.read_stdout();
    running.wait()
}

/// The same, but stops `cswatch` before the change and starts it again after it.
#[track_caller]
fn while_it_is_down(cswatch: impl Fn() -> Cswatch, change: impl FnOnce()) -> Vec<String> {
    let mut running = cswatch().stdout(Stdout::Stalled).spawn();
    running.wait_unread(PIPE_FULL);
    running.signal(Signal::TERM);
    // What was read from the server is still printed.
    running.read_stdout();
    let mut lines = running.wait().expect_code(0).stdout;
    assert!(lines.len() < DOCUMENTS, "{} lines", lines.len());
    change();
    lines.extend(cswatch().run().expect_code(0).stdout);
    lines
}

/// Returns the number of snapshot lines that hold documents of each collection, by the name that the collection had at first.
#[track_caller]
fn scanned(lines: &[String]) -> BTreeMap<String, usize> {
    let mut scanned = BTreeMap::new();
    for line in lines {
        let line = parsed(line);
        if is_snapshot(&line) {
            let document = line.get_document("fullDocument").expect("a document");
            *scanned
                .entry(document.get_str("coll").expect("its collection").to_owned())
                .or_default() += 1;
        }
    }
    scanned
}

/// Fails unless the lines give the state of the server's collections `colls`.
#[track_caller]
fn expect_state(scenario: &Scenario<'_>, lines: &[String], colls: &[&str]) {
    let mut copy = Copy::default();
    lines.iter().for_each(|line| copy.apply(line));
    let context: Vec<String> = lines.iter().map(|line| short(line)).collect();
    copy.expect(&Copy::of(scenario.db(), colls), &context.join("\n"));
}

/// Returns the operation, the collection and the key of a line.
fn short(line: &str) -> String {
    let line = parsed(line);
    let get = |name: &str| line.get(name).map(ToString::to_string).unwrap_or_default();
    ["operationType", "ns", "to", "documentKey"]
        .map(get)
        .join(" ")
}

/// A name of a changed collection, what is changed, which collections remain, and how many documents of each are printed as snapshot.
struct Case {
    name: &'static str,
    change: fn(&Scenario<'_>),
    remaining: &'static [&'static str],
    /// Documents of first, second and third; `None` for a part of them.
    scanned: [Option<usize>; 3],
}

const ALL: Option<usize> = Some(DOCUMENTS);
const NONE: Option<usize> = Some(0);
const PART: Option<usize> = None;

const CASES: [Case; 8] = [
    Case {
        name: "drop_current",
        change: |s| drop(s, "first"),
        remaining: &["second", "third"],
        scanned: [PART, ALL, ALL],
    },
    Case {
        name: "drop_pending",
        change: |s| drop(s, "second"),
        remaining: &["first", "third"],
        scanned: [ALL, NONE, ALL],
    },
    Case {
        name: "rename_current",
        change: |s| rename(s, "first", "new"),
        remaining: &["new", "second", "third"],
        scanned: [ALL, ALL, ALL],
    },
    Case {
        name: "rename_pending",
        change: |s| rename(s, "third", "new"),
        remaining: &["first", "new", "second"],
        scanned: [ALL, ALL, ALL],
    },
    Case {
        name: "current_onto_pending",
        change: |s| rename(s, "first", "second"),
        remaining: &["second", "third"],
        scanned: [ALL, NONE, ALL],
    },
    Case {
        name: "pending_onto_current",
        change: |s| rename(s, "third", "first"),
        remaining: &["first", "second"],
        scanned: [PART, ALL, ALL],
    },
    Case {
        name: "swap",
        change: |s| {
            rename(s, "first", "new");
            rename(s, "second", "first");
            rename(s, "new", "second");
        },
        remaining: &["first", "second", "third"],
        scanned: [ALL, ALL, ALL],
    },
    Case {
        name: "drop_and_create",
        change: |s| {
            drop(s, "first");
            let document: Document = doc! { "_id": 1, "coll": "again" };
            block_on(s.coll("first").insert_one(document)).expect("an insert");
        },
        remaining: &["first", "second", "third"],
        scanned: [PART, ALL, ALL],
    },
];

#[track_caller]
fn expect_case(case: &Case, scenario: &Scenario<'_>, lines: &[String]) {
    expect_state(scenario, lines, case.remaining);
    let scanned = scanned(lines);
    for (coll, expected) in COLLS.iter().zip(case.scanned) {
        let found = scanned.get(*coll).copied().unwrap_or_default();
        match expected {
            Some(expected) => assert_eq!(found, expected, "{coll}: {}", case.name),
            None => assert!(found < DOCUMENTS, "{coll}: {}", case.name),
        }
    }
}

#[test]
fn follows_collections_that_change_during_the_scan() {
    for case in &CASES {
        let scenario = filled(&format!("during_{}", case.name));
        let cswatch = scenario
            .cswatch(["--no-resume", "--batch-size", "4"])
            .args(DUMP);
        let finished = during_the_scan(cswatch, || (case.change)(&scenario)).expect_code(0);
        expect_case(case, &scenario, &finished.stdout);
    }
}

#[test]
fn follows_collections_that_change_while_it_is_down() {
    for case in &CASES {
        let scenario = filled(&format!("down_{}", case.name));
        let cswatch = || scenario.cswatch(["--batch-size", "2"]).args(DUMP);
        let lines = while_it_is_down(cswatch, || (case.change)(&scenario));
        expect_case(case, &scenario, &lines);
    }
}

#[test]
fn ends_the_scan_of_a_collection_that_leaves_the_scope() {
    let scenario = filled("leaves");
    let cswatch = scenario
        .cswatch([
            "--no-resume",
            "--batch-size",
            "4",
            "--ns-exclude",
            "*.private*",
        ])
        .args(DUMP);
    let change = || {
        rename(&scenario, "first", "private_1");
        rename(&scenario, "third", "private_3");
    };
    let finished = during_the_scan(cswatch, change).expect_code(0);
    let scanned = scanned(&finished.stdout);
    assert!(scanned["first"] < DOCUMENTS);
    assert_eq!((scanned["second"], scanned.get("third")), (DOCUMENTS, None));
}

#[test]
fn ends_like_a_stream_when_its_only_collection_is_dropped_or_renamed() {
    for (name, change) in [
        ("drop", (|s| drop(s, "first")) as fn(&Scenario<'_>)),
        ("rename", |s| rename(s, "first", "new")),
    ] {
        let scenario = filled(&format!("only_{name}"));
        let cswatch = scenario.cswatch([
            "--no-resume",
            "--batch-size",
            "4",
            "--coll",
            "first",
            "--snapshot",
        ]);
        let finished = during_the_scan(cswatch, || change(&scenario)).expect_code(4);
        let kinds: Vec<String> = finished
            .events()
            .iter()
            .map(|event| event["operationType"].as_str().expect("a type").to_owned())
            .filter(|kind| kind != "snapshot")
            .collect();
        assert_eq!(kinds, [name, "invalidate"]);
    }
}
