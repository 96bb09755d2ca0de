//! `cswatch check --snapshot`: how much there is to read, and what of it was read.

use mongodb::bson::{DateTime, doc};

use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::check::{Report, check};

/// Returns the message of the check in the report of this command.
#[track_caller]
fn message(scenario: &Scenario<'_>, arguments: &[&str]) -> String {
    let arguments = [&["--snapshot", "--json"], arguments].concat();
    let report = Report::of(&check(scenario, &arguments).run().expect_code(0));
    report.expect("snapshot", "ok", "");
    let message = report.get("snapshot")["message"].as_str();
    message.expect("a message").to_owned()
}

#[test]
fn reports_the_documents_and_bytes_of_the_collections_in_scope() {
    let scenario = Scenario::new("check_snapshot");
    let db = scenario.db();
    block_on(async {
        let orders = scenario.coll("orders");
        orders
            .insert_many((0..1000).map(|id| doc! { "_id": id, "text": "x".repeat(475) }))
            .await?;
        scenario.coll("users").insert_one(doc! { "_id": 1 }).await?;
        db.run_command(doc! { "create": "empty" }).await?;
        db.run_command(doc! { "create": "view", "viewOn": "orders" })
            .await?;
        db.run_command(doc! { "create": "series", "timeseries": { "timeField": "at" } })
            .await?;
        let series = scenario.coll("series");
        series.insert_one(doc! { "at": DateTime::now() }).await
    })
    .expect("collections of each kind");
    for (arguments, expected) in [
        (&[][..], "1,001 documents in 3 collections to read, 500 KB"),
        (
            &["--coll", "users"],
            "1 document in 1 collection to read, 14 bytes",
        ),
        (
            &["--coll", "users", "--coll", "empty"],
            "1 document in 2 collections to read, 14 bytes",
        ),
        (
            &["--ns-exclude", "*.orders"],
            "1 document in 2 collections to read, 14 bytes",
        ),
        (
            &["--coll", "missing"],
            "0 documents in 0 collections to read, 0 bytes",
        ),
    ] {
        assert_eq!(message(&scenario, arguments), expected, "{arguments:?}");
    }
    let without = check(&scenario, &["--json"]).run().expect_code(0);
    assert!(!without.stdout[0].contains(r#""snapshot""#));
}

#[test]
fn needs_no_privilege_that_the_watch_does_not_need() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_snapshot_as");
    let db = scenario.db().name();
    for name in ["c", "d"] {
        let coll = scenario.coll(name);
        block_on(coll.insert_many([doc! {}, doc! {}])).expect("an insert");
    }
    for (user, resource, arguments, expected) in [
        (
            "one",
            doc! { "db": db, "collection": "c" },
            &["--db", db, "--coll", "c"][..],
            "2 documents in 1 collection to read",
        ),
        (
            "database",
            doc! { "db": db, "collection": "" },
            &["--db", db],
            "4 documents in 2 collections to read",
        ),
        (
            "all",
            doc! { "db": "", "collection": "" },
            &[],
            "4 documents in 2 collections to read",
        ),
    ] {
        let privilege = doc! { "resource": resource, "actions": ["find", "changeStream"] };
        set.admin(doc! { "createRole": user, "privileges": [privilege], "roles": [] });
        let uri = set.create_user(user, "password", &[doc! { "role": user, "db": "admin" }]);
        let run = testkit::cswatch::Cswatch::new()
            .args(["check", "--snapshot", "--json", "--uri", &uri])
            .args(arguments);
        let report = Report::of(&run.run().expect_code(0));
        assert_eq!(report.get("snapshot")["message"], expected, "{user}");
    }
}
