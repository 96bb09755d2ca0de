//! `--explain`: the aggregate command, to the letter, without a server. The form for mongosh is tested next to this.

use futures::TryStreamExt;
use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns what `cswatch --explain` prints with these arguments. Fails if it connects to a server.
#[track_caller]
pub(super) fn explained(arguments: &[&str]) -> String {
    let explain = Cswatch::new().args(["--explain"]).args(arguments);
    let finished = explain.run_unconnected().expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout.join("\n")
}

#[test]
fn prints_the_command_of_a_collection_in_canonical_form() {
    let text = explained(&[
        "--db",
        "shop",
        "--coll",
        "orders",
        "--op",
        "insert",
        "--format",
        "canonical",
    ]);
    assert_eq!(
        text,
        r#"{
  "aggregate": "orders",
  "pipeline": [
    {
      "$changeStream": {}
    },
    {
      "$match": {
        "operationType": "insert"
      }
    }
  ],
  "cursor": {
    "batchSize": {
      "$numberInt": "1000"
    }
  },
  "$db": "shop"
}"#
    );
}

#[test]
fn prints_every_filter_with_its_types_in_the_order_in_which_they_run() {
    let text = explained(&[
        "--db",
        "shop",
        "--coll",
        "orders,bills",
        "--match",
        r#"{"fullDocument.z":{"$date":"2026-01-31T12:00:00Z"},"fullDocument.a":{"b":1,"a":2.0}}"#,
        "--match",
        r#"{"fullDocument.n":{"$numberLong":"1"}}"#,
        "--pipeline",
        r#"[{"$set":{"seen":{"$numberDecimal":"1.10"}}},{"$unset":["ns"]}]"#,
        "--id",
        r#"{"$oid":"65A1B2C3D4E5F60718293A4B"}"#,
        "--id",
        "-7",
        "--op",
        "insert,delete",
        "--full-document",
        "whenAvailable",
        "--full-document-before-change",
        "required",
        "--expanded-events",
        "--batch-size",
        "5",
        "--format",
        "canonical",
    ]);
    assert_eq!(
        text,
        r#"{
  "aggregate": {
    "$numberInt": "1"
  },
  "pipeline": [
    {
      "$changeStream": {
        "fullDocument": "whenAvailable",
        "fullDocumentBeforeChange": "required",
        "showExpandedEvents": true
      }
    },
    {
      "$match": {
        "$expr": {
          "$or": [
            {
              "$in": [
                "$ns.coll",
                {
                  "$literal": [
                    "bills",
                    "orders"
                  ]
                }
              ]
            },
            {
              "$and": [
                {
                  "$eq": [
                    "$operationType",
                    "rename"
                  ]
                },
                {
                  "$eq": [
                    "$to.db",
                    {
                      "$literal": "shop"
                    }
                  ]
                },
                {
                  "$in": [
                    "$to.coll",
                    {
                      "$literal": [
                        "bills",
                        "orders"
                      ]
                    }
                  ]
                }
              ]
            }
          ]
        }
      }
    },
    {
      "$match": {
        "operationType": {
          "$in": [
            "insert",
            "delete"
          ]
        }
      }
    },
    {
      "$match": {
        "documentKey._id": {
          "$in": [
            {
              "$oid": "65a1b2c3d4e5f60718293a4b"
            },
            {
              "$numberInt": "-7"
            }
          ]
        }
      }
    },
    {
      "$match": {
        "fullDocument.z": {
          "$date": {
            "$numberLong": "1769860800000"
          }
        },
        "fullDocument.a": {
          "b": {
            "$numberInt": "1"
          },
          "a": {
            "$numberDouble": "2.0"
          }
        }
      }
    },
    {
      "$match": {
        "fullDocument.n": {
          "$numberLong": "1"
        }
      }
    },
    {
      "$set": {
        "seen": {
          "$numberDecimal": "1.10"
        }
      }
    },
    {
      "$unset": [
        "ns"
      ]
    }
  ],
  "cursor": {
    "batchSize": {
      "$numberInt": "5"
    }
  },
  "$db": "shop"
}"#
    );
}

#[test]
fn prints_the_command_of_a_deployment_after_a_token_in_relaxed_form() {
    let token = "826B033D240000000C2B0229296E04";
    let text = explained(&["--start-after", token, "--format", "relaxed"]);
    assert_eq!(
        text,
        r#"{
  "aggregate": 1,
  "pipeline": [
    {
      "$changeStream": {
        "allChangesForCluster": true,
        "startAfter": {
          "_data": "826B033D240000000C2B0229296E04"
        }
      }
    }
  ],
  "cursor": {
    "batchSize": 1000
  },
  "$db": "admin"
}"#
    );
}

#[test]
fn prints_the_command_that_the_server_receives() {
    let scenario = Scenario::new("explained");
    block_on(scenario.db().create_collection("c")).expect("a collection");
    let reference = Reference::open(scenario.coll("c").watch());
    let arguments = [
        "--coll",
        "c",
        "--op",
        "insert,update",
        "--match",
        r#"{"fullDocument.n":{"$gt":{"$numberLong":"1"}}}"#,
        "--pipeline",
        r#"[{"$unset":"fullDocument.secret"}]"#,
        "--full-document",
        "updateLookup",
        "--batch-size",
        "7",
    ];
    let watch = || {
        scenario
            .cswatch(["--no-resume"])
            .args(reference.start())
            .args(arguments)
    };
    let mut cswatch = watch().spawn();
    cswatch.wait_open();
    let admin = scenario.set().client().database("admin");
    let received = poll(DEADLINE, || {
        let pipeline = [
            doc! { "$currentOp": { "idleCursors": true } },
            doc! { "$match": {
                "cursor.originatingCommand.$db": scenario.db().name(),
                // The reference has a cursor too, without a batch size.
                "cursor.originatingCommand.cursor.batchSize": 7,
            } },
        ];
        block_on(async { admin.aggregate(pipeline).await?.try_next().await })
            .expect("the server lists its operations")
    });
    let received = received.expect("the server has the cursor");
    let received = received.get_document("cursor").expect("a cursor");
    let received = received.get_document("originatingCommand");
    let received = received.expect("a command");

    let finished = watch()
        .args(["--explain", "--format", "canonical"])
        .run()
        .expect_code(0);
    let text = finished.stdout.join("\n");
    let explained: Value = serde_json::from_str(&text).expect("JSON");
    for field in ["aggregate", "pipeline", "cursor", "$db"] {
        let received = received.get(field).expect(field).clone();
        // As text, because the order of keys counts.
        let received = received.into_canonical_extjson().to_string();
        assert_eq!(explained[field].to_string(), received, "{field}");
    }
}

#[test]
fn saves_no_checkpoint() {
    let scenario = Scenario::new("explain_state");
    let finished = scenario.cswatch(["--explain"]).run().expect_code(0);
    assert_ne!(finished.stdout, [""; 0]);
    assert!(!scenario.state_home().exists());
}
