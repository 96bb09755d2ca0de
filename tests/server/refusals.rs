//! Servers that refuse the stream, at the start or later: exit code 8, and an error with its reason and a hint.

use std::path::PathBuf;
use std::sync::OnceLock;

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert};
use testkit::finished::Finished;
use testkit::mongod::Mongod;
use testkit::mongod_binary::{MongodBinary, Version};
use testkit::replica_set::{Options, ROOT_PASSWORD, ROOT_USER, ReplicaSet};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The hint of a login that failed.
const CHECK_LOGIN: &str = "check user, password and authSource in --uri (authSource is the database the user was created in, often admin)";

/// Returns a replica set that requires a login, for all tests here.
fn set_with_login() -> &'static ReplicaSet {
    static SET: OnceLock<ReplicaSet> = OnceLock::new();
    SET.get_or_init(|| {
        ReplicaSet::start(Options {
            auth: true,
            ..Options::default()
        })
    })
}

/// Runs `cswatch` with `uri`, these arguments and a resume file, and checks that it does not create the file.
#[track_caller]
fn run(uri: &str, arguments: &[&str]) -> Finished {
    let scenario = Scenario::new("refused");
    let file = scenario.path("resume.json");
    let run = Cswatch::new()
        .args(["--uri", uri])
        .args(arguments)
        .args([PathBuf::from("--resume-file"), file.clone()])
        .run();
    assert!(!file.exists(), "a start that failed saved a checkpoint");
    run
}

#[test]
fn explains_how_to_make_a_standalone_server_a_replica_set() {
    let mongod = Mongod::start(MongodBinary::found(), &[]);
    let uri = format!("mongodb://{}/", mongod.address());
    for scope in [
        &[] as &[&str],
        &["--db", "db"],
        &["--db", "db", "--coll", "c"],
    ] {
        run(&uri, scope).expect_failure(
            8,
            "the server refuses the stream: The $changeStream stage is only supported on replica sets (Location40573, code 40573)",
            "change streams need a replica set: start mongod with --replSet rs0 and run rs.initiate() once",
        );
    }
}

#[test]
fn reports_a_wrong_password_and_an_unknown_user_without_the_password() {
    for (user, password) in [(ROOT_USER, "wrong-password"), ("unknown", ROOT_PASSWORD)] {
        let uri = set_with_login().uri_as(user, password);
        let run = run(&uri, &["--db", "db"]);
        assert!(!run.stderr.contains(password), "{}", run.stderr);
        run.expect_failure(8, "authentication failed: ", CHECK_LOGIN);
    }
}

#[test]
fn does_not_retry_a_wrong_password_with_wait() {
    let uri = set_with_login().uri_as(ROOT_USER, "wrong-password");
    let run = run(&uri, &["--db", "db", "--wait"]);
    run.expect_failure(8, "authentication failed: ", CHECK_LOGIN);
}

/// The user of [`watch_as_reader`].
const USER: &str = "reader";

/// Starts a watch of `c` by a user with the role `read` on the database.
fn watch_as_reader(scenario: &Scenario) -> Running {
    let set = scenario.set();
    set.admin(doc! {
        "createUser": USER, "pwd": "first",
        "roles": [{ "role": "read", "db": scenario.db().name() }],
    });
    let uri = format!(
        "{}&authSource=admin&serverSelectionTimeoutMS=1000&heartbeatFrequencyMS=500",
        set.uri_as(USER, "first")
    );
    let mut running = Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name(), "--coll", "c"])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    running
}

#[test]
fn ends_when_the_role_of_its_user_is_revoked() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "role_revoked");
    let running = watch_as_reader(&scenario);
    set.admin(doc! { "updateUser": USER, "roles": [] });
    let db = scenario.db().name();
    let run = running.wait().expect_code(8);
    run.expect_error(
        &format!(
            "missing privilege: changeStream and find on {db}.c for user {USER} of admin (not authorized on {db} to execute command"
        ),
        &format!(r#"in mongosh: db.getSiblingDB("admin").grantRolesToUser("{USER}", [{{ role: "read", db: "{db}" }}])"#),
    );
}

#[test]
fn ends_at_the_next_reconnect_after_the_password_of_its_user_changed() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "password_changed");
    let running = watch_as_reader(&scenario);
    set.admin(doc! { "updateUser": USER, "pwd": "second" });
    // Existing connections stay logged in; a restart closes them.
    set.primary().restart();
    let run = running.wait().expect_code(8);
    run.expect_error("authentication failed: ", CHECK_LOGIN);
}

#[test]
fn reports_that_no_user_is_logged_in() {
    run(&set_with_login().uri_without_login(), &["--db", "db"]).expect_failure(
        8,
        "not logged in: ",
        "write user:password@ before the host in --uri, and authSource= after it when the user was not created in admin",
    );
}

#[test]
fn refuses_a_view_and_a_time_series_and_names_what_to_watch_instead() {
    let scenario = Scenario::new("view");
    let db = scenario.db();
    insert(&scenario.coll("c"), 1..=1);
    block_on(db.run_command(doc! { "create": "view", "viewOn": "c" })).expect("a view");
    let series = doc! { "create": "series", "timeseries": { "timeField": "t" } };
    block_on(db.run_command(series)).expect("a time series");
    let name = db.name();
    let series = if MongodBinary::found().version < Version(7, 0, 0) {
        format!("Namespace {name}.series is a timeseries collection")
    } else {
        format!("Cannot run aggregation on timeseries with namespace {name}.series")
    };
    let view = format!("Namespace {name}.view is a view, not a collection");
    for (coll, why) in [("view", view), ("series", series)] {
        run(&scenario.set().uri(), &["--db", name, "--coll", coll]).expect_failure(
            8,
            &format!(
                "the server refuses the stream: {why} (CommandNotSupportedOnView, code 166)"
            ),
            "a view or time-series collection has no change stream; watch the collection it is based on",
        );
    }
}

#[test]
fn explains_how_to_enable_images_that_the_collection_does_not_keep() {
    let scenario = Scenario::new("images");
    let coll = scenario.coll("c");
    for option in ["--full-document", "--full-document-before-change"] {
        insert(&coll, 1..=1);
        let mut running = scenario
            .cswatch(["--coll", "c", "--op", "update", option, "required"])
            .args(["--resume-file"])
            .args([scenario.path(&format!("{option}.json"))])
            .spawn();
        running.wait_open();
        let set = doc! { "$set": { "a": 1 } };
        block_on(coll.update_one(doc! { "_id": 1 }, set)).expect("an update");
        running.wait().expect_code(8).expect_error(
            "the server refuses the stream: ",
            &format!(
                "the collection keeps no pre- or post-images, or they expired: use whenAvailable instead of required, \
                 or in mongosh: db.getSiblingDB(\"{}\").runCommand({{ collMod: \"c\", changeStreamPreAndPostImages: {{ enabled: true }} }})",
                scenario.db().name()
            ),
        );
        block_on(coll.delete_many(doc! {})).expect("a delete");
    }
}

#[test]
fn refuses_unknown_modes_before_connecting() {
    for (flag, modes) in [
        (
            "--full-document",
            "default, updateLookup, whenAvailable, required",
        ),
        (
            "--full-document-before-change",
            "off, whenAvailable, required",
        ),
        ("--on-invalidate", "exit, reopen"),
        ("--on-history-lost", "fail, now, earliest"),
        ("--format", "canonical, relaxed"),
    ] {
        // `updatelookup` is the name of a mode in the wrong case.
        for mode in ["sometimes", "updatelookup"] {
            let run = Cswatch::new().args([flag, mode]).run_unconnected();
            let run = run.expect_code(2);
            assert!(
                run.stderr
                    .contains(&format!("invalid value '{mode}' for '{flag} "))
                    && run.stderr.contains(&format!("use one of {modes}")),
                "{}",
                run.stderr
            );
        }
    }
}

#[test]
fn ends_with_code_1_on_any_other_failure() {
    // Five files are not enough for the runtime: it needs more than the standard streams.
    let run = Cswatch::new()
        .args(["--uri", "mongodb://127.0.0.1:1", "--no-resume"])
        .through(["prlimit", "--nofile=5"])
        .run()
        .expect_code(1);
    run.expect_error(
        "cannot start the runtime: Too many open files (os error 24)",
        "",
    );
}
