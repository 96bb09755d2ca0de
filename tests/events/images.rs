//! `--full-document` and `--full-document-before-change`: the documents that events include in addition to the change. Each line is
//! compared with the driver's event with the same options.

use mongodb::bson::doc;
use mongodb::options::{FullDocumentBeforeChangeType, FullDocumentType};
use serde_json::{Value, json};

use testkit::reference::{Reference, line};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// An insert, two updates, a replace and a delete of one document, with or without stored images.
struct Lifecycle {
    scenario: Scenario<'static>,
    /// Opened before the writes.
    reference: Reference,
}

/// Whether the collection stores images.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Yes,
    No,
}

impl Lifecycle {
    #[track_caller]
    fn new(name: &str, stored: Stored) -> Lifecycle {
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
        Lifecycle {
            scenario,
            reference,
        }
    }

    /// Returns the events that `cswatch` prints with these arguments. Fails unless they are those of the driver with these options.
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

/// Returns for each event the version `v` of the document in its field `name`; null if the field is null, and `None` without the field.
fn versions(events: &[Value], name: &str) -> Vec<Option<Value>> {
    let field = |event: &Value| {
        let document = event.get(name)?;
        let version = document.get("v").map(|v| v["$numberInt"].clone());
        Some(version.unwrap_or_else(|| document.clone()))
    };
    events.iter().map(field).collect()
}

/// Returns what [`versions`] returns for a document of this version.
fn v(version: i32) -> Option<Value> {
    Some(json!(version.to_string()))
}

const AFTER: &str = "fullDocument";
const BEFORE: &str = "fullDocumentBeforeChange";

/// What [`versions`] returns for null in place of a document.
const NULL: Option<Value> = Some(Value::Null);

#[test]
fn includes_only_the_changed_fields_in_updates_by_default() {
    let lifecycle = Lifecycle::new("images_default", Stored::Yes);
    for arguments in [
        &[][..],
        &[
            "--full-document",
            "default",
            "--full-document-before-change",
            "off",
        ],
    ] {
        let events = lifecycle.events(arguments, None, None);
        assert_eq!(versions(&events, AFTER), [v(1), None, None, v(4), None]);
        assert_eq!(versions(&events, BEFORE), [None, None, None, None, None]);
    }
}

#[test]
fn includes_the_current_document_with_update_lookup() {
    let lifecycle = Lifecycle::new("images_lookup", Stored::No);
    let lookup = ["--full-document", "updateLookup"];
    let events = lifecycle.events(&lookup, Some(FullDocumentType::UpdateLookup), None);
    // The document is deleted by now.
    assert_eq!(versions(&events, AFTER), [v(1), NULL, NULL, v(4), None]);
    let collection = lifecycle.scenario.coll("c");
    block_on(collection.insert_one(doc! { "_id": 1, "v": 9 })).expect("an insert");
    let finished = lifecycle
        .scenario
        .catch_up(&lifecycle.reference, ["--coll", "c"])
        .args(lookup)
        .run()
        .expect_code(0);
    let events = finished.events();
    let expected = [v(1), v(9), v(9), v(4), None, v(9)];
    assert_eq!(versions(&events, AFTER), expected);
}

#[test]
fn includes_the_post_image_of_each_change() {
    let lifecycle = Lifecycle::new("images_post", Stored::Yes);
    for (mode, of_driver) in [
        ("whenAvailable", FullDocumentType::WhenAvailable),
        ("required", FullDocumentType::Required),
    ] {
        let events = lifecycle.events(&["--full-document", mode], Some(of_driver), None);
        assert_eq!(
            versions(&events, AFTER),
            [v(1), v(2), v(3), v(4), None],
            "{mode}"
        );
    }
}

#[test]
fn includes_the_pre_image_of_each_change() {
    let lifecycle = Lifecycle::new("images_pre", Stored::Yes);
    for (mode, of_driver) in [
        ("whenAvailable", FullDocumentBeforeChangeType::WhenAvailable),
        ("required", FullDocumentBeforeChangeType::Required),
    ] {
        let events = lifecycle.events(
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
fn includes_both_images() {
    let lifecycle = Lifecycle::new("images_both", Stored::Yes);
    let arguments = [
        "--full-document",
        "required",
        "--full-document-before-change",
        "required",
    ];
    let after = FullDocumentType::Required;
    let before = FullDocumentBeforeChangeType::Required;
    let events = lifecycle.events(&arguments, Some(after), Some(before));
    assert_eq!(versions(&events, AFTER), [v(1), v(2), v(3), v(4), None]);
    assert_eq!(versions(&events, BEFORE), [None, v(1), v(2), v(3), v(4)]);
}

#[test]
fn prints_null_for_images_that_are_not_stored_with_when_available() {
    let lifecycle = Lifecycle::new("images_none", Stored::No);
    let arguments = [
        "--full-document",
        "whenAvailable",
        "--full-document-before-change",
        "whenAvailable",
    ];
    let after = FullDocumentType::WhenAvailable;
    let before = FullDocumentBeforeChangeType::WhenAvailable;
    let events = lifecycle.events(&arguments, Some(after), Some(before));
    assert_eq!(versions(&events, AFTER), [v(1), NULL, NULL, v(4), None]);
    assert_eq!(versions(&events, BEFORE), [None, NULL, NULL, NULL, NULL]);
}

#[test]
fn exits_with_8_for_required_images_that_are_not_stored() {
    let lifecycle = Lifecycle::new("images_required", Stored::No);
    for flag in ["--full-document", "--full-document-before-change"] {
        let finished = lifecycle
            .scenario
            .catch_up(&lifecycle.reference, ["--coll", "c", flag, "required"])
            .run()
            .expect_code(8);
        // An insert needs no image; the update after it does.
        assert_eq!(finished.stdout.len(), 1, "{flag}");
        assert!(
            finished.stdout[0].contains(r#""operationType":"insert""#),
            "{flag}"
        );
        let hint = format!(
            "the collection keeps no pre- or post-images, or they expired: use whenAvailable instead of required, \
             or in mongosh: db.getSiblingDB(\"{}\").runCommand({{ collMod: \"c\", changeStreamPreAndPostImages: {{ enabled: true }} }})",
            lifecycle.scenario.db().name()
        );
        finished.expect_error("the server refuses the stream: ", &hint);
    }
}

#[test]
fn prints_required_images_after_the_fix_that_the_hint_names() {
    let scenario = Scenario::new("images_enabled_later");
    let collection = scenario.coll("c");
    let update = |v: i32| {
        let set = doc! { "$set": { "v": v } };
        block_on(collection.update_one(doc! { "_id": 1 }, set)).expect("an update");
    };
    block_on(collection.insert_one(doc! { "_id": 1, "v": 1 })).expect("an insert");
    let file = scenario.path("resume.json");
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
    // The first update has no image and never will; the checkpoint is before it.
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
