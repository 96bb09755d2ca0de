//! mongosh syntax in `--match`, `--id` and `--pipeline`, on a real server.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Decimal128, Timestamp, Uuid, doc};

use super::filters::History;

/// Returns the `name`s of the documents whose events are printed with these arguments.
#[track_caller]
fn printed_names(history: &History, arguments: &[&str]) -> Vec<String> {
    let events = history.events(arguments);
    let name =
        |event: &serde_json::Value| event["fullDocument"]["name"].as_str().map(str::to_owned);
    events
        .iter()
        .map(|event| name(event).expect("a name"))
        .collect()
}

/// Each value selects the document that holds it, and no other.
#[test]
fn selects_the_document_with_the_value_that_was_typed() {
    let uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
    let oid = "65a1b2c3d4e5f60718293a4b";
    let values: [(&str, Bson); 12] = [
        ("int", 5.into()),
        ("large", 3_000_000_000_i64.into()),
        ("large double", 4e9.into()),
        (
            "decimal",
            "1.10".parse::<Decimal128>().expect("a decimal").into(),
        ),
        ("text", "it's".into()),
        ("oid", ObjectId::parse_str(oid).expect("an ObjectId").into()),
        ("date", DateTime::from_millis(1_769_860_800_000).into()),
        ("uuid", Uuid::parse_str(uuid).expect("a UUID").into()),
        (
            "timestamp",
            Timestamp {
                time: 5,
                increment: 7,
            }
            .into(),
        ),
        ("min", Bson::MinKey),
        ("null", Bson::Null),
        ("array", vec![1, 2].into()),
    ];
    let documents = values.map(|(name, value)| doc! { "name": name, "v": value });
    let inserted = History::of_inserts("pasted_values", documents);
    for (value, names) in [
        ("5", &["int"][..]),
        ("0x5", &["int"]),
        ("NumberLong('5')", &["int"]),
        // An int64 here and a double in mongosh; the server compares by value.
        ("3000000000", &["large"]),
        ("4_000_000_000", &["large double"]),
        ("NumberDecimal('1.1')", &["decimal"]),
        (r"'it\'s'", &["text"]),
        ("/^IT/i", &["text"]),
        ("ObjectId('65A1B2C3D4E5F60718293A4B')", &["oid"]),
        ("ISODate('2026-01-31T12:00:00')", &["date"]),
        ("new Date(1769860800000)", &["date"]),
        ("UUID('0f0e0d0c-0b0a-0908-0706-050403020100')", &["uuid"]),
        ("Timestamp({t: 5, i: 7})", &["timestamp"]),
        ("MinKey", &["min"]),
        ("null", &["null"]),
        ("undefined", &["null"]),
        ("[1, 2,]", &["array"]),
        (
            "{$gte: ISODate('2026-01-31'), $lt: ISODate('2026-02-01')}",
            &["date"],
        ),
        (
            "{$in: [5, /^it/, ObjectId('65a1b2c3d4e5f60718293a4b')]}",
            &["int", "text", "oid"],
        ),
    ] {
        let query = format!("{{ 'fullDocument.v': {value} /* pasted */ }} // {value}");
        assert_eq!(
            printed_names(&inserted, &["--match", &query]),
            names,
            "{value}"
        );
    }
}

#[test]
fn selects_documents_by_an_id_in_hex_or_in_mongosh_syntax() {
    let oid = "65a1b2c3d4e5f60718293a4b";
    let digits = "123456789012345678901234";
    let id = |hex: &str| Bson::from(ObjectId::parse_str(hex).expect("an ObjectId"));
    let uuid = Uuid::parse_str("0f0e0d0c-0b0a-0908-0706-050403020100").expect("a UUID");
    let ids: [(&str, Bson); 6] = [
        ("oid", id(oid)),
        ("oid of digits", id(digits)),
        ("text", oid.into()),
        ("int", 42.into()),
        ("uuid", uuid.into()),
        ("pair", doc! { "b": 1_i64, "a": "x" }.into()),
    ];
    let inserted = History::of_inserts(
        "pasted_ids",
        ids.map(|(name, id)| doc! { "_id": id, "name": name }),
    );
    for (id, name) in [
        (oid, "oid"),
        ("65A1B2C3D4E5F60718293A4B", "oid"),
        (digits, "oid of digits"),
        (r#"ObjectId("65a1b2c3d4e5f60718293a4b")"#, "oid"),
        (r#""65a1b2c3d4e5f60718293a4b""#, "text"),
        ("'65a1b2c3d4e5f60718293a4b'", "text"),
        ("42", "int"),
        ("UUID('0f0e0d0c0b0a09080706050403020100')", "uuid"),
        ("{b: Long(1), a: 'x'}", "pair"),
    ] {
        assert_eq!(printed_names(&inserted, &["--id", id]), [name], "{id}");
    }
}

#[test]
fn runs_a_pipeline_from_a_file_with_comments() {
    let documents = (1..=4).map(|n| doc! { "name": n.to_string(), "n": n });
    let inserted = History::of_inserts("pasted_pipeline", documents);
    let file = inserted.scenario.path("stages.js");
    let stages = "// the second half\n[\n  {$match: {'fullDocument.n': {$gt: 2}}},\n  {$unset: 'fullDocument.n'}, // not needed\n]\n";
    std::fs::write(&file, stages).expect("a file can be written");
    let argument = format!("@{}", file.display());
    assert_eq!(
        printed_names(&inserted, &["--pipeline", &argument]),
        ["3", "4"]
    );
}
