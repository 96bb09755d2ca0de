//! `cswatch check`: what it says of servers that would do and of those that would not, and that its exit code is the watch's.

use std::fs;

use mongodb::bson::doc;
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// `cswatch check` with the options of the scenario's watch.
fn check(scenario: &Scenario<'_>, arguments: &[&str]) -> Cswatch {
    Cswatch::new()
        .state_home(&scenario.state_home())
        .args(["check", "--uri", &scenario.set().uri()])
        .args(["--db", scenario.db().name()])
        .args(arguments)
}

/// The facts of `--json`.
struct Facts(Value);

impl Facts {
    #[track_caller]
    fn of(finished: &Finished) -> Facts {
        let [line] = finished.stdout.as_slice() else {
            panic!("not one line: {:?}\n{}", finished.stdout, finished.stderr);
        };
        Facts(serde_json::from_str(line).expect("JSON"))
    }

    #[track_caller]
    fn get(&self, name: &str) -> &Value {
        let facts = self.0["facts"].as_array().expect("facts");
        let fact = facts.iter().find(|fact| fact["fact"] == name);
        fact.unwrap_or_else(|| panic!("no {name}: {:#}", self.0))
    }

    #[track_caller]
    fn expect(&self, name: &str, mark: &str, what: &str) {
        let fact = self.get(name);
        assert_eq!(fact["mark"], mark, "{fact}");
        let said = fact["what"].as_str().expect("text");
        assert!(said.contains(what), "{said}");
    }
}

/// A path as an argument.
fn named(scenario: &Scenario<'_>, name: &str) -> String {
    let path = scenario.path(name);
    path.to_str().expect("a path").to_owned()
}

#[test]
fn a_replica_set_that_will_do_has_a_good_mark_on_each_line() {
    let scenario = Scenario::new("check_good");
    block_on(scenario.coll("orders").insert_one(doc! {})).expect("an insert");
    let images = doc! { "enabled": true };
    let create = doc! { "create": "kept", "changeStreamPreAndPostImages": images };
    block_on(scenario.db().run_command(create)).expect("a collection with images");
    let finished = check(&scenario, &[]).run().expect_code(0);
    assert_eq!(finished.stderr, "");
    let lines = finished.stdout;
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix("✓ ").expect("a good mark"))
        .map(|line| line.split("  ").next().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "position file",
            "server",
            "replica set",
            "version",
            "stream",
            "expanded events",
            "large events",
            "images",
            "position",
            "headroom",
        ]
    );
    // Aligned.
    let column = lines[0].find(&*scenario.state_home().to_string_lossy());
    let column = column.expect("the default position file");
    assert!(
        lines.iter().all(|line| line[..column].ends_with("  ")),
        "{lines:#?}"
    );
    let images = lines.iter().find(|line| line.contains(" images "));
    assert!(
        images.is_some_and(|line| line.ends_with("kept by kept, not by orders")),
        "{images:?}"
    );
    // Nothing was made.
    assert!(!scenario.state_home().exists());
}

#[test]
fn a_saved_position_is_told_with_its_age_and_that_it_can_be_resumed() {
    let scenario = Scenario::new("check_position");
    let file = named(&scenario, "position.json");
    let arguments = ["--coll", "c", "--resume-file", &file];
    let mut cswatch = scenario
        .cswatch(arguments)
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    // While it watches: who keeps the file is told, and not disturbed.
    let finished = check(&scenario, &arguments)
        .args(["--json"])
        .run()
        .expect_code(0);
    let facts = Facts::of(&finished);
    assert_eq!(facts.0["works"], true);
    facts.expect(
        "position file",
        "good",
        &format!("kept by pid {}", cswatch.pid()),
    );
    facts.expect("position", "good", "can be resumed");
    facts.expect("headroom", "good", "nothing was overwritten yet");
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    cswatch.next_event();
    cswatch.kill();
    check(&scenario, &arguments).run().expect_code(0);
}

#[test]
fn a_position_that_the_oplog_no_longer_reaches_is_bad_and_the_code_3() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_lost");
    let file = named(&scenario, "position.json");
    let arguments = ["--coll", "c", "--resume-file", &file];
    scenario
        .cswatch(arguments)
        .args(["--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0);
    let before = fs::read(&file).expect("a position");
    set.roll_oplog(set.operation_time());
    let finished = check(&scenario, &arguments)
        .args(["--json"])
        .run()
        .expect_code(3);
    let facts = Facts::of(&finished);
    facts.expect("position", "bad", "the oplog no longer reaches back to ");
    let way_out = facts.get("position")["way_out"]
        .as_str()
        .expect("a way out");
    assert!(way_out.contains("--on-history-lost earliest"), "{way_out}");
    facts.expect("headroom", "bad", "none: the oplog reaches back to ");
    assert_eq!(fs::read(&file).expect("a position"), before);
    scenario.cswatch(arguments).run().expect_code(3);
    // A new position has some.
    let arguments = ["--coll", "c", "--json"];
    let facts = Facts::of(&check(&scenario, &arguments).run().expect_code(0));
    facts.expect("headroom", "good", "you may be down for ");
    assert!(facts.get("headroom")["seconds"].is_u64());
}

#[test]
fn an_output_file_is_looked_at_and_left_as_it_is() {
    let scenario = Scenario::new("check_output");
    let file = named(&scenario, "events.jsonl");
    let arguments = ["--coll", "c", "--output", &file];
    let look = |code| {
        Facts::of(
            &check(&scenario, &arguments)
                .args(["--json"])
                .run()
                .expect_code(code),
        )
    };
    look(0).expect("output file", "good", "not there yet");
    assert!(!scenario.path("events.jsonl").exists());

    let mut cswatch = scenario.cswatch(arguments).spawn();
    cswatch.wait_open();
    look(0).expect("output file", "good", "in use by a watch");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    let watch = scenario.cswatch(arguments).args(["--count", "1"]);
    watch.run().expect_code(0);
    look(0).expect("output file", "good", "events.jsonl");

    let written = fs::read(&file).expect("events");
    for (text, why) in [
        (
            [&written, &b"foreign\n"[..]].concat(),
            "was written to by something else",
        ),
        (
            written[1..].to_vec(),
            "is shorter than when the position was saved",
        ),
    ] {
        fs::write(&file, &text).expect("a change");
        look(5).expect("output file", "bad", why);
        assert_eq!(fs::read(&file).expect("events"), text);
        scenario.cswatch(arguments).run().expect_code(5);
    }
    let nowhere = named(&scenario, "nowhere/events.jsonl");
    let finished = check(&scenario, &["--output", &nowhere, "--json"])
        .run()
        .expect_code(6);
    Facts::of(&finished).expect("output file", "bad", "there is no folder");
}

#[test]
fn images_that_are_required_and_not_kept_are_bad_with_the_command_that_keeps_them() {
    let scenario = Scenario::new("check_images");
    block_on(scenario.coll("plain").insert_one(doc! {})).expect("an insert");
    let arguments = ["--coll", "plain", "--full-document", "required", "--json"];
    let finished = check(&scenario, &arguments).run().expect_code(8);
    let facts = Facts::of(&finished);
    facts.expect("images", "bad", "not kept by plain");
    let way_out = &facts.get("images")["way_out"];
    let expected = r#"in mongosh: db.runCommand({collMod: "plain", changeStreamPreAndPostImages: {enabled: true}})"#;
    assert_eq!(way_out, expected);
}

#[test]
fn a_standalone_server_is_bad_and_the_code_8() {
    let mongod = Mongod::start(MongodBinary::found(), &[]);
    let uri = format!("mongodb://{}/", mongod.address());
    let finished = Cswatch::new()
        .args(["check", "--uri", &uri, "--no-resume"])
        .run()
        .expect_code(8);
    let text = finished.stdout.join("\n");
    assert!(text.contains("✗ replica set"), "{text}");
    assert!(text.contains("→ start mongod with --replSet rs0"), "{text}");
    let watched = Cswatch::new().args(["--uri", &uri, "--no-resume"]).run();
    watched.expect_code(8);
}

#[test]
fn a_missing_privilege_is_told_by_its_name_and_the_code_is_8() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_auth");
    let db = scenario.db().name();
    let other = [doc! { "role": "read", "db": "elsewhere" }];
    let uri = set.create_user("stranger", "secret", &other);
    let finished = Cswatch::new()
        .args(["check", "--uri", &uri, "--db", db, "--no-resume", "--json"])
        .run()
        .expect_code(8);
    let facts = Facts::of(&finished);
    facts.expect("server", "good", "answers");
    assert_eq!(facts.get("stream")["mark"], "bad");
    let fact = facts.get("stream").to_string();
    assert!(
        fact.contains("changeStream") && fact.contains("find"),
        "{fact}"
    );

    // The stream's own privileges are enough for all but the list of collections.
    let privileges = doc! {
        "resource": { "db": db, "collection": "" },
        "actions": ["changeStream", "find"],
    };
    let role = doc! { "createRole": "watcher", "privileges": [privileges], "roles": [] };
    block_on(set.client().database(db).run_command(role)).expect("a role");
    let uri = set.create_user("watcher", "secret", &[doc! { "role": "watcher", "db": db }]);
    let finished = Cswatch::new()
        .args(["check", "--uri", &uri, "--db", db, "--no-resume", "--json"])
        .run()
        .expect_code(0);
    let facts = Facts::of(&finished);
    facts.expect("images", "unknown", "listCollections");
    assert_eq!(facts.get("headroom")["mark"], "good");
}

#[test]
fn no_server_is_the_code_7_and_a_damaged_position_the_code_5_as_for_the_watch() {
    let scenario = Scenario::new("check_codes");
    let file = named(&scenario, "position.json");
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200";
    let arguments = ["--uri", nowhere, "--resume-file", &file];
    let finished = Cswatch::new()
        .args(["check"])
        .args(arguments)
        .run()
        .expect_code(7);
    assert!(
        finished.stdout.join("\n").contains("✗ server"),
        "{:?}",
        finished.stdout
    );
    fs::write(&file, "damaged").expect("a file");
    let finished = Cswatch::new()
        .args(["check"])
        .args(arguments)
        .run()
        .expect_code(5);
    let text = finished.stdout.join("\n");
    assert!(text.contains("✗ position file"), "{text}");
    assert!(text.contains("✗ server"), "{text}");
    Cswatch::new()
        .args(["check", "--op", "inserts"])
        .run()
        .expect_code(2);
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let scenario = Scenario::new("check_colour");
    let coloured = |arguments: &[&str]| {
        let finished = check(&scenario, arguments).run().expect_code(0);
        finished.stdout.join("\n").contains("\x1b[32m✓\x1b[0m")
    };
    assert!(!coloured(&[]));
    assert!(coloured(&["--color", "always"]));
    assert!(!coloured(&["--color", "never"]));
}
