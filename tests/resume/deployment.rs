//! Checkpoints of another deployment: refused, even if it has the name and the address of the one that they were saved for.

use std::fs;
use std::path::{Path, PathBuf};

use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::events::{briefs, checkpoint, insert, inserts};
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Password of the users that are created here.
const PASSWORD: &str = "password";

/// Creates a user that may read the database of `scenario` and nothing else. Returns its connection string.
fn reader(scenario: &Scenario<'_>) -> String {
    let role = doc! { "role": "read", "db": scenario.db().name() };
    scenario.set().create_user("reader", PASSWORD, &[role])
}

/// A command line that watches collection `c`.
fn watch(scenario: &Scenario<'_>, uri: &str, file: &Path) -> Cswatch {
    Cswatch::new()
        .args(["--uri", uri, "--db", scenario.db().name(), "--coll", "c"])
        .args(["--max-await", "50ms", "--resume-file"])
        .args([file])
}

/// Saves a checkpoint with the token of an event, and one with a high-water mark. Returns their files.
#[track_caller]
fn save_both(scenario: &Scenario<'_>, uri: &str, name: &str) -> [PathBuf; 2] {
    let mark = scenario.path(&format!("{name}-mark.json"));
    let event = scenario.path(&format!("{name}-event.json"));
    for file in [&mark, &event] {
        let run = watch(scenario, uri, file).args(["--until", "now"]).run();
        run.expect_code(0);
    }
    insert(&scenario.coll("c"), [1]);
    let run = watch(scenario, uri, &event).args(["--count", "1"]).run();
    assert_eq!(briefs(&run.expect_code(0).stdout), inserts([1]));
    delete_all(scenario);
    [mark, event]
}

fn delete_all(scenario: &Scenario<'_>) {
    block_on(scenario.coll("c").delete_many(doc! {})).expect("a delete");
}

/// Checks that a watch and `check` refuse `file`, and do not touch it.
#[track_caller]
fn expect_refused(scenario: &Scenario<'_>, uri: &str, file: &Path) {
    let before = fs::read(file).expect("a resume file");
    // The new deployment has events after the time of the checkpoint.
    insert(&scenario.coll("c"), [2]);
    let run = watch(scenario, uri, file).args(["--until", "now"]).run();
    expect_another_deployment(run, file);
    let check = Cswatch::new()
        .args(["check", "--json", "--uri", uri])
        .args(["--db", scenario.db().name(), "--coll", "c", "--resume-file"])
        .args([file])
        .run()
        .expect_code(5);
    let report: Value = serde_json::from_str(&check.stdout[0]).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let checkpoint = checks.iter().find(|check| check["check"] == "checkpoint");
    let checkpoint = checkpoint.expect("a checkpoint");
    assert_eq!(checkpoint["status"], "failed", "{checkpoint}");
    assert_eq!(checkpoint["exit_code"], 5, "{checkpoint}");
    assert_eq!(fs::read(file).expect("a resume file"), before);
    delete_all(scenario);
}

#[track_caller]
fn expect_another_deployment(run: Finished, file: &Path) {
    let run = run.expect_code(5);
    assert_eq!(run.stdout, [""; 0]);
    let error = format!(
        "cswatch: error: resume file {} belongs to another deployment of the same name: its ",
        file.display()
    );
    let lines = run.messages();
    assert!(
        lines.len() == 2 && lines[0].contains(&error) && lines[1].contains("move the file away"),
        "{}",
        run.stderr
    );
}

#[test]
fn refuses_a_checkpoint_of_a_set_whose_volume_was_wiped() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "wiped");
    let files = save_both(&scenario, &set.uri(), "any");
    set.wipe();
    for file in files {
        expect_refused(&scenario, &set.uri(), &file);
    }
}

#[test]
fn refuses_a_checkpoint_of_a_set_with_authentication_whose_volume_was_wiped() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "wiped_auth");
    let reader_uri = reader(&scenario);
    let by_reader = save_both(&scenario, &reader_uri, "reader");
    let by_root = save_both(&scenario, &set.uri(), "root");
    set.wipe();
    assert_eq!(reader(&scenario), reader_uri);
    for file in by_reader.iter().chain(&by_root) {
        for uri in [&reader_uri, &set.uri()] {
            expect_refused(&scenario, uri, file);
        }
    }
}

#[test]
fn completes_the_saved_identity_and_never_forgets_a_part_of_it() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "completed");
    let reader_uri = reader(&scenario);
    let file = scenario.path("resume.json");
    let run = |uri: &str| {
        let run = watch(&scenario, uri, &file).args(["--until", "now"]).run();
        run.expect_code(0);
        let saved = checkpoint(&file);
        assert_eq!(saved["version"], 2);
        assert_eq!(saved["set"], "rs0");
        assert!(saved["signingKey"].is_i64(), "{saved}");
        saved["deployment"].clone()
    };
    assert_eq!(run(&reader_uri), Value::Null);
    let config = set.admin(doc! { "replSetGetConfig": 1 });
    let settings = config
        .get_document("config")
        .and_then(|config| config.get_document("settings"));
    let id = settings.and_then(|settings| settings.get_object_id("replicaSetId"));
    let id = id.expect("an id").to_hex();
    assert_eq!(run(&set.uri()), id);
    assert_eq!(run(&reader_uri), id);
}

#[test]
fn ends_when_the_volume_was_wiped_during_an_outage() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "wiped_meanwhile");
    let file = scenario.path("resume.json");
    let mut running = watch(&scenario, &set.uri(), &file).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), [1]);
    assert_eq!(briefs(&[running.next_line()]), inserts([1]));
    set.wipe();
    insert(&scenario.coll("c"), [2]);
    let run = running.wait().expect_code(5);
    assert_eq!(briefs(&run.stdout), inserts([1]));
    let error =
        "cswatch: error: connected to another deployment than before the outage: its id is ";
    assert!(run.stderr.contains(error), "{}", run.stderr);
}
