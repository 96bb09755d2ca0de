//! Remarks about a scope or filter that is valid but hardly meant: names that do not exist, names that look like patterns, fields that no
//! event has.

use mongodb::bson::doc;
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

#[test]
fn reports_collections_and_databases_that_do_not_exist_yet() {
    let scenario = Scenario::new("missing");
    block_on(scenario.coll("orders").insert_one(doc! {})).expect("an insert");
    let db = scenario.db().name();
    for (arguments, message, hint) in [
        (
            &["-c", "Orders"][..],
            format!("{db}.Orders does not exist yet"),
            "did you mean --coll orders?",
        ),
        (
            &["-c", "orders,x,y"],
            format!("{db}.x, {db}.y do not exist yet"),
            "",
        ),
    ] {
        let mut running = scenario.cswatch(["--no-resume"]).args(arguments).spawn();
        running.expect_stderr(&message);
        if !hint.is_empty() {
            running.expect_stderr(hint);
        }
        running.signal(Signal::TERM);
        running.wait().expect_code(0);

        let check = Cswatch::new()
            .args([
                "check",
                "--json",
                "--no-resume",
                "--uri",
                &scenario.set().uri(),
                "--db",
                db,
            ])
            .args(arguments)
            .run()
            .expect_code(0);
        let report: Value = serde_json::from_str(&check.stdout[0]).expect("JSON");
        let checks = report["checks"].as_array().expect("checks");
        let found = checks.iter().find(|check| check["check"] == "collections");
        let found = found.expect("a line about collections");
        assert_eq!(found["status"], "unknown");
        assert!(
            found["message"]
                .as_str()
                .is_some_and(|text| text.starts_with(&message)),
            "{found}"
        );
        assert_eq!(found["hint"].as_str().unwrap_or_default(), hint);
    }
    let mut running = Cswatch::new()
        .args([
            "--uri",
            &scenario.set().uri(),
            "--no-resume",
            "--db",
            &db.to_uppercase(),
        ])
        .spawn();
    running.expect_stderr(&format!(
        "database {} does not exist yet",
        db.to_uppercase()
    ));
    running.expect_stderr(&format!("did you mean --db {db}?"));
}

#[test]
fn stays_silent_about_collections_that_exist() {
    let scenario = Scenario::new("present");
    insert(&scenario.coll("a"), [1]);
    insert(&scenario.coll("b"), [1]);
    for arguments in [&["-c", "a"][..], &["-c", "a,b"], &[]] {
        let mut running = scenario.cswatch(["--no-resume"]).args(arguments).spawn();
        running.wait_open();
        insert(
            &scenario.coll("a"),
            [2 + i32::try_from(arguments.concat().len()).expect("short")],
        );
        running.next_line();
        running.signal(Signal::TERM);
        let finished = running.wait().expect_code(0);
        assert!(
            !finished.stderr.contains("not exist"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn warns_of_names_and_filters_that_are_hardly_meant() {
    for (arguments, message, hint) in [
        (
            &["-c", "shop.orders"][..],
            "--coll shop.orders names the collection shop.shop.orders",
            "use --coll orders",
        ),
        (
            &["-c", "a*"],
            "--coll a* is a name, not a pattern",
            "use --ns-include 'shop.a*'",
        ),
        (
            &[
                "--match",
                r#"{"$or":[{"status":"paid"},{"operationType":"delete"}]}"#,
            ],
            "the filter tests the field status, which no event has",
            "did you mean fullDocument.status?",
        ),
        (
            &[
                "--pipeline",
                r#"[{"$match":{"$expr":{"$eq":["$total",1]}}}]"#,
            ],
            "the filter tests the field total, which no event has",
            "did you mean fullDocument.total?",
        ),
    ] {
        let finished = Cswatch::new()
            .args(["--explain", "--db", "shop"])
            .args(arguments)
            .run_unconnected()
            .expect_code(0);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
        assert!(finished.stderr.contains(hint), "{}", finished.stderr);
    }
    let silent = Cswatch::new()
        .args(["--explain", "--db", "shop", "-c", "orders,bills"])
        .args(["--match", r#"{"fullDocument.status":1,"to.coll":"x"}"#])
        .args([
            "--pipeline",
            r#"[{"$set":{"status":1}},{"$match":{"status":1}}]"#,
        ])
        .run_unconnected()
        .expect_code(0);
    assert_eq!(silent.stderr, "");
}

#[test]
fn refuses_patterns_before_it_connects() {
    for (arguments, message) in [
        (
            &["--ns-include", ""][..],
            "--ns-include: '' has no collection",
        ),
        (
            &["--ns-exclude", "shop"],
            "--ns-exclude: 'shop' has no collection",
        ),
        (
            &["--ns-include", "local.*"],
            "--ns-include: 'local.*' can never match: local has no change stream",
        ),
        (
            &["--ns-include", "crm.*", "--db", "shop"],
            "--ns-include: 'crm.*' can never match with --db shop",
        ),
        (
            &["--ns-include", "shop.*", "--db", "shop", "-c", "a"],
            "--ns-include cannot be combined with --coll",
        ),
        (
            &["--ns-exclude", "shop.*", "--db", "shop", "-c", "a"],
            "--ns-exclude cannot be combined with --coll",
        ),
    ] {
        let finished = Cswatch::new()
            .args(arguments)
            .run_unconnected()
            .expect_code(2);
        let (found, hint) = finished.error();
        assert_eq!(found, message);
        assert!(!hint.is_empty());
    }
}
