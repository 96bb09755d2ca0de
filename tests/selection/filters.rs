//! `--op`, `--match`, `--id` and `--pipeline` on a real server, alone and combined.

use std::fs;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::{Value, json};

use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// A collection and the changes made to it.
pub(super) struct History {
    pub(super) scenario: Scenario<'static>,
    reference: Reference,
}

impl History {
    /// Inserts these documents into a new collection.
    #[track_caller]
    pub(super) fn of_inserts(name: &str, documents: impl IntoIterator<Item = Document>) -> History {
        let scenario = Scenario::new(name);
        let reference = Reference::open(scenario.coll("c").watch());
        block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
        History {
            scenario,
            reference,
        }
    }

    /// Inserts, updates, replaces and deletes a document with `_id` 1.
    #[track_caller]
    fn of_each_write(name: &str) -> History {
        let history = History::of_inserts(name, [doc! { "_id": 1, "n": 1 }]);
        let collection = history.scenario.coll("c");
        let id = || doc! { "_id": 1 };
        block_on(async {
            collection
                .update_one(id(), doc! { "$set": { "n": 2 } })
                .await?;
            collection.replace_one(id(), doc! { "n": 3 }).await?;
            collection.delete_one(id()).await
        })
        .expect("an update, a replace and a delete");
        history
    }

    /// Returns the events that are printed with these arguments, parsed.
    #[track_caller]
    pub(super) fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let finished = self
            .scenario
            .catch_up(&self.reference, ["--coll", "c"])
            .args(arguments)
            .run()
            .expect_code(0);
        finished.events()
    }

    /// Returns the operation types of the events that are printed with these arguments.
    #[track_caller]
    fn kinds(&self, arguments: &[&str]) -> Vec<String> {
        let events = self.events(arguments).into_iter();
        events
            .map(|event| {
                event["operationType"]
                    .as_str()
                    .expect("an operation type")
                    .to_owned()
            })
            .collect()
    }

    /// Returns the `name`s of the inserted documents that are printed with these arguments.
    #[track_caller]
    fn names(&self, arguments: &[&str]) -> Vec<String> {
        let events = self.events(arguments).into_iter();
        events
            .map(|event| {
                event["fullDocument"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned()
            })
            .collect()
    }
}

#[test]
fn selects_operation_types_with_op() {
    let history = History::of_each_write("filter_op");
    let kinds = |arguments: &[&str]| history.kinds(arguments);
    assert_eq!(kinds(&[]), ["insert", "update", "replace", "delete"]);
    assert_eq!(kinds(&["--op", "update"]), ["update"]);
    assert_eq!(kinds(&["--op", "delete,insert"]), ["insert", "delete"]);
    let several = ["--op", "replace", "--op", "delete,insert"];
    assert_eq!(kinds(&several), ["insert", "replace", "delete"]);
    assert_eq!(kinds(&["--op", "drop"]), [""; 0]);
}

#[test]
fn selects_the_events_that_match_every_query() {
    let documents = (1..=6).map(|n| doc! { "name": n.to_string(), "n": n, "even": n % 2 == 0 });
    let history = History::of_inserts("filter_match", documents);
    let above = r#"{"fullDocument.n":{"$gt":2}}"#;
    let even = r#"{"fullDocument.even":true}"#;
    let not_six = r#"{"$nor":[{"fullDocument.name":{"$regex":"^6$"}}]}"#;
    assert_eq!(history.names(&["--match", above]), ["3", "4", "5", "6"]);
    let two = ["--match", above, "--match", even];
    assert_eq!(history.names(&two), ["4", "6"]);
    let three = ["--match", above, "--match", even, "--match", not_six];
    assert_eq!(history.names(&three), ["4"]);
}

#[test]
fn compares_sub_documents_with_the_order_of_their_keys() {
    let documents = [
        doc! { "name": "b first", "sub": { "b": 1, "a": 2 } },
        doc! { "name": "a first", "sub": { "a": 2, "b": 1 } },
    ];
    let history = History::of_inserts("filter_key_order", documents);
    let b_first = r#"{"fullDocument.sub":{"b":1,"a":2}}"#;
    assert_eq!(history.names(&["--match", b_first]), ["b first"]);
    let a_first = r#"{"fullDocument.sub":{"a":2,"b":1}}"#;
    assert_eq!(history.names(&["--match", a_first]), ["a first"]);
}

#[test]
fn compares_values_with_their_extended_json_types() {
    let id = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").expect("an ObjectId");
    let date = DateTime::parse_rfc3339_str("2026-01-31T12:00:00.5Z").expect("a date");
    let uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
    let values: [(&str, Bson); 9] = [
        ("int", 5.into()),
        ("string", "5".into()),
        ("oid", id.into()),
        ("oid as a string", id.to_hex().into()),
        ("date", date.into()),
        ("date as a number", date.timestamp_millis().into()),
        (
            "uuid",
            mongodb::bson::Uuid::parse_str(uuid).expect("a UUID").into(),
        ),
        ("uuid as a string", uuid.into()),
        ("null", Bson::Null),
    ];
    let documents = values.map(|(name, value)| doc! { "name": name, "v": value });
    let history = History::of_inserts("filter_types", documents);
    for (value, names) in [
        (r#"5"#, &["int"][..]),
        (r#"{"$numberLong":"5"}"#, &["int"]),
        (r#"{"$numberInt":"5"}"#, &["int"]),
        (r#"{"$numberDouble":"5.0"}"#, &["int"]),
        (r#"{"$numberDecimal":"5"}"#, &["int"]),
        (r#""5""#, &["string"]),
        (r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#, &["oid"]),
        (r#"{"$date":"2026-01-31T12:00:00.5Z"}"#, &["date"]),
        (r#"{"$date":{"$numberLong":"1769860800500"}}"#, &["date"]),
        (
            r#"{"$uuid":"0f0e0d0c-0b0a-0908-0706-050403020100"}"#,
            &["uuid"],
        ),
        (
            r#"{"$binary":{"base64":"Dw4NDAsKCQgHBgUEAwIBAA==","subType":"04"}}"#,
            &["uuid"],
        ),
        (
            r#"{"$regularExpression":{"pattern":"^UUID AS","options":"i"}}"#,
            &[],
        ),
        (
            r#"{"$regularExpression":{"pattern":"^0F0E","options":"i"}}"#,
            &["uuid as a string"],
        ),
        (r#"null"#, &["null"]),
        (r#"{"$in":[5,null]}"#, &["int", "null"]),
    ] {
        let query = format!(r#"{{"fullDocument.v":{value}}}"#);
        assert_eq!(history.names(&["--match", &query]), names, "{value}");
    }
}

#[test]
fn selects_documents_by_ids_of_every_type() {
    let oid = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").expect("an ObjectId");
    let ids: [(&str, Bson); 7] = [
        ("int", 7.into()),
        ("string", "7".into()),
        ("oid", oid.into()),
        ("oid as a string", oid.to_hex().into()),
        ("sub-document", doc! { "b": 1, "a": "x" }.into()),
        ("reversed sub-document", doc! { "a": "x", "b": 1 }.into()),
        ("null", Bson::Null),
    ];
    let documents = ids.map(|(name, id)| doc! { "_id": id, "name": name });
    let history = History::of_inserts("filter_id", documents);
    for (ids, names) in [
        (&["7"][..], &["int"][..]),
        (&[r#"{"$numberLong":"7"}"#], &["int"]),
        (&[r#""7""#], &["string"]),
        (&[r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#], &["oid"]),
        (&[r#"{"b":1,"a":"x"}"#], &["sub-document"]),
        (&["null"], &["null"]),
        (&["8"], &[]),
        (&["-7"], &[]),
        (
            &["7", r#""7""#, r#"{"a":"x","b":1}"#],
            &["int", "string", "reversed sub-document"],
        ),
    ] {
        let arguments: Vec<&str> = ids.iter().flat_map(|id| ["--id", *id]).collect();
        assert_eq!(history.names(&arguments), names, "{ids:?}");
    }
}

#[test]
fn selects_every_event_of_a_document_by_its_id() {
    let history = History::of_each_write("filter_id_events");
    let all = ["insert", "update", "replace", "delete"];
    assert_eq!(history.kinds(&["--id", "1"]), all);
    assert_eq!(history.kinds(&["--id", "2", "--id", "1"]), all);
    assert_eq!(history.kinds(&["--id", "2"]), [""; 0]);
}

#[test]
fn runs_every_stage_that_a_change_stream_allows() {
    let document =
        doc! { "_id": 1, "name": "one", "secret": "s", "sub": { "secret": "t", "n": 1 } };
    let history = History::of_inserts("filter_stages", [document]);
    let whole = history.events(&[]).remove(0);
    let one = |pipeline: &str| {
        let mut events = history.events(&["--pipeline", pipeline]);
        assert_eq!(events.len(), 1, "{pipeline}");
        events.remove(0)
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = whole.clone();
        change(&mut changed);
        changed
    };
    let keys = |event: &Value| -> Vec<String> {
        let fields = event.as_object().expect("an event is an object");
        fields.keys().cloned().collect()
    };

    assert_eq!(one("[]"), whole);
    assert_eq!(one(r#"[{"$match":{"fullDocument.name":"one"}}]"#), whole);
    assert_eq!(
        history.events(&["--pipeline", r#"[{"$match":{"x":1}}]"#]),
        [] as [Value; 0]
    );
    let projected = one(r#"[{"$project":{"fullDocument.name":1,"operationType":1}}]"#);
    let expected = json!({
        "_id": whole["_id"],
        "operationType": "insert",
        "fullDocument": { "name": "one" },
    });
    assert_eq!(projected, expected);
    assert_eq!(keys(&projected), ["_id", "operationType", "fullDocument"]);
    let without_secret = with(&|event| {
        let document = event["fullDocument"].as_object_mut();
        document.expect("a document").shift_remove("secret");
    });
    let pipeline = r#"[{"$unset":"fullDocument.secret"}]"#;
    assert_eq!(one(pipeline), without_secret);
    assert_eq!(
        one(r#"[{"$project":{"fullDocument.secret":0}}]"#),
        without_secret
    );
    for stage in ["$addFields", "$set"] {
        let pipeline = format!(
            r#"[{{"{stage}":{{"seen":{{"$numberLong":"1"}},"name":"$fullDocument.name"}}}}]"#
        );
        let event = one(&pipeline);
        let expected = with(&|event| {
            event["seen"] = json!({ "$numberLong": "1" });
            event["name"] = json!("one");
        });
        assert_eq!(event, expected, "{stage}");
        assert_eq!(keys(&event), keys(&expected), "{stage}");
    }
    let root = r#"{"_id":"$_id","author":"$fullDocument.name"}"#;
    let expected = json!({ "_id": whole["_id"], "author": "one" });
    assert_eq!(one(&format!(r#"[{{"$replaceWith":{root}}}]"#)), expected);
    let replace_root = format!(r#"[{{"$replaceRoot":{{"newRoot":{root}}}}}]"#);
    assert_eq!(one(&replace_root), expected);
    let redact = r#"[{"$redact":{"$cond":[{"$eq":["$secret","t"]},"$$PRUNE","$$DESCEND"]}}]"#;
    let pruned = with(&|event| {
        let document = event["fullDocument"].as_object_mut();
        document.expect("a document").shift_remove("sub");
    });
    assert_eq!(one(redact), pruned);
}

#[test]
fn reads_the_pipeline_from_a_file() {
    let documents = (1..=3).map(|n| doc! { "name": n.to_string(), "n": n });
    let history = History::of_inserts("filter_file", documents);
    let file = history.scenario.path("pipeline.json");
    let stages = "[\n  {\"$match\": {\"fullDocument.n\": {\"$gte\": 2}}},\n\
                  \t{\"$unset\": [\"fullDocument.n\", \"ns\"]}\n]\n";
    fs::write(&file, stages).expect("a file can be written");
    let argument = format!("@{}", file.display());
    let events = history.events(&["--pipeline", &argument]);
    assert_eq!(events.len(), 2);
    for (event, name) in events.iter().zip(["2", "3"]) {
        let document = event["fullDocument"].as_object().expect("a document");
        assert_eq!(document["name"], name);
        assert_eq!(document.get("n"), None);
        assert_eq!(event.get("ns"), None);
    }
}

#[test]
fn combines_all_filters_and_runs_the_pipeline_last() {
    let history = History::of_each_write("filter_together");
    let collection = history.scenario.coll("c");
    block_on(collection.insert_one(doc! { "_id": 2, "n": 1 })).expect("an insert");
    let arguments = [
        "--op",
        "insert,replace,delete",
        "--id",
        "1",
        "--match",
        r#"{"operationType":{"$ne":"delete"}}"#,
        "--match",
        r#"{"fullDocument.n":{"$gte":1}}"#,
        "--pipeline",
        r#"[{"$set":{"fullDocument.n":0}},{"$project":{"operationType":1,"fullDocument":1}}]"#,
    ];
    let events = history.events(&arguments);
    let kinds: Vec<_> = events.iter().map(|event| &event["operationType"]).collect();
    assert_eq!(kinds, ["insert", "replace"]);
    for event in &events {
        let expected = json!({ "_id": { "$numberInt": "1" }, "n": { "$numberInt": "0" } });
        assert_eq!(event["fullDocument"], expected);
    }
}

#[test]
fn refuses_a_pipeline_at_the_first_event_without_its_id() {
    // cswatch cannot detect before that the document lacks the _id of the event.
    for pipeline in [
        r#"[{"$replaceWith":{"$mergeObjects":["$fullDocument",{"x":1}]}}]"#,
        r#"[{"$replaceRoot":{"newRoot":{"$mergeObjects":["$fullDocument"]}}}]"#,
    ] {
        let history = History::of_each_write("filter_drops_the_id");
        let watch =
            history
                .scenario
                .cswatch(["--coll", "c", "--no-resume", "--pipeline", pipeline]);
        let finished = watch.args(history.reference.start()).run().expect_code(8);
        assert_eq!(finished.stdout, [""; 0]);
        let hint = "the pipeline drops or changes _id, which is the event's resume token; keep it as the server sent it";
        finished.expect_error("the server refuses the stream: ", hint);
    }
}

#[test]
fn reports_the_servers_reason_for_refusing_a_query() {
    let scenario = Scenario::new("filter_unknown_operator");
    let query = r#"{"a":{"$gtt":1}}"#;
    scenario
        .cswatch(["--coll", "c", "--no-resume", "--match", query])
        .run()
        .expect_failure(
            8,
            "the server refuses the stream: unknown operator: $gtt (BadValue, code 2)",
            "--explain prints the command that was sent",
        );
}
