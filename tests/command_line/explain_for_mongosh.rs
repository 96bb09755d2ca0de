//! `--explain` without `--format`: a call that can be pasted into mongosh.

use cswatch::shell_syntax;
use mongodb::bson::{Bson, doc};

use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::explain::explained;

/// Returns the argument of the call that was printed.
#[track_caller]
fn argument<'a>(text: &'a str, database: &str) -> &'a str {
    text.strip_prefix(&format!("db.getSiblingDB(\"{database}\").runCommand("))
        .and_then(|text| text.strip_suffix(')'))
        .expect(text)
}

#[test]
fn prints_a_call_for_mongosh() {
    let text = explained(&[
        "--db",
        "shop",
        "--coll",
        "orders",
        "--op",
        "insert",
        "--id",
        "65a1b2c3d4e5f60718293a4b",
        "--match",
        r#"{"fullDocument.at": {$gt: ISODate("2026-01-31")}, "fullDocument.n": {$in: [5, 3000000000, 2.0, NumberDecimal("1.10"), /^a/i]}}"#,
    ]);
    assert_eq!(
        text,
        r#"db.getSiblingDB("shop").runCommand({
  aggregate: "orders",
  pipeline: [
    {
      $changeStream: {}
    },
    {
      $match: {
        operationType: "insert"
      }
    },
    {
      $match: {
        "documentKey._id": {
          $in: [
            ObjectId("65a1b2c3d4e5f60718293a4b")
          ]
        }
      }
    },
    {
      $match: {
        "fullDocument.at": {
          $gt: ISODate("2026-01-31T00:00:00Z")
        },
        "fullDocument.n": {
          $in: [
            5,
            Long("3000000000"),
            Double(2.0),
            Decimal128("1.10"),
            BSONRegExp("^a", "i")
          ]
        }
      }
    }
  ],
  cursor: {
    batchSize: 1000
  }
})"#
    );
}

#[test]
fn prints_a_call_with_the_whole_resume_token() {
    let token =
        r#"{ _data: "826B033D240000000C2B022C0100296E5A1004", _typeBits: BinData(0, "gA==") }"#;
    let text = explained(&["--start-after", token]);
    let command = shell_syntax::parse(argument(&text, "admin")).expect(&text);
    let type_bits = mongodb::bson::Binary {
        subtype: mongodb::bson::spec::BinarySubtype::Generic,
        bytes: vec![0x80],
    };
    let expected = doc! {
        "aggregate": 1,
        "pipeline": [{ "$changeStream": {
            "allChangesForCluster": true,
            "startAfter": { "_data": "826B033D240000000C2B022C0100296E5A1004", "_typeBits": type_bits },
        } }],
        "cursor": { "batchSize": 1000 },
    };
    assert_eq!(command, Bson::Document(expected));
}

/// The test is only as good as the parser; it agrees with mongosh itself on recorded filters (`selection::pasted_filters`).
#[test]
fn prints_a_command_that_the_server_runs() {
    let scenario = Scenario::new("explain_for_mongosh");
    block_on(scenario.db().create_collection("c")).expect("a collection");
    let every_type = r#"{ "fullDocument.v": { $nin: [
        1, -1.5, 10n, Infinity, NaN, NumberDecimal("1.10"), Double(2), "it's \u0001", null, true, ObjectId("65a1b2c3d4e5f60718293a4b"),
        ISODate("2026-01-31"), new Date(253402300800000), UUID("0f0e0d0c-0b0a-0908-0706-050403020100"), BinData(128, "AQID"),
        Timestamp(5, 7), MinKey, MaxKey, /a\/b/im, BSONSymbol("s"), Code("f()"), {"a b": {$c: []}}, DBRef("c", 1),
    ] } }"#;
    let arguments = [
        "--coll",
        "c",
        "--match",
        every_type,
        "--pipeline",
        "[{$unset: ['ns'],},]",
    ];
    let explain = |format: &[&str]| {
        let finished = scenario.cswatch(["--explain"]).args(arguments).args(format);
        finished.run().expect_code(0).stdout.join("\n")
    };
    let text = explain(&[]);
    let command = shell_syntax::parse(argument(&text, scenario.db().name())).expect(&text);
    let Bson::Document(command) = command else {
        panic!("not a document: {command}");
    };
    // The same command as in Extended JSON, in which every type has its wrapper.
    let extended_json = explain(&["--format", "canonical"]);
    let mut same = command.clone();
    same.insert("$db", scenario.db().name());
    let printed = serde_json::from_str::<serde_json::Value>(&extended_json).expect("JSON");
    let expected = mongodb::bson::Bson::try_from(printed).expect("Extended JSON");
    // As text, because NaN differs from itself.
    assert_eq!(Bson::Document(same).to_string(), expected.to_string());
    let reply = block_on(scenario.db().run_command(command)).expect("the server runs it");
    assert!(reply.get_document("cursor").is_ok(), "{reply}");
}
