//! The scope of a watch: a deployment, a database, one collection or several; and that it prints no other events.

use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns the operation type, the collection and the `_id` of each line, as far as the event has them.
fn summaries<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut summaries = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        let parts = [
            &event["operationType"],
            &event["ns"]["coll"],
            &event["documentKey"]["_id"]["$numberInt"],
        ];
        let words: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).collect();
        summaries.push(words.join(" "));
    }
    summaries
}

#[test]
fn watches_every_database_of_a_deployment() {
    let scenario = Scenario::new("deployment_one");
    let other = Scenario::new("deployment_two");
    let mut cswatch = Cswatch::new()
        .args(["--uri", &scenario.set().uri(), "--no-resume"])
        .spawn();
    cswatch.wait_open();
    insert(&scenario.coll("a"), [1]);
    insert(&other.coll("b"), [2]);
    insert(&scenario.coll("c"), [3]);
    block_on(scenario.db().drop()).expect("a database can be dropped");
    insert(&other.coll("b"), [4]);
    // Other tests write to the same deployment.
    let databases =
        [&scenario, &other].map(|scenario| format!("\"db\":\"{}\"", scenario.db().name()));
    let lines = cswatch.lines_until(|line| {
        line.contains(&databases[1]) && line.contains(r#""documentKey":{"_id":{"$numberInt":"4"}}"#)
    });
    let ours = lines
        .iter()
        .filter(|line| databases.iter().any(|database| line.contains(database)));
    let expected = [
        "insert a 1",
        "insert b 2",
        "insert c 3",
        "drop a",
        "drop c",
        "dropDatabase",
        "insert b 4",
    ];
    let mut seen = summaries(ours);
    // The server chooses the order in which it drops the collections of a database.
    seen[3..5].sort();
    assert_eq!(seen, expected);
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}

#[test]
fn watches_every_collection_of_a_database_and_no_other_database() {
    let scenario = Scenario::new("database");
    // The name of the watched database is a prefix of this one.
    let other = scenario
        .set()
        .client()
        .database(&format!("{}x", scenario.db().name()));
    let reference = Reference::open(scenario.db().watch());
    insert(&scenario.coll("a"), [1]);
    insert(&other.collection("a"), [2]);
    insert(&scenario.coll("b"), [3]);
    block_on(other.drop()).expect("a database can be dropped");
    let finished = scenario
        .catch_up(&reference, [] as [&str; 0])
        .run()
        .expect_code(0);
    assert_eq!(summaries(&finished.stdout), ["insert a 1", "insert b 3"]);
}

#[test]
fn watches_one_collection_and_no_other() {
    let scenario = Scenario::new("collection");
    let reference = Reference::open(scenario.db().watch());
    for (coll, id) in [("a", 1), ("ab", 2), ("A", 3), ("a.b", 4), ("a", 5)] {
        insert(&scenario.coll(coll), [id]);
    }
    let finished = scenario
        .catch_up(&reference, ["--coll", "a"])
        .run()
        .expect_code(0);
    assert_eq!(summaries(&finished.stdout), ["insert a 1", "insert a 5"]);
}

#[test]
fn watches_several_collections_in_one_stream_that_continues_after_drops() {
    let scenario = Scenario::new("several_collections");
    let reference = Reference::open(scenario.db().watch());
    let writes = [
        ("a", 1),
        ("c", 2),
        ("b", 3),
        ("ab", 4),
        ("a", 5),
        ("b.c", 6),
    ];
    for (coll, id) in writes {
        insert(&scenario.coll(coll), [id]);
    }
    for coll in ["a", "c"] {
        block_on(scenario.coll(coll).drop()).expect("a collection can be dropped");
    }
    insert(&scenario.coll("a"), [7]);
    insert(&scenario.coll("b"), [8]);
    let expected = [
        "insert a 1",
        "insert b 3",
        "insert a 5",
        "drop a",
        "insert a 7",
        "insert b 8",
    ];
    for named in [&["--coll", "a", "--coll", "b"][..], &["-c", "b,a"]] {
        let finished = scenario.catch_up(&reference, named).run().expect_code(0);
        assert_eq!(summaries(&finished.stdout), expected, "{named:?}");
    }
}

#[test]
fn waits_for_a_collection_that_does_not_exist_yet() {
    let scenario = Scenario::new("later_collection");
    let mut cswatch = scenario
        .cswatch(["--coll", "later", "--no-resume", "--count", "1"])
        .spawn();
    cswatch.wait_open();
    insert(&scenario.coll("other"), [1]);
    insert(&scenario.coll("later"), [2]);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(summaries(&finished.stdout), ["insert later 2"]);
}

#[test]
fn watches_collections_with_unusual_names() {
    let scenario = Scenario::new("unusual_names");
    let reference = Reference::open(scenario.db().watch());
    let names = ["a.b-c", "with space", "naïve ☃", "\"quoted\"", "*", "-x"];
    for (id, name) in (0..).zip(names) {
        insert(&scenario.coll(name), [id]);
    }
    for (id, name) in (0..).zip(names) {
        let finished = scenario
            .catch_up(&reference, [format!("--coll={name}")])
            .run()
            .expect_code(0);
        assert_eq!(summaries(&finished.stdout), [format!("insert {name} {id}")]);
    }
}
