//! `--full-document` and `--full-document-before-change`: what events carry of the document beside
//! the change, each line compared with the driver's event of the same options.

use mongodb::bson::doc;
use mongodb::options::{FullDocumentBeforeChangeType, FullDocumentType};
use serde_json::{Value, json};

use testkit::reference::{Reference, line};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// An insert, two updates, a replace and a delete of one document, without stored images or with.
struct Life {
    scenario: Scenario<'static>,
    /// From before them.
    reference: Reference,
}

/// Whether the collection stores images.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Yes,
    No,
}

impl Life {
    #[track_caller]
    fn new(name: &str, stored: Stored) -> Life {
        let scenario = Scenario::new(name);
        let create = doc! {
            "create": "c",
            "changeStreamPreAndPostImages": { "enabled": stored == Stored::Yes },
        };
        block_on(scenario.db().run_command(create)).expect("a collection");
        let reference = Reference::open(scenario.coll("c").watch());
        let collection = scenario.coll("c");
        let id = || doc! { "_id": 1 };
        let set = |v: i32| doc! { "$set": { "v": v } };
        block_on(async {
            collection.insert_one(doc! { "_id": 1, "v": 1 }).await?;
            collection.update_one(id(), set(2)).await?;
            collection.update_one(id(), set(3)).await?;
            collection.replace_one(id(), doc! { "v": 4 }).await?;
            collection.delete_one(id()).await
        })
        .expect("five writes");
        Life {
            scenario,
            reference,
        }
    }

    /// What `cswatch` prints of it with these arguments: the same as the driver with these options.
    #[track_caller]
    fn events(
        &self,
        arguments: &[&str],
        after: Option<FullDocumentType>,
        before: Option<FullDocumentBeforeChangeType>,
    ) -> Vec<Value> {
        let collection = self.scenario.coll("c");
        let mut watch = collection.watch().start_after(self.reference.token());
        if let Some(after) = after {
            watch = watch.full_document(after);
        }
        if let Some(before) = before {
            watch = watch.full_document_before_change(before);
        }
        let mut reference = Reference::open(watch);
        let expected: Vec<String> = reference.take(5).iter().map(|event| line(event)).collect();
        let finished = self
            .scenario
            .catch_up(&self.reference, ["--coll", "c"])
            .args(arguments)
            .run()
            .expect_code(0);
        assert_eq!(finished.stdout, expected);
        finished.events()
    }
}

/// The field `name` of each event: `v` of the document in it, null, or nothing at all.
fn versions(events: &[Value], name: &str) -> Vec<Option<Value>> {
    let field = |event: &Value| {
        let document = event.get(name)?;
        let version = document.get("v").map(|v| v["$numberInt"].clone());
        Some(version.unwrap_or_else(|| document.clone()))
    };
    events.iter().map(field).collect()
}

/// A document that is there in this version.
fn v(version: i32) -> Option<Value> {
    Some(json!(version.to_string()))
}

const AFTER: &str = "fullDocument";
const BEFORE: &str = "fullDocumentBeforeChange";

/// Null in place of a document.
const NULL: Option<Value> = Some(Value::Null);

#[test]
fn without_a_mode_updates_carry_what_changed_alone() {
    let life = Life::new("images_default", Stored::Yes);
    for arguments in [
        &[][..],
        &[
            "--full-document",
            "default",
            "--full-document-before-change",
            "off",
        ],
    ] {
        let events = life.events(arguments, None, None);
        assert_eq!(versions(&events, AFTER), [v(1), None, None, v(4), None]);
        assert_eq!(versions(&events, BEFORE), [None, None, None, None, None]);
    }
}

#[test]
fn update_lookup_carries_the_document_as_it_is_when_the_event_is_read() {
    let life = Life::new("images_lookup", Stored::No);
    let lookup = ["--full-document", "updateLookup"];
    let events = life.events(&lookup, Some(FullDocumentType::UpdateLookup), None);
    // The document is gone by now.
    assert_eq!(versions(&events, AFTER), [v(1), NULL, NULL, v(4), None]);
    let collection = life.scenario.coll("c");
    block_on(collection.insert_one(doc! { "_id": 1, "v": 9 })).expect("an insert");
    let finished = life
        .scenario
        .catch_up(&life.reference, ["--coll", "c"])
        .args(lookup)
        .run()
        .expect_code(0);
    let events = finished.events();
    let expected = [v(1), v(9), v(9), v(4), None, v(9)];
    assert_eq!(versions(&events, AFTER), expected);
}

#[test]
fn post_images_carry_the_document_as_it_was_after_each_change() {
    let life = Life::new("images_post", Stored::Yes);
    for (mode, of_driver) in [
        ("whenAvailable", FullDocumentType::WhenAvailable),
        ("required", FullDocumentType::Required),
    ] {
        let events = life.events(&["--full-document", mode], Some(of_driver), None);
        assert_eq!(
            versions(&events, AFTER),
            [v(1), v(2), v(3), v(4), None],
            "{mode}"
        );
    }
}

#[test]
fn pre_images_carry_the_document_as_it_was_before_each_change() {
    let life = Life::new("images_pre", Stored::Yes);
    for (mode, of_driver) in [
        ("whenAvailable", FullDocumentBeforeChangeType::WhenAvailable),
        ("required", FullDocumentBeforeChangeType::Required),
    ] {
        let events = life.events(
            &["--full-document-before-change", mode],
            None,
            Some(of_driver),
        );
        assert_eq!(
            versions(&events, BEFORE),
            [None, v(1), v(2), v(3), v(4)],
            "{mode}"
        );
    }
}

#[test]
fn both_images_come_together() {
    let life = Life::new("images_both", Stored::Yes);
    let arguments = [
        "--full-document",
        "required",
        "--full-document-before-change",
        "required",
    ];
    let after = FullDocumentType::Required;
    let before = FullDocumentBeforeChangeType::Required;
    let events = life.events(&arguments, Some(after), Some(before));
    assert_eq!(versions(&events, AFTER), [v(1), v(2), v(3), v(4), None]);
    assert_eq!(versions(&events, BEFORE), [None, v(1), v(2), v(3), v(4)]);
}

#[test]
fn images_that_are_not_stored_are_null_where_they_need_not_be_available() {
    let life = Life::new("images_none", Stored::No);
    let arguments = [
        "--full-document",
        "whenAvailable",
        "--full-document-before-change",
        "whenAvailable",
    ];
    let after = FullDocumentType::WhenAvailable;
    let before = FullDocumentBeforeChangeType::WhenAvailable;
    let events = life.events(&arguments, Some(after), Some(before));
    assert_eq!(versions(&events, AFTER), [v(1), NULL, NULL, v(4), None]);
    assert_eq!(versions(&events, BEFORE), [None, NULL, NULL, NULL, NULL]);
}

#[test]
fn images_that_are_required_and_not_stored_end_the_watch_with_the_way_to_store_them() {
    let life = Life::new("images_required", Stored::No);
    for flag in ["--full-document", "--full-document-before-change"] {
        let finished = life
            .scenario
            .catch_up(&life.reference, ["--coll", "c", flag, "required"])
            .run()
            .expect_code(8);
        // An insert needs no image; the update behind it does.
        assert_eq!(finished.stdout.len(), 1, "{flag}");
        assert!(
            finished.stdout[0].contains(r#""operationType":"insert""#),
            "{flag}"
        );
        let way_out = "collMod with changeStreamPreAndPostImages: {enabled: true}, \
                       or use whenAvailable instead of required \
                       (and --resume-file: the default position is of these options alone)";
        assert!(finished.stderr.contains(way_out), "{}", finished.stderr);
    }
}

#[test]
fn images_that_are_required_come_once_the_way_out_was_taken() {
    let scenario = Scenario::new("images_switched_on");
    let collection = scenario.coll("c");
    let update = |v: i32| {
        let set = doc! { "$set": { "v": v } };
        block_on(collection.update_one(doc! { "_id": 1 }, set)).expect("an update");
    };
    block_on(collection.insert_one(doc! { "_id": 1, "v": 1 })).expect("an insert");
    let file = scenario.path("position");
    let file = file.to_str().expect("a path of ASCII");
    let watch = |mode: &str| {
        scenario.cswatch([
            "--coll",
            "c",
            "--resume-file",
            file,
            "--full-document",
            mode,
        ])
    };
    let mut cswatch = watch("required").spawn();
    cswatch.wait_open();
    update(2);
    let finished = cswatch.wait().expect_code(8);
    assert_eq!(finished.stdout, [""; 0]);

    let enabled = doc! { "enabled": true };
    let modify = doc! { "collMod": "c", "changeStreamPreAndPostImages": enabled };
    block_on(scenario.db().run_command(modify)).expect("collMod");
    update(3);
    // The update before has no image and never will; the position stands before it.
    let finished = watch("required").run().expect_code(8);
    assert_eq!(finished.stdout, [""; 0]);
    let finished = watch("whenAvailable").args(["--count", "2"]).run();
    let finished = finished.expect_code(0);
    let events = finished.events();
    assert_eq!(versions(&events, AFTER), [NULL, v(3)]);
    update(4);
    let finished = watch("required").args(["--count", "1"]).run();
    let finished = finished.expect_code(0);
    let event: Value = serde_json::from_str(&finished.stdout[0]).expect("a line is JSON");
    assert_eq!(versions(&[event], AFTER), [v(4)]);
}
