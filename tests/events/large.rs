//! Events near and above the 16 MB that the server can send: each is printed whole, or refused by name, and none is skipped.

use std::fs;
use std::sync::OnceLock;

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

/// The largest document a collection takes.
const LARGEST_DOCUMENT: usize = 16 * 1024 * 1024;

/// What a document of one string field `x` and an int32 `_id` takes beside the string itself: length, both elements, terminator.
const ENVELOPE: usize = 4 + (1 + 4 + 4) + (1 + 2 + 4 + 1) + 1;

/// A string whose document is so large that an event with it twice is not possible.
fn large() -> String {
    "x".repeat(15 * 1024 * 1024)
}

/// On servers that split large events: the shared set where it does.
fn splitting(name: &str) -> Scenario<'static> {
    static OWN: OnceLock<ReplicaSet> = OnceLock::new();
    let binary = MongodBinary::with_split();
    if binary.path == MongodBinary::found().path {
        return Scenario::new(name);
    }
    let own = OWN.get_or_init(|| {
        ReplicaSet::start(Options {
            binary,
            ..Options::default()
        })
    });
    Scenario::on(own, name)
}

/// A watch of collection `c` with both images, always the same position.
fn watch(scenario: &Scenario, arguments: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([scenario.path("position.json")])
        .args(["--full-document", "whenAvailable"])
        .args(["--full-document-before-change", "whenAvailable"])
        .args(arguments)
}

/// Collection `c` with images, and a position that was saved before anything was written to it.
fn coll_with_images(scenario: &Scenario) -> Collection<Document> {
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

fn update(coll: &Collection<Document>, id: impl Into<mongodb::bson::Bson>) {
    let set = doc! { "$set": { "y": 1 } };
    let updated = block_on(coll.update_one(doc! { "_id": id.into() }, set)).expect("an update");
    assert_eq!(updated.modified_count, 1);
}

/// The rest of the one line on stderr that says why it ended, from this word on.
#[track_caller]
fn said_from<'a>(finished: &'a Finished, word: &str) -> &'a str {
    let last = finished.stderr.lines().last().expect("a line on stderr");
    match last.find(word) {
        Some(at) => &last[at..],
        None => panic!("no {word:?} in {last}"),
    }
}

/// A watch with `flags` behind its arguments, as a shell takes them that they were pasted into.
fn pasted(scenario: &Scenario, flags: &str, arguments: &[&str]) -> Cswatch {
    let line = format!("exec \"$0\" \"$@\" {flags}");
    watch(scenario, arguments).through(["sh", "-c", &line])
}

#[test]
fn event_above_16_mb_is_refused_by_name_and_can_be_skipped() {
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::without_split(),
        ..Options::default()
    });
    // An `_id` that fits the server's message, one that is cut there, and one whose token is not only its digits.
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
            "an event is above the 16 MB that the server can send: update of {}.c {shown} at ",
            scenario.db().name()
        );
        assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
        let cure = "; MongoDB 6.0.9 and later can split it; here leave out --full-document and --full-document-before-change, or --pipeline the large field away, or step over it knowingly with --start-after ";
        assert!(refused.stderr.contains(cure), "{}", refused.stderr);

        // Once more, without a flag: the same, and nothing twice.
        let again = watch(&scenario, &[]).run().expect_code(8);
        assert_eq!(again.stdout, [""; 0]);

        let flag = said_from(&refused, "--start-after ");
        let behind = pasted(&scenario, flag, &["--count", "1"])
            .run()
            .expect_code(0);
        assert_eq!(briefs(&behind.stdout), ["insert 4"]);
        // The position has followed: the flag is not needed a second time.
        insert(&coll, doc! { "_id": 5 });
        let next = watch(&scenario, &["--count", "1"]).run().expect_code(0);
        assert_eq!(briefs(&next.stdout), ["insert 5"]);
    }
}

#[test]
fn event_above_16_mb_is_one_line_where_the_server_can_split_it() {
    let scenario = splitting("large_split");
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

    // Behind the large event, and behind the one after it: nothing twice, nothing missing.
    for from in [2, 3] {
        let flags = ["--start-after", &token(&all.stdout[from]), "--count", "1"];
        insert(&coll, doc! { "_id": from as i32 + 2 });
        let next = watch(&scenario, &flags).run().expect_code(0);
        assert_eq!(brief(&next.stdout[0]), ["insert 3", "insert 4"][from - 2]);
    }
    // And by the saved position alone.
    let next = watch(&scenario, &["--count", "1"]).run().expect_code(0);
    assert_eq!(briefs(&next.stdout), ["insert 5"]);
}

/// Only a token from elsewhere stands there: the position moves over whole events.
#[test]
fn start_after_the_first_fragment_prints_the_whole_event() {
    let scenario = splitting("large_fragment");
    let coll = coll_with_images(&scenario);
    insert(&coll, doc! { "_id": 2, "x": large() });
    update(&coll, 2);
    insert(&coll, doc! { "_id": 3 });
    let all = watch(&scenario, &["--count", "3"]).run().expect_code(0);
    // Fragments of one event differ in the last number of their tokens.
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
fn document_that_makes_its_update_too_large_is_looked_up_and_split() {
    let scenario = splitting("large_lookup");
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
fn largest_document_and_an_id_of_1_mb_are_printed() {
    let scenario = Scenario::new("largest");
    let coll = scenario.coll("c");
    let mut running = scenario.cswatch(["--coll", "c"]).spawn();
    running.wait_open();
    let x = "x".repeat(LARGEST_DOCUMENT - ENVELOPE);
    insert(&coll, doc! { "_id": 1, "x": &x });
    let id = "i".repeat(1024 * 1024);
    insert(&coll, doc! { "_id": &id });
    let largest = running.next_event();
    assert_eq!(largest["fullDocument"]["x"], x);
    assert_eq!(running.next_event()["documentKey"]["_id"], id);
    // A token of 2 MB is saved, and resumed from.
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    insert(&coll, doc! { "_id": 3 });
    let next = scenario.cswatch(["--coll", "c", "--count", "1"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), ["insert 3"]);
}

/// Token and document key are in each fragment.
#[test]
fn event_that_no_server_can_split_is_refused_and_can_be_skipped() {
    let scenario = splitting("large_no_split");
    let coll = coll_with_images(&scenario);
    insert(&coll, doc! { "_id": 1 });
    insert(&coll, doc! { "_id": "i".repeat(5 * 1024 * 1024) });
    insert(&coll, doc! { "_id": 2 });
    let refused = watch(&scenario, &[]).run().expect_code(8);
    assert_eq!(briefs(&refused.stdout), ["insert 1"]);
    let cure = "; it cannot be split, for one of its fields is too large by itself: --pipeline that field away, or step over it knowingly with --start '";
    assert!(refused.stderr.contains(cure), "{}", refused.stderr);
    let flag = said_from(&refused, "--start '");
    let (flag, and) = flag.split_once(" and ").expect("what else to do");
    assert_eq!(
        and,
        "a new --resume-file (its token is too long for a command line)"
    );
    fs::remove_file(scenario.path("position.json")).expect("a position file");
    let behind = pasted(&scenario, flag, &["--count", "1"]).run();
    assert_eq!(briefs(&behind.expect_code(0).stdout), ["insert 2"]);
}
