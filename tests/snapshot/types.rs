//! Documents with any `_id`, in collections of any kind, of any size: each one is printed once, in the order of the server's index.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use bson::RawDocumentBuf;
use futures::future::ready;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Timestamp, doc,
};

use testkit::events::briefs;
use testkit::reference::line;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{DUMP, dump, fill};

/// The largest document that a client may insert, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// Returns at least one `_id` of every BSON type that an `_id` may have. Arrays, regular expressions and undefined are not allowed.
fn ids() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| Binary {
        subtype,
        bytes: bytes.to_vec(),
    };
    let decimal = |text: &str| -> Bson { text.parse::<Decimal128>().expect("a decimal").into() };
    let mut ids = vec![
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Null,
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::ObjectId(ObjectId::from_bytes([7; 12])),
        Bson::DateTime(DateTime::from_millis(0)),
        Bson::DateTime(DateTime::from_millis(i64::MIN)),
        Bson::DateTime(DateTime::from_millis(i64::MAX)),
        Bson::Timestamp(Timestamp {
            time: 1,
            increment: 1,
        }),
        Bson::Timestamp(Timestamp {
            time: u32::MAX,
            increment: u32::MAX,
        }),
        Bson::Symbol("symbol".to_owned()),
        Bson::JavaScriptCode("function() {}".to_owned()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "x".to_owned(),
            scope: doc! { "x": 1 },
        }),
    ];
    ids.extend(
        [
            f64::NAN,
            f64::NEG_INFINITY,
            f64::INFINITY,
            -0.0,
            0.5,
            12345.678,
        ]
        .map(Bson::Double),
    );
    ids.extend([i32::MIN, 1, i32::MAX].map(Bson::Int32));
    ids.extend([i64::MIN, (1 << 53) + 1, i64::MAX].map(Bson::Int64));
    ids.extend(
        [
            "1E-6176",
            "-1E+6144",
            "0.1",
            "9.999999999999999999999999999999999E+6144",
        ]
        .map(decimal),
    );
    ids.extend(["", "a", "ä", "\0", "a\0b", "$a.b", "\u{10ffff}"].map(Bson::from));
    ids.extend([
        binary(BinarySubtype::Generic, b"").into(),
        binary(BinarySubtype::Generic, b"a").into(),
        binary(BinarySubtype::Uuid, &[9; 16]).into(),
        binary(BinarySubtype::Md5, &[9; 16]).into(),
        binary(BinarySubtype::UserDefined(0x80), b"ab").into(),
    ]);
    ids.extend([
        doc! {}.into(),
        doc! { "a": 1 }.into(),
        doc! { "a": [1, { "b": Bson::MaxKey }], "": Bson::Null }.into(),
        doc! { "a": Bson::MinKey }.into(),
        doc! { "a": Bson::RegularExpression(mongodb::bson::Regex { pattern: "x".try_into().expect("a pattern"), options: "i".try_into().expect("options") }) }.into(),
    ]);
    ids
}

/// Returns the keys that the server has, in the order of its index, as canonical Extended JSON.
#[track_caller]
fn keys(scenario: &Scenario<'_>, coll: &str) -> Vec<String> {
    let coll = scenario.db().collection::<RawDocumentBuf>(coll);
    let found: Vec<RawDocumentBuf> = block_on(async {
        let find = coll
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .projection(doc! { "_id": 1 });
        find.await?.try_collect().await
    })
    .expect("a find");
    found.iter().map(|key| line(key)).collect()
}

/// Returns the keys of the lines of a snapshot.
#[track_caller]
fn printed_keys(lines: &[String]) -> Vec<String> {
    let key = |line: &String| {
        let (_, rest) = line.split_once(r#""documentKey":"#).expect("a key");
        rest.strip_suffix('}').expect("the last field").to_owned()
    };
    lines.iter().map(key).collect()
}

/// Fails unless a dump of each collection, with and without a filter, prints all of its documents in the order of the index.
#[track_caller]
fn expect_complete(scenario: &Scenario<'_>, coll: &str) {
    let expected = keys(scenario, coll);
    for filter in [
        &[][..],
        &["--match", "{fullDocument: {$exists: true}}"],
        &["--pipeline", "[{$addFields: {x: 1}}]"],
    ] {
        for batch_size in ["1", "2", "1000"] {
            let arguments = [&["--coll", coll, "--batch-size", batch_size], filter].concat();
            let lines = dump(scenario, &arguments).run().expect_code(0).stdout;
            let printed: Vec<String> = match filter {
                ["--pipeline", _] => lines
                    .iter()
                    .map(|line| line.replacen(r#","x":{"$numberInt":"1"}}"#, "}", 1))
                    .collect(),
                _ => lines,
            };
            assert_eq!(printed_keys(&printed), expected, "{coll} {arguments:?}");
        }
    }
}

#[test]
fn prints_an_id_of_every_type_in_the_order_of_the_index() {
    let scenario = Scenario::new("snapshot_types");
    let coll = scenario.coll("c");
    for id in ids() {
        let shown = format!("{id:?}");
        if let Err(error) = block_on(coll.insert_one(doc! { "_id": id })) {
            panic!("{shown}: {error}");
        }
    }
    expect_complete(&scenario, "c");
}

/// Inserts one document for each type of `_id`, and returns their keys in the order of the index.
#[track_caller]
fn one_of_each_type(scenario: &Scenario<'_>) -> Vec<String> {
    let mut types = Vec::new();
    let mut ids = ids();
    ids.retain(|id| {
        let is_new = !types.contains(&id.element_type());
        types.push(id.element_type());
        is_new
    });
    let documents = ids.into_iter().map(|id| doc! { "_id": id });
    block_on(scenario.coll("c").insert_many(documents)).expect("an insert");
    keys(scenario, "c")
}

#[test]
fn resumes_after_an_id_of_every_type() {
    let scenario = Scenario::new("snapshot_types_resumed");
    let expected = one_of_each_type(&scenario);
    let mut lines = Vec::new();
    // One document per run: the checkpoint holds each _id in turn.
    for _ in 0..=expected.len() {
        let run = scenario
            .watch(&["--count", "1"])
            .args(DUMP)
            .run()
            .expect_code(0);
        lines.extend(run.stdout);
    }
    assert_eq!(printed_keys(&lines), expected);
}

#[test]
fn resumes_after_a_line_with_an_id_of_every_type() {
    let scenario = Scenario::new("snapshot_types_file");
    let expected = one_of_each_type(&scenario);
    let output = scenario.path("lines");
    let watch = |options: &[&str]| {
        let watch = scenario.watch(&["--output"]).args([&output]).args(DUMP);
        watch.args(options).run().expect_code(0)
    };
    watch(&["--count", "1"]);
    let checkpoint = fs::read(scenario.resume_file()).expect("a resume file");
    for format in ["canonical", "relaxed"] {
        for written in 1..expected.len() {
            watch(&["--format", format]);
            let text = fs::read_to_string(&output).expect("lines");
            let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
            assert_eq!(lines.len(), expected.len(), "{format}: {written}");
            if format == "canonical" {
                assert_eq!(printed_keys(&lines), expected, "{written}");
            }
            // As after a kill: the file is ahead of the checkpoint, and ends in a part of a line.
            let torn = &lines[written][..lines[written].len() / 2];
            let whole = lines[..written].join("\n");
            fs::write(&output, format!("{whole}\n{torn}")).expect("a file");
            fs::write(scenario.resume_file(), &checkpoint).expect("a resume file");
        }
    }
}

#[test]
fn reads_collections_of_every_kind() {
    let scenario = Scenario::new("snapshot_kinds");
    let db = scenario.db();
    let create = |command: Document| {
        block_on(db.run_command(command)).expect("a collection");
    };
    create(doc! { "create": "collation", "collation": { "locale": "de", "strength": 2 } });
    let names = ["Zoë", "a", "Äb", "ab", "Ac", "z", "_", "10", "9"].map(|id| doc! { "_id": id });
    block_on(scenario.coll("collation").insert_many(names)).expect("an insert");
    create(
        doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } },
    );
    create(doc! { "create": "capped", "capped": true, "size": 1_000_000 });
    create(doc! { "create": "empty" });
    create(doc! { "create": "validated", "validator": { "n": { "$gte": 0 } } });
    for name in ["clustered", "capped", "validated", "ordinary"] {
        fill(&scenario.coll(name), 0..7);
    }
    for name in [
        "collation",
        "clustered",
        "capped",
        "empty",
        "validated",
        "ordinary",
    ] {
        expect_complete(&scenario, name);
    }
    // Neither a view nor a time series has a change stream.
    create(doc! { "create": "view", "viewOn": "ordinary", "pipeline": [] });
    create(doc! { "create": "series", "timeseries": { "timeField": "at" } });
    block_on(
        scenario
            .coll("series")
            .insert_one(doc! { "at": DateTime::now() }),
    )
    .expect("an insert");
    let finished = dump(&scenario, &[]).run().expect_code(0);
    let colls: BTreeSet<String> = finished
        .events()
        .iter()
        .map(|event| {
            event["ns"]["coll"]
                .as_str()
                .expect("a collection")
                .to_owned()
        })
        .collect();
    assert_eq!(
        Vec::from_iter(colls),
        ["capped", "clustered", "collation", "ordinary", "validated"]
    );
}

#[test]
fn prints_documents_of_16_mb() {
    const COUNT: i32 = 4;
    let scenario = Scenario::new("snapshot_large");
    let coll = scenario.coll("c");
    let size = |text: &str| {
        bson::serialize_to_vec(&doc! { "_id": 0, "t": text })
            .expect("BSON")
            .len()
    };
    let text = "x".repeat(LARGEST - size(""));
    assert_eq!(size(&text), LARGEST);
    let document = |id: i32| doc! { "_id": id, "t": &text };
    for id in 0..COUNT {
        block_on(coll.insert_one(document(id))).expect("an insert");
    }
    fill(&coll, COUNT..COUNT + 10);
    let expected: Vec<String> = (0..COUNT + 10).map(|id| format!("snapshot {id}")).collect();
    for filter in [&[][..], &["--match", "{'fullDocument._id': {$gte: 0}}"]] {
        let arguments = [&["--coll", "c"], filter].concat();
        let lines = dump(&scenario, &arguments).run().expect_code(0).stdout;
        assert_eq!(briefs(&lines), expected, "{filter:?}");
        assert!(lines[0].len() > LARGEST);
    }
}

/// Runs a watch with a snapshot of this number of collections, and expects a line of each.
#[track_caller]
fn expect_lines_of_collections(count: usize) {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "snapshot_many");
    let create = async |number| {
        let name = format!("c{number}");
        // Clustered, a collection is one file of the server instead of two.
        let index = doc! { "key": { "_id": 1 }, "unique": true };
        let create = doc! { "create": &name, "clusteredIndex": index };
        scenario.db().run_command(create).await?;
        scenario.coll(&name).insert_one(doc! { "_id": 0 }).await
    };
    let creations = stream::iter(0..count).map(create).buffer_unordered(8);
    block_on(creations.try_for_each(|_| ready(Ok(())))).expect("collections");
    let watch = dump(&scenario, &[]).deadline(Duration::from_secs(300));
    let finished = watch.run().expect_code(0);
    let colls: BTreeSet<String> = finished
        .events()
        .iter()
        .map(|event| event["ns"]["coll"].to_string())
        .collect();
    assert_eq!((finished.stdout.len(), colls.len()), (count, count));
}

#[test]
fn reads_a_thousand_collections_in_one_run() {
    expect_lines_of_collections(1000);
}

#[test]
fn reads_ten_thousand_collections_in_one_run() {
    expect_lines_of_collections(10_000);
}
