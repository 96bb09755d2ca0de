//! Resume tokens with a changed digit or other type bits: whatever error the server finds for them, they are reported as invalid tokens.

use mongodb::bson::{Decimal128, doc};
use serde_json::{Value, json};

use testkit::events::{as_start, insert};
use testkit::mongod_binary::MongodBinary;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The fields of an event's token in hexadecimal digits, up to the UUID of the collection: the cluster time, the version, the type of the
/// token, the index in a transaction, whether it is of an invalidate, and the UUID.
const VERSION: usize = 18;
const TYPE: usize = 22;
const INVALIDATE: usize = 30;
const UUID_SUBTYPE: usize = 36;

/// Returns variants of `token`, each with the code that the server has for it.
#[track_caller]
fn invalid_variants(token: &Value) -> Vec<(Value, &'static str)> {
    let data = token["_data"].as_str().expect("hex");
    let version = match MongodBinary::found().version.token_version() {
        1 => "2B02",
        _ => "2B04",
    };
    assert_eq!(
        data[VERSION..INVALIDATE + 2],
        format!("{version}2C0100296E")
    );
    let with = |at: usize, old: &str, new: &str| {
        assert!(data[at..].starts_with(old), "{data}");
        let mut changed = token.clone();
        let (before, after) = (&data[..at], &data[at + old.len()..]);
        changed["_data"] = format!("{before}{new}{after}").into();
        changed
    };
    vec![
        (with(VERSION, version, "2B72"), "50795"),
        (with(TYPE, "2C0100", "2C0140"), "51057"),
        (with(TYPE, "2C0100", "6E"), "51056"),
        (with(TYPE, "2C0100", "29"), "6189504"),
        (with(INVALIDATE, "6E", "29"), "50870"),
        (with(INVALIDATE, "6E", "8E"), "50811"),
        (with(UUID_SUBTYPE, "04", "05"), "207"),
    ]
}

#[test]
fn reports_a_token_that_the_server_cannot_decode_as_invalid() {
    let scenario = Scenario::new("changed_token");
    let start = as_start(scenario.set().operation_time());
    insert(&scenario.coll("c"), [1]);
    let decimal: Decimal128 = "2.50".parse().expect("a decimal");
    block_on(scenario.coll("c").insert_one(doc! { "_id": decimal })).expect("an insert");
    let all = scenario
        .cswatch([
            "--coll",
            "c",
            "--no-resume",
            "--count",
            "2",
            "--start",
            &start,
        ])
        .run()
        .expect_code(0);
    let events = all.events();
    let mut tokens = invalid_variants(&events[0]["_id"]);
    // A number may need its type bits, and other bits are as wrong as none.
    let mut bits = events[1]["_id"].clone();
    bits["_typeBits"] = json!({ "$binary": { "base64": "/////w==", "subType": "00" } });
    tokens.push((bits.clone(), "15"));
    bits["_typeBits"] = json!({ "$binary": { "base64": "AQ==", "subType": "00" } });
    // Tokens of version 2 have a string before the number, which finds the other bits first.
    let other_bits = match MongodBinary::found().version.token_version() {
        1 => "50810",
        _ => "50615",
    };
    tokens.push((bits.clone(), other_bits));
    bits.as_object_mut().expect("an object").remove("_typeBits");
    tokens.push((bits, "50810"));
    for (token, code) in tokens {
        let token = token.to_string();
        let watch = scenario.cswatch(["--coll", "c", "--no-resume", "--until", "now"]);
        let run = watch.args(["--start-after", &token]).run().expect_code(3);
        let error = "cswatch: error: the server does not accept the resume token: ";
        assert!(
            run.stderr.contains(error)
                && run.stderr.contains(&format!("code {code})"))
                && run
                    .stderr
                    .contains("use the whole _id of the last line you have"),
            "{token} {code}\n{}",
            run.stderr
        );
    }
}
