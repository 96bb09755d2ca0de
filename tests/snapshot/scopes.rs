//! Which documents a snapshot prints: scopes, filters, limits; and the form of a line.

use std::fs;

use mongodb::bson::doc;
use rustix::process::Signal;
use serde_json::{Value, json};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, insert};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{DUMP, dump, fill};

/// Returns the namespaces and the `_id`s of lines, sorted: `coll/1`.
#[track_caller]
fn documents(lines: &[String]) -> Vec<String> {
    let mut documents: Vec<String> = lines
        .iter()
        .map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(event["operationType"], "snapshot", "{line}");
            let coll = event["ns"]["coll"].as_str().expect("a collection");
            format!("{coll}/{}", brief(line).replace("snapshot ", ""))
        })
        .collect();
    documents.sort();
    documents
}

#[test]
fn prints_a_document_as_a_line_of_the_form_of_an_event() {
    let scenario = Scenario::new("snapshot_line");
    let coll = scenario.coll("c");
    block_on(coll.insert_one(doc! { "_id": 1, "a": { "b": [1, "x"] } })).expect("an insert");
    let mut running = scenario.watch(&["--snapshot"]).spawn();
    let line = running.next_line();
    insert(&coll, [2]);
    let event = running.next_event();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    let parsed: Value = serde_json::from_str(&line).expect("JSON");
    let fields: Vec<&String> = parsed.as_object().expect("an object").keys().collect();
    assert_eq!(
        fields,
        [
            "_id",
            "operationType",
            "clusterTime",
            "fullDocument",
            "ns",
            "documentKey"
        ]
    );
    assert_eq!(parsed["operationType"], "snapshot");
    assert_eq!(
        parsed["ns"],
        json!({ "db": scenario.db().name(), "coll": "c" })
    );
    assert_eq!(
        parsed["documentKey"],
        json!({ "_id": { "$numberInt": "1" } })
    );
    let document =
        json!({ "_id": { "$numberInt": "1" }, "a": { "b": [{ "$numberInt": "1" }, "x"] } });
    assert_eq!(parsed["fullDocument"], document);
    // The token is one to start after, and its time is before the event.
    let token = parsed["_id"]["_data"].as_str().expect("a token");
    let again = scenario
        .cswatch([
            "--coll",
            "c",
            "--no-resume",
            "--until",
            "now",
            "--start-after",
            token,
        ])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&again.stdout), ["insert 2"]);
    let time = |event: &Value| event["clusterTime"]["$timestamp"]["t"].as_u64();
    assert!(time(&parsed) <= time(&event), "{parsed} {event}");
}

#[test]
fn reads_each_scope() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "snapshot_scopes");
    for name in ["a", "b", "b.c", "tmp_x"] {
        fill(&scenario.coll(name), 0..2);
    }
    let other = set.client().database("other");
    fill(&other.collection("d"), 0..2);
    fill(&set.client().database("admin").collection("hidden"), 0..2);
    for (arguments, expected) in [
        (&[][..], &["a", "b", "b.c", "tmp_x"][..]),
        (&["--coll", "b"], &["b"]),
        (
            &["--coll", "b", "--coll", "a", "--coll", "missing"],
            &["a", "b"],
        ),
        (&["--coll", "missing"], &[]),
        (&["--ns-exclude", "*.tmp_*"], &["a", "b", "b.c"]),
        (&["--ns-include", "*.b*", "--ns-exclude", "*.b.*"], &["b"]),
    ] {
        let lines = dump(&scenario, arguments).run().expect_code(0).stdout;
        let mut all: Vec<String> = expected
            .iter()
            .flat_map(|coll| [0, 1].map(|id| format!("{coll}/{id}")))
            .collect();
        all.sort();
        assert_eq!(documents(&lines), all, "{arguments:?}");
    }
    let everything = |arguments: &[&str]| {
        let run = Cswatch::new()
            .args(["--uri", &set.uri(), "--no-resume"])
            .args(DUMP)
            .args(arguments);
        documents(&run.run().expect_code(0).stdout).len()
    };
    assert_eq!(everything(&[]), 10);
    assert_eq!(everything(&["--ns-include", "other.*"]), 2);
    assert_eq!(everything(&["--ns-exclude", "other.*"]), 8);
}

#[test]
fn applies_filters_and_pipelines_but_no_operation_types() {
    let scenario = Scenario::new("snapshot_filters");
    fill(&scenario.coll("c"), 0..10);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let arguments = [&["--coll", "c", "--batch-size", "2"], arguments].concat();
        let lines = dump(&scenario, &arguments).run().expect_code(0).stdout;
        lines
            .iter()
            .map(|line| brief(line).replace("snapshot ", ""))
            .collect()
    };
    assert_eq!(ids(&["--op", "delete"]).len(), 10);
    assert_eq!(
        ids(&["--match", "{'fullDocument.n': {$gte: 7}}"]),
        ["7", "8", "9"]
    );
    assert_eq!(ids(&["--id", "4"]), ["4"]);
    assert_eq!(
        ids(&["--id", "4", "--id", "6", "--match", "{'fullDocument.n': 6}"]),
        ["6"]
    );
    assert_eq!(ids(&["--match", "{operationType: 'insert'}"]), [""; 0]);
    assert_eq!(
        ids(&[
            "--match",
            "{operationType: 'snapshot', 'ns.coll': 'c', 'documentKey._id': 3}"
        ]),
        ["3"]
    );
    let pipeline = r#"[{"$match": {"fullDocument.n": {"$lt": 3}}}, {"$set": {"fullDocument.m": {"$add": ["$fullDocument.n", 1]}}}, {"$unset": "clusterTime"}]"#;
    let lines = dump(&scenario, &["--coll", "c", "--pipeline", pipeline])
        .run()
        .expect_code(0);
    let events = lines.events();
    assert_eq!(events.len(), 3);
    for (n, event) in (0..).zip(events) {
        assert_eq!(
            event["fullDocument"]["m"],
            json!({ "$numberInt": (n + 1).to_string() })
        );
        assert!(event.get("clusterTime").is_none());
    }
}

#[test]
fn keeps_the_place_of_a_line_whose_fields_the_pipeline_removes() {
    let scenario = Scenario::new("snapshot_projected");
    fill(&scenario.coll("c"), 0..50);
    let output = scenario.path("lines");
    let watch = |end: &[&str]| {
        scenario
            .watch(&[
                "--snapshot",
                "--batch-size",
                "2",
                "--max-await",
                "50ms",
                "--save-interval",
                "1h",
            ])
            .args([
                "--pipeline",
                r#"[{"$project": {"n": "$fullDocument.n"}}]"#,
                "--output",
            ])
            .args([&output])
            .args(end)
    };
    let running = watch(&[]).spawn();
    let written = || {
        fs::read_to_string(&output)
            .unwrap_or_default()
            .lines()
            .count()
    };
    poll(DEADLINE, || (written() > 3).then_some(())).expect("lines");
    running.kill();
    watch(&["--until", "now"]).run().expect_code(0);
    let text = fs::read_to_string(&output).expect("lines");
    let numbers: Vec<i64> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert!(line["_id"]["_data"].is_string(), "{line}");
            line["n"]["$numberInt"]
                .as_str()
                .expect("a number")
                .parse()
                .expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

#[test]
fn ends_at_a_document_that_a_stage_fails_on_and_names_it() {
    let scenario = Scenario::new("snapshot_failing");
    let coll = scenario.coll("c");
    fill(&coll, 0..10);
    block_on(coll.update_one(doc! { "_id": 7 }, doc! { "$set": { "n": "seven" } }))
        .expect("an update");
    let pipeline = r#"[{"$set": {"fullDocument.n": {"$toInt": "$fullDocument.n"}}}]"#;
    for batch_size in ["1", "3", "1000"] {
        let run = dump(
            &scenario,
            &[
                "--coll",
                "c",
                "--batch-size",
                batch_size,
                "--pipeline",
                pipeline,
            ],
        )
        .run()
        .expect_code(8);
        assert_eq!(
            briefs(&run.stdout),
            (0..7)
                .map(|id| format!("snapshot {id}"))
                .collect::<Vec<_>>()
        );
        let (message, hint) = run.error();
        assert!(
            message.contains(&format!("{}.c", scenario.db().name())) && message.contains('7'),
            "{message}"
        );
        assert!(!hint.is_empty());
    }
}

#[test]
fn refuses_a_pipeline_that_changes_the_token() {
    let scenario = Scenario::new("snapshot_changed_id");
    fill(&scenario.coll("c"), 0..3);
    for stage in [
        r#"[{"$replaceWith": {"$mergeObjects": ["$fullDocument"]}}]"#,
        r#"[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"_id": 1}]}}]"#,
        r#"[{"$replaceWith": {"$mergeObjects": [{"x": "$fullDocument"}]}}]"#,
    ] {
        let run = dump(&scenario, &["--coll", "c", "--pipeline", stage])
            .run()
            .expect_code(8);
        assert_eq!(run.stdout, [""; 0], "{stage}");
        let (message, _) = run.error();
        assert!(message.contains("_id"), "{message}");
    }
}

#[test]
fn counts_lines_of_a_snapshot_as_lines() {
    let scenario = Scenario::new("snapshot_count");
    fill(&scenario.coll("c"), 0..10);
    let run = scenario
        .watch(&["--snapshot", "--count", "4"])
        .run()
        .expect_code(0);
    assert_eq!(
        briefs(&run.stdout),
        ["snapshot 0", "snapshot 1", "snapshot 2", "snapshot 3"]
    );
    let run = scenario
        .watch(&["--snapshot", "--count", "4"])
        .run()
        .expect_code(0);
    assert_eq!(
        briefs(&run.stdout),
        ["snapshot 4", "snapshot 5", "snapshot 6", "snapshot 7"]
    );
}

#[test]
fn writes_lines_into_a_file_and_follows_with_events() {
    let scenario = Scenario::new("snapshot_output");
    let coll = scenario.coll("c");
    fill(&coll, 0..5);
    let output = scenario.path("lines");
    let mut running = scenario
        .watch(&["--snapshot", "--output"])
        .args([&output])
        .spawn();
    running.wait_open();
    insert(&coll, [5]);
    let lines = || -> Vec<String> {
        fs::read_to_string(&output)
            .unwrap_or_default()
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    };
    let is_written = |part: &str| lines().iter().any(|line| line.contains(part));
    let is_complete = || (is_written(r#":"insert""#) && is_written(r#":"snapshot""#)).then_some(());
    poll(DEADLINE, is_complete).expect("lines of both kinds");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    let lines = briefs(&lines());
    let (scanned, events): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.starts_with("snapshot"));
    // The document that was inserted meanwhile may be in both.
    let expected: Vec<String> = (0..6).map(|id| format!("snapshot {id}")).collect();
    assert!(
        scanned == expected || scanned == expected[..5],
        "{scanned:?}"
    );
    assert_eq!(events, ["insert 5"]);
}

#[test]
fn needs_only_the_privileges_of_the_stream() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "snapshot_as");
    let db = scenario.db().name();
    for name in ["c", "d"] {
        fill(&scenario.coll(name), 0..3);
    }
    for (user, resource, arguments, expected) in [
        (
            "one",
            doc! { "db": db, "collection": "c" },
            &["--db", db, "--coll", "c"][..],
            3,
        ),
        (
            "database",
            doc! { "db": db, "collection": "" },
            &["--db", db],
            6,
        ),
        ("all", doc! { "db": "", "collection": "" }, &[], 6),
    ] {
        let privilege = doc! { "resource": resource, "actions": ["find", "changeStream"] };
        set.admin(doc! { "createRole": user, "privileges": [privilege], "roles": [] });
        let uri = set.create_user(user, "password", &[doc! { "role": user, "db": "admin" }]);
        let run = Cswatch::new()
            .args(["--uri", &uri, "--no-resume"])
            .args(DUMP)
            .args(arguments);
        assert_eq!(
            documents(&run.run().expect_code(0).stdout).len(),
            expected,
            "{user}"
        );
    }
}

#[test]
fn explains_the_command_that_reads_the_documents() {
    for (filter, expected) in [
        (&[][..], "find"),
        (&["--match", "{'fullDocument.n': 1}"], "aggregate"),
    ] {
        let run = Cswatch::new()
            .args([
                "--explain",
                "--snapshot",
                "--db",
                "shop",
                "--coll",
                "orders",
            ])
            .args(filter);
        let text = run.run_unconnected().expect_code(0).stdout.join("\n");
        assert!(text.contains(expected) && text.contains("orders"), "{text}");
    }
}

/// Returns the number of documents and index keys that a server has looked at for queries.
#[track_caller]
fn scanned(set: &ReplicaSet) -> i64 {
    let status = set.admin(doc! { "serverStatus": 1 });
    let metrics = status.get_document("metrics").expect("metrics");
    let executor = metrics.get_document("queryExecutor").expect("queries");
    ["scanned", "scannedObjects"]
        .iter()
        .map(|name| executor.get_i64(name).expect(name))
        .sum()
}

#[test]
fn reads_only_the_documents_that_the_option_id_selects() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "snapshot_ids");
    let coll = scenario.coll("c");
    fill(&coll, 0..20_000);
    block_on(coll.insert_one(doc! { "_id": "x" })).expect("an insert");
    for filter in [&[][..], &["--pipeline", "[{$unset: 'fullDocument.pad'}]"]] {
        let before = scanned(&set);
        let ids = [
            "--id", "'x'", "--id", "19999", "--id", "7", "--id", "8", "--id", "-1",
        ];
        let arguments = [&["--coll", "c", "--batch-size", "2"], &ids[..], filter].concat();
        let lines = dump(&scenario, &arguments).run().expect_code(0).stdout;
        assert_eq!(
            briefs(&lines),
            [
                "snapshot 7",
                "snapshot 8",
                "snapshot 19999",
                "snapshot \"x\""
            ]
        );
        // The server itself looks at some hundred meanwhile.
        let scanned = scanned(&set) - before;
        assert!(scanned < 5000, "{scanned}");
    }
}
