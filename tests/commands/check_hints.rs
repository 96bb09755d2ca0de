//! What `cswatch check` reports about names that do not exist, missing privileges and images, with fixes that can be pasted.

use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns the line about `name` in the report.
#[track_caller]
fn line(finished: &Finished, name: &str) -> Value {
    let report: Value = serde_json::from_str(&finished.stdout[0]).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["check"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {report}"))
        .clone()
}

fn check(scenario: &Scenario<'_>, arguments: &[&str]) -> Cswatch {
    let uri = scenario.set().uri();
    Cswatch::new()
        .args(["check", "--json", "--no-resume", "--uri", &uri])
        .args(arguments)
}

#[test]
fn reports_what_does_not_exist_as_unknown() {
    let scenario = Scenario::new("check_missing");
    let db = scenario.db().name();
    for arguments in [
        &["--db", db][..],
        &["--db", db, "--coll", "c"],
        &["--db", db, "--coll", "c,d"],
        &["--db", db, "--coll", "c", "--full-document", "required"],
    ] {
        let finished = check(&scenario, arguments).run().expect_code(0);
        for name in ["collections", "images"] {
            let line = line(&finished, name);
            assert_eq!(line["status"], "unknown", "{arguments:?} {line}");
        }
    }
    insert(&scenario.coll("c"), [1]);
    let finished = check(&scenario, &["--db", db, "--coll", "c"]).run();
    let line = line(&finished.expect_code(0), "images");
    assert_eq!(line["status"], "ok", "{line}");
}

#[test]
fn prints_calls_that_enable_images_in_the_database_of_the_collections() {
    let scenario = Scenario::new("check_enable");
    let db = scenario.db().name();
    for name in ["it's", "say \"hi\""] {
        insert(&scenario.coll(name), [1]);
    }
    let arguments = ["--db", db, "--full-document", "required"];
    let finished = check(&scenario, &arguments).run().expect_code(8);
    let hint = line(&finished, "images")["hint"].clone();
    let call = |name: &str| {
        format!(
            r#"db.getSiblingDB("{db}").runCommand({{ collMod: {name}, changeStreamPreAndPostImages: {{ enabled: true }} }})"#
        )
    };
    let calls = [call(r#""it's""#), call(r#""say \"hi\"""#)].join("; ");
    assert_eq!(hint, format!("in mongosh: {calls}"));
}

#[test]
fn names_the_command_that_a_privilege_is_missing_for_and_quotes_none() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_noise");
    let db = scenario.db().name();
    let uri = set.create_user("nobody", "secret", &[]);
    let refused =
        format!("not authorized on {db} to execute command aggregate (Unauthorized, code 13)");
    let finished = Cswatch::new()
        .args(["check", "--json", "--no-resume", "--db", db, "--uri", &uri])
        .run()
        .expect_code(8);
    let message = line(&finished, "stream")["message"].clone();
    let message = message.as_str().expect("a message");
    assert!(
        message.ends_with(&format!(
            "on database {db} for user nobody of admin ({refused})"
        )),
        "{message}"
    );

    let finished = Cswatch::new()
        .args(["-v", "--no-resume", "--db", db, "--uri", &uri])
        .run()
        .expect_code(8);
    assert!(
        finished.error().0.ends_with(&format!("({refused})")),
        "{}",
        finished.stderr
    );

    let privileges = doc! {
        "resource": { "db": db, "collection": "" },
        "actions": ["changeStream", "find"],
    };
    let role = doc! { "createRole": "watcher", "privileges": [privileges], "roles": [] };
    block_on(scenario.db().run_command(role)).expect("a role");
    let uri = set.create_user("watcher", "secret", &[doc! { "role": "watcher", "db": db }]);
    let finished = Cswatch::new()
        .args(["check", "--json", "--no-resume", "--db", db, "--uri", &uri])
        .run()
        .expect_code(0);
    let message = line(&finished, "images")["message"].clone();
    let message = message.as_str().expect("a message");
    let refused = format!("not authorized on {db} to execute command listCollections (");
    assert!(message.contains(&refused), "{message}");
    for noise in ["lsid", "$clusterTime", "signature"] {
        assert!(
            !finished.stdout[0].contains(noise),
            "{}",
            finished.stdout[0]
        );
    }
}
