//! `cswatch check`: what it reports about servers that a watch can use and about those it cannot, and that its exit code is the watch's.

use std::fs;

use mongodb::bson::doc;
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::finished::Finished;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// Returns `cswatch check` with the options of the scenario's watch.
pub(super) fn check(scenario: &Scenario<'_>, arguments: &[&str]) -> Cswatch {
    Cswatch::new()
        .state_home(&scenario.state_home())
        .args(["check", "--uri", &scenario.set().uri()])
        .args(["--db", scenario.db().name()])
        .args(arguments)
}

/// The report that `--json` prints.
pub(super) struct Report(Value);

impl Report {
    #[track_caller]
    pub(super) fn of(finished: &Finished) -> Report {
        let [line] = finished.stdout.as_slice() else {
            panic!("not one line: {:?}\n{}", finished.stdout, finished.stderr);
        };
        Report(serde_json::from_str(line).expect("JSON"))
    }

    /// Returns the check of this name.
    #[track_caller]
    pub(super) fn get(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["check"] == name);
        check.unwrap_or_else(|| panic!("no {name}: {:#}", self.0))
    }

    /// Fails unless the check of this name has this status, and a message that contains `part`.
    #[track_caller]
    pub(super) fn expect(&self, name: &str, status: &str, part: &str) {
        let check = self.get(name);
        assert_eq!(check["status"], status, "{check}");
        let message = check["message"].as_str().expect("a message");
        assert!(message.contains(part), "{message}");
    }
}

/// Returns the path of a file of the scenario, as an argument.
fn argument(scenario: &Scenario<'_>, name: &str) -> String {
    let path = scenario.path(name);
    path.to_str().expect("a path").to_owned()
}

#[test]
fn prints_an_ok_line_for_every_check_of_a_working_replica_set() {
    // Older servers do not split large events.
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::with_split(),
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_ok");
    block_on(scenario.coll("orders").insert_one(doc! {})).expect("an insert");
    let images = doc! { "enabled": true };
    let create = doc! { "create": "with_images", "changeStreamPreAndPostImages": images };
    block_on(scenario.db().run_command(create)).expect("a collection with images");
    let finished = check(&scenario, &[]).run().expect_code(0);
    assert_eq!(finished.messages(), [""; 0]);
    let lines = finished.stdout;
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix("✓ ").expect("the symbol of ok"))
        .map(|line| line.split("  ").next().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "server",
            "resume file",
            "replica set",
            "version",
            "stream",
            "expanded events",
            "large events",
            "images",
            "checkpoint",
            "headroom",
        ]
    );
    // The messages start in one column.
    let column = lines[1].find(&*scenario.state_home().to_string_lossy());
    let column = column.expect("the default resume file");
    assert!(
        lines.iter().all(|line| line[..column].ends_with("  ")),
        "{lines:#?}"
    );
    let images = lines.iter().find(|line| line.contains(" images "));
    assert!(
        images.is_some_and(|line| line.ends_with("enabled for with_images, not for orders")),
        "{images:?}"
    );
    assert!(!scenario.state_home().exists(), "it created a file");
}

#[test]
fn reports_a_resumable_checkpoint_and_who_uses_it_without_disturbing_the_watch() {
    let scenario = Scenario::new("check_checkpoint");
    let file = argument(&scenario, "resume.json");
    let arguments = ["--coll", "c", "--resume-file", &file];
    let mut cswatch = scenario
        .cswatch(arguments)
        .args(["--max-await", "100ms"])
        .spawn();
    cswatch.wait_open();
    let finished = check(&scenario, &arguments)
        .args(["--json"])
        .run()
        .expect_code(0);
    let report = Report::of(&finished);
    assert_eq!(report.0["works"], true);
    report.expect(
        "resume file",
        "ok",
        &format!("in use by pid {}", cswatch.pid()),
    );
    report.expect("checkpoint", "ok", " ago, can be resumed");
    report.expect(
        "headroom",
        "ok",
        "the oplog has not overwritten anything yet",
    );
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    cswatch.next_event();
    cswatch.kill();
    check(&scenario, &arguments).run().expect_code(0);
}

#[test]
fn exits_with_3_for_a_checkpoint_that_the_oplog_no_longer_reaches() {
    let set = ReplicaSet::start(Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "check_lost");
    let file = argument(&scenario, "resume.json");
    let arguments = ["--coll", "c", "--resume-file", &file];
    scenario
        .cswatch(arguments)
        .args(["--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0);
    let before = fs::read(&file).expect("a resume file");
    set.roll_oplog(set.operation_time());
    let finished = check(&scenario, &arguments)
        .args(["--json"])
        .run()
        .expect_code(3);
    let report = Report::of(&finished);
    report.expect(
        "checkpoint",
        "failed",
        "the oplog no longer reaches back to ",
    );
    let hint = report.get("checkpoint")["hint"].as_str().expect("a hint");
    let expected = "accept the gap with --on-history-lost earliest or --on-history-lost now; ";
    assert!(hint.starts_with(expected), "{hint}");
    report.expect(
        "headroom",
        "failed",
        "none: the oplog reaches back only to ",
    );
    assert_eq!(fs::read(&file).expect("a resume file"), before);
    scenario.cswatch(arguments).run().expect_code(3);
    // A watch that starts now has headroom.
    let arguments = ["--coll", "c", "--json"];
    let report = Report::of(&check(&scenario, &arguments).run().expect_code(0));
    report.expect("headroom", "ok", "cswatch may be down for ");
    assert!(report.get("headroom")["seconds"].is_u64());
}

#[test]
fn inspects_the_output_file_without_changing_it() {
    let scenario = Scenario::new("check_output");
    let file = argument(&scenario, "events.jsonl");
    let arguments = ["--coll", "c", "--output", &file];
    let report = |code| {
        Report::of(
            &check(&scenario, &arguments)
                .args(["--json"])
                .run()
                .expect_code(code),
        )
    };
    report(0).expect("output file", "ok", "events.jsonl, not created yet");
    assert!(!scenario.path("events.jsonl").exists());

    let mut cswatch = scenario.cswatch(arguments).spawn();
    cswatch.wait_open();
    report(0).expect("output file", "ok", "events.jsonl, in use by a watch");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    let watch = scenario.cswatch(arguments).args(["--count", "1"]);
    watch.run().expect_code(0);
    report(0).expect("output file", "ok", "events.jsonl");

    let written = fs::read(&file).expect("events");
    for (content, reason) in [
        (
            [&written, &b"foreign\n"[..]].concat(),
            "was written to by another program",
        ),
        (
            written[1..].to_vec(),
            "is shorter than when the checkpoint was saved",
        ),
    ] {
        fs::write(&file, &content).expect("a change");
        report(5).expect("output file", "failed", reason);
        assert_eq!(fs::read(&file).expect("events"), content);
        scenario.cswatch(arguments).run().expect_code(5);
    }
    let nowhere = argument(&scenario, "nowhere/events.jsonl");
    let finished = check(&scenario, &["--output", &nowhere, "--json"])
        .run()
        .expect_code(6);
    let directory = argument(&scenario, "nowhere");
    Report::of(&finished).expect(
        "output file",
        "failed",
        &format!("directory {directory} does not exist"),
    );
}

#[test]
fn prints_the_command_that_enables_required_images_and_exits_with_8() {
    let scenario = Scenario::new("check_images");
    block_on(scenario.coll("plain").insert_one(doc! {})).expect("an insert");
    let arguments = ["--coll", "plain", "--full-document", "required", "--json"];
    let finished = check(&scenario, &arguments).run().expect_code(8);
    let report = Report::of(&finished);
    report.expect("images", "failed", "not enabled for plain");
    let hint = &report.get("images")["hint"];
    let expected = format!(
        r#"in mongosh: db.getSiblingDB("{}").runCommand({{ collMod: "plain", changeStreamPreAndPostImages: {{ enabled: true }} }})"#,
        scenario.db().name()
    );
    assert_eq!(*hint, expected);
}

#[test]
fn exits_with_8_for_a_standalone_server() {
    let mongod = Mongod::start(MongodBinary::found(), &[]);
    let uri = format!("mongodb://{}/", mongod.address());
    let finished = Cswatch::new()
        .args(["check", "--uri", &uri, "--no-resume"])
        .run()
        .expect_code(8);
    let text = finished.stdout.join("\n");
    assert!(text.contains("✗ replica set"), "{text}");
    assert!(text.contains("→ start mongod with --replSet rs0"), "{text}");
    let watch = Cswatch::new().args(["--uri", &uri, "--no-resume"]).run();
    watch.expect_code(8);
}

#[test]
fn exits_with_8_for_a_missing_privilege_and_names_it() {
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
    let report = Report::of(&finished);
    report.expect("server", "ok", "connected to ");
    report.expect(
        "stream",
        "failed",
        &format!(
            "missing privilege: changeStream and find on database {db} for user stranger of admin ("
        ),
    );
    let hint = format!(
        r#"in mongosh: db.getSiblingDB("admin").grantRolesToUser("stranger", [{{ role: "read", db: "{db}" }}])"#
    );
    assert_eq!(report.get("stream")["hint"], hint);

    // The stream's own privileges are enough for everything except the list of collections.
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
    let report = Report::of(&finished);
    report.expect("images", "unknown", "listCollections");
    assert_eq!(report.get("headroom")["status"], "ok");
}

#[test]
fn exits_with_the_code_of_the_watch_without_a_server_and_for_a_damaged_resume_file() {
    let scenario = Scenario::new("check_codes");
    let file = argument(&scenario, "resume.json");
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
    assert!(text.contains("✗ resume file"), "{text}");
    assert!(text.contains("✗ server"), "{text}");
    Cswatch::new()
        .args(["check", "--op", "inserts"])
        .run()
        .expect_code(2);
}

#[test]
fn colors_its_symbols_only_on_a_terminal_or_on_request() {
    let scenario = Scenario::new("check_color");
    let green = "\x1b[32m✓\x1b[0m";
    let is_colored = |arguments: &[&str]| {
        let finished = check(&scenario, arguments).run().expect_code(0);
        finished.stdout.join("\n").contains(green)
    };
    let (terminal, written) = Terminal::open(80);
    check(&scenario, &[])
        .without_env("NO_COLOR")
        .stdout(Stdout::File(written))
        .run()
        .expect_code(0);
    assert!(terminal.lines().join("\n").contains(green));
    assert!(!is_colored(&[]));
    assert!(is_colored(&["--color", "always"]));
    assert!(!is_colored(&["--color", "never"]));
}
