//! Events near and above the 16 MB that the server can send: each is printed whole, or refused and named, and none is skipped.

use std::fs;

use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, token};
use testkit::finished::Finished;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The size of the largest document that a server stores.
const MAX_DOCUMENT_SIZE: usize = 16 * 1024 * 1024;

/// The size of a document with a string field `x` and an int32 `_id`, without the string: length, both elements, terminator.
const ENVELOPE: usize = 4 + (1 + 4 + 4) + (1 + 2 + 4 + 1) + 1;

/// Returns a string so large that no event can have its document twice.
pub(super) fn large() -> String {
    "x".repeat(15 * 1024 * 1024)
}

/// Returns a watch of collection `c` with both images, always with the same resume file.
pub(super) fn watch(scenario: &Scenario, arguments: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([scenario.path("resume.json")])
        .args(["--full-document", "whenAvailable"])
        .args(["--full-document-before-change", "whenAvailable"])
        .args(arguments)
}

/// Creates collection `c` with images, and a checkpoint from before the first write to it.
pub(super) fn coll_with_images(scenario: &Scenario) -> Collection<Document> {
    let create = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
    run(scenario.db(), create);
    watch(scenario, &["--until", "now"]).run().expect_code(0);
    scenario.coll("c")
}

fn run(db: &Database, command: Document) {
    block_on(db.run_command(command)).expect("a command");
}

fn insert(coll: &Collection<Document>, document: Document) {
    block_on(coll.insert_one(document)).expect("an insert");
}

pub(super) fn update(coll: &Collection<Document>, id: impl Into<mongodb::bson::Bson>) {
    let set = doc! { "$set": { "y": 1 } };
    let updated = block_on(coll.update_one(doc! { "_id": id.into() }, set)).expect("an update");
    assert_eq!(updated.modified_count, 1);
}

/// Returns the flags that the hint on stderr ends with. Fails unless the hint is `before` and the flags, which start with `first`.
#[track_caller]
fn flags_in_hint<'a>(finished: &'a Finished, before: &str, first: &str) -> &'a str {
    let last = finished.stderr.lines().last().expect("a line on stderr");
    let (_, hint) = last.split_once(" cswatch: hint: ").expect("a hint");
    match hint.strip_prefix(before) {
        Some(flags) if flags.starts_with(first) => flags,
        _ => panic!("not the hint {before:?} and {first:?}\n{last}"),
    }
}

/// Returns a watch with `flags` after its arguments, split by a shell, as when a user pastes them.
fn pasted(scenario: &Scenario, flags: &str, arguments: &[&str]) -> Cswatch {
    let line = format!("exec \"$0\" \"$@\" {flags}");
    watch(scenario, arguments).through(["sh", "-c", &line])
}

#[test]
fn names_an_event_above_16_mb_and_the_flags_that_skip_it() {
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::without_split(),
        ..Options::default()
    });
    // An `_id` that fits into the server's message, one that is cut off there, and one whose token has more than hex digits.
    for (name, id, shown) in [
        (
            "number",
            mongodb::bson::Bson::Int32(2),
            r#"{"_id":{"$numberInt":"2"}}"#,
        ),
        (
            "text",
            "a text of more than fifty characters, as many are, x".into(),
            r#"{"_id":"a text of more than fifty characters, as many are, x"}"#,
        ),
        ("double", 1.5.into(), r#"{"_id":{"$numberDouble":"1.5"}}"#),
    ] {
        let scenario = Scenario::on(&set, name);
        let coll = coll_with_images(&scenario);
        insert(&coll, doc! { "_id": 1 });
        insert(&coll, doc! { "_id": id.clone(), "x": large() });
        insert(&coll, doc! { "_id": 3 });
        update(&coll, id);
        insert(&coll, doc! { "_id": 4 });

        let refused = watch(&scenario, &[]).run().expect_code(8);
        assert_eq!(refused.stdout.len(), 3, "{}", refused.stderr);
        assert_eq!(brief(&refused.stdout[0]), "insert 1");
        assert_eq!(brief(&refused.stdout[2]), "insert 3");
        let expected = format!(
            " cswatch: error: an event is larger than the 16 MB that the server can send: update of {}.c {shown} at ",
            scenario.db().name()
        );
        assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
        let fix = "upgrade to MongoDB 6.0.9 or later, which can split the event, leave out --full-document and --full-document-before-change, or drop the large field with --pipeline; or skip the event, which loses it, with ";
        let flags = flags_in_hint(&refused, fix, "--start-after ");

        // Without the flags it is refused again, and no event is printed twice.
        let again = watch(&scenario, &[]).run().expect_code(8);
        assert_eq!(again.stdout, [""; 0]);

        let skipped = pasted(&scenario, flags, &["--count", "1"])
            .run()
            .expect_code(0);
        assert_eq!(briefs(&skipped.stdout), ["insert 4"]);
        // The checkpoint was saved: the flags are not needed a second time.
        insert(&coll, doc! { "_id": 5 });
        let next = watch(&scenario, &["--count", "1"]).run().expect_code(0);
        assert_eq!(briefs(&next.stdout), ["insert 5"]);
    }
}

#[test]
fn prints_an_event_above_16_mb_as_one_line_if_the_server_splits_it() {
    let scenario = Scenario::splitting("large_split");
    let coll = coll_with_images(&scenario);
    insert(&coll, doc! { "_id": 1 });
    insert(&coll, doc! { "_id": 2, "x": large() });
    update(&coll, 2);
    insert(&coll, doc! { "_id": 3 });

    let all = watch(&scenario, &["--count", "4"]).run().expect_code(0);
    assert_eq!(
        briefs(&all.stdout),
        ["insert 1", "insert 2", "update 2", "insert 3"]
    );
    let event: Value = serde_json::from_str(&all.stdout[2]).expect("a line of JSON");
    assert_eq!(event["fullDocumentBeforeChange"]["x"], large());
    assert_eq!(event["fullDocument"]["x"], large());
    assert_eq!(event["fullDocument"]["y"]["$numberInt"], "1");
    assert_eq!(
        event["updateDescription"]["updatedFields"]["y"]["$numberInt"],
        "1"
    );
    assert_eq!(event.get("splitEvent"), None);

    // After the large event, and after the next one: no event is printed twice, and none is missing.
    for from in [2, 3] {
        let flags = ["--start-after", &token(&all.stdout[from]), "--count", "1"];
        insert(&coll, doc! { "_id": from as i32 + 2 });
        let next = watch(&scenario, &flags).run().expect_code(0);
        assert_eq!(brief(&next.stdout[0]), ["insert 3", "insert 4"][from - 2]);
    }
    // And from the checkpoint.
    let next = watch(&scenario, &["--count", "1"]).run().expect_code(0);
    assert_eq!(briefs(&next.stdout), ["insert 5"]);
}

/// Only a token from another program can be that of a fragment: a checkpoint is always after a whole event.
#[test]
fn prints_the_whole_event_when_started_after_its_first_fragment() {
    let scenario = Scenario::splitting("large_fragment");
    let coll = coll_with_images(&scenario);
    insert(&coll, doc! { "_id": 2, "x": large() });
    update(&coll, 2);
    insert(&coll, doc! { "_id": 3 });
    let all = watch(&scenario, &["--count", "3"]).run().expect_code(0);
    // The tokens of the fragments of one event differ only in their last number.
    let last: Value = serde_json::from_str(&token(&all.stdout[1])).expect("a token");
    let last = last["_data"].as_str().expect("digits");
    let event = last
        .strip_suffix("2B0204")
        .expect("the second fragment, of two");
    let first = format!("{event}2904");
    let start = ["--start-after", &first, "--count", "2"];
    let again = watch(&scenario, &start).run().expect_code(0);
    assert!(
        again.stdout == all.stdout[1..],
        "{:?}",
        briefs(&again.stdout)
    );
}

#[test]
fn prints_an_update_that_its_looked_up_document_makes_too_large() {
    let scenario = Scenario::splitting("large_lookup");
    let coll = scenario.coll("c");
    let watch = |until: &[&str]| {
        scenario
            .cswatch(["--coll", "c", "--full-document", "updateLookup"])
            .args(until)
            .run()
            .expect_code(0)
    };
    watch(&["--until", "now"]);
    insert(&coll, doc! { "_id": 1, "x": large(), "y": "" });
    let y = "y".repeat(1024 * 1024 - 1024);
    let set = doc! { "$set": { "y": &y } };
    block_on(coll.update_one(doc! { "_id": 1 }, set)).expect("an update");
    insert(&coll, doc! { "_id": 2 });
    let all = watch(&["--count", "3"]);
    assert_eq!(briefs(&all.stdout), ["insert 1", "update 1", "insert 2"]);
    let event: Value = serde_json::from_str(&all.stdout[1]).expect("a line of JSON");
    assert_eq!(event["fullDocument"]["y"], y);
    assert_eq!(event["updateDescription"]["updatedFields"]["y"], y);
}

#[test]
fn prints_the_largest_document_and_an_id_of_1_mb_and_resumes_after_it() {
    let scenario = Scenario::new("largest");
    let coll = scenario.coll("c");
    let mut running = scenario.cswatch(["--coll", "c"]).spawn();
    running.wait_open();
    let x = "x".repeat(MAX_DOCUMENT_SIZE - ENVELOPE);
    insert(&coll, doc! { "_id": 1, "x": &x });
    let id = "i".repeat(1024 * 1024);
    insert(&coll, doc! { "_id": &id });
    let largest = running.next_event();
    assert_eq!(largest["fullDocument"]["x"], x);
    assert_eq!(running.next_event()["documentKey"]["_id"], id);
    // The checkpoint holds a token of 2 MB.
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    insert(&coll, doc! { "_id": 3 });
    let next = scenario.cswatch(["--coll", "c", "--count", "1"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), ["insert 3"]);
}

/// The token and the document key are in each fragment, so a large `_id` makes each fragment too large.
#[test]
fn names_an_event_that_no_server_can_split_and_the_flags_that_skip_it() {
    let scenario = Scenario::splitting("large_no_split");
    let coll = coll_with_images(&scenario);
    insert(&coll, doc! { "_id": 1 });
    insert(&coll, doc! { "_id": "i".repeat(5 * 1024 * 1024) });
    insert(&coll, doc! { "_id": 2 });
    let refused = watch(&scenario, &[]).run().expect_code(8);
    assert_eq!(briefs(&refused.stdout), ["insert 1"]);
    let fix = "a single field is too large to be split: drop the field with --pipeline; or skip the event, which loses it, with ";
    let flags = flags_in_hint(&refused, fix, "--start '");
    let (flags, and) = flags.split_once(" and ").expect("a second step");
    assert_eq!(
        and,
        "another --resume-file (the event's token is too long for a command line)"
    );
    fs::remove_file(scenario.path("resume.json")).expect("a resume file");
    let skipped = pasted(&scenario, flags, &["--count", "1"]).run();
    assert_eq!(briefs(&skipped.expect_code(0).stdout), ["insert 2"]);
}
