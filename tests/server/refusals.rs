//! Servers that are reached and refuse the stream, at the start or later: exit code 8, and one error that names what is refused and
//! what to do.

use std::path::PathBuf;
use std::sync::OnceLock;

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert};
use testkit::finished::Finished;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ROOT_PASSWORD, ROOT_USER, ReplicaSet};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The hint of a login that failed.
const CHECK_LOGIN: &str = "; check user, password and authSource in --uri (authSource is the database the user was made in, often admin)";

/// Of the users that tests create.
const PASSWORD: &str = "a-password";

/// One that clients must log in to, for all tests here.
fn guarded() -> &'static ReplicaSet {
    static GUARDED: OnceLock<ReplicaSet> = OnceLock::new();
    GUARDED.get_or_init(|| {
        ReplicaSet::start(Options {
            auth: true,
            ..Options::default()
        })
    })
}

/// Runs it against `uri` with these arguments and a position file, which is not made.
#[track_caller]
fn run(uri: &str, arguments: &[&str]) -> Finished {
    let scenario = Scenario::new("refused");
    let file = scenario.path("position.json");
    let run = Cswatch::new()
        .args(["--uri", uri])
        .args(arguments)
        .args([PathBuf::from("--resume-file"), file.clone()])
        .run();
    assert!(!file.exists(), "a start that failed is no position");
    run
}

#[test]
fn standalone_server_is_told_how_to_become_a_set() {
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
            "; change streams need a replica set: start mongod with --replSet rs0 and run rs.initiate() once",
        );
    }
}

#[test]
fn wrong_password_and_unknown_user_are_told_without_the_password() {
    for (user, password) in [(ROOT_USER, "wrong-password"), ("nobody", ROOT_PASSWORD)] {
        let uri = guarded().uri_as(user, password);
        let run = run(&uri, &["--db", "db"]);
        assert!(!run.stderr.contains(password), "{}", run.stderr);
        run.expect_failure(8, "authentication failed: ", CHECK_LOGIN);
    }
}

#[test]
fn wrong_password_is_not_tried_again_with_wait() {
    let uri = guarded().uri_as(ROOT_USER, "wrong-password");
    let run = run(&uri, &["--db", "db", "--wait"]);
    run.expect_failure(8, "authentication failed: ", CHECK_LOGIN);
}

#[test]
fn missing_privilege_is_named_with_a_role_that_has_it() {
    let elsewhere = guarded().create_user(
        "elsewhere",
        PASSWORD,
        &[doc! { "role": "read", "db": "other" }],
    );
    let reader = guarded().create_user("reader", PASSWORD, &[doc! { "role": "read", "db": "db" }]);
    let collection: &[&str] = &["--db", "db", "--coll", "c"];
    let collections: &[&str] = &["--db", "db", "--coll", "c,d"];
    let database: &[&str] = &["--db", "db"];
    let deployment: &[&str] = &[];
    let of_collection = ("db.c (", "grant the user the role read on db");
    let of_database = ("database db (", "grant the user the role read on db");
    let of_deployment = (
        "every database ({db: \"\", collection: \"\"}) (",
        "grant the user the role readAnyDatabase on admin",
    );
    for (uri, scope, (resource, way_out)) in [
        (&elsewhere, collection, of_collection),
        (&elsewhere, collections, of_database),
        (&elsewhere, database, of_database),
        (&elsewhere, deployment, of_deployment),
        (&reader, deployment, of_deployment),
    ] {
        run(uri, scope).expect_failure(
            8,
            &format!("missing privilege: changeStream and find on {resource}"),
            way_out,
        );
    }
}

/// The user of [`watch_as_reader`].
const USER: &str = "reader";

/// A watch of `c` by a user who may read the database.
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
            "missing privilege: changeStream and find on {db}.c (not authorized on {db} to execute command"
        ),
        &format!("; grant the user the role read on {db}"),
    );
}

#[test]
fn ends_when_the_password_of_its_user_has_changed_once_it_must_reconnect() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "password_changed");
    let running = watch_as_reader(&scenario);
    set.admin(doc! { "updateUser": USER, "pwd": "second" });
    // Connections made before stay logged in; a restart ends them.
    set.primary().restart();
    let run = running.wait().expect_code(8);
    run.expect_error("authentication failed: ", CHECK_LOGIN);
}

#[test]
fn missing_login_is_told_as_such() {
    run(&guarded().uri_of_nobody(), &["--db", "db"]).expect_failure(
        8,
        "not logged in: ",
        "; write user:password@ before the host in --uri, and authSource= behind it when the user was not made in admin",
    );
}

#[test]
fn roles_named_for_a_missing_privilege_are_enough() {
    let scenario = Scenario::on(guarded(), "enough");
    let db = scenario.db().name();
    let read = guarded().create_user("read_on_db", PASSWORD, &[doc! { "role": "read", "db": db }]);
    let read_any = guarded().create_user(
        "read_any",
        PASSWORD,
        &[doc! { "role": "readAnyDatabase", "db": "admin" }],
    );
    let mut id = 0;
    for (uri, scope) in [
        (&read, &["--db", db, "--coll", "c"] as &[&str]),
        (&read, &["--db", db, "--coll", "c,d"]),
        (&read, &["--db", db]),
        (&read_any, &[]),
    ] {
        let mut running = Cswatch::new()
            .args(["--uri", uri, "--no-resume"])
            .args(scope)
            .spawn();
        running.wait_open();
        id += 1;
        insert(&scenario.coll("c"), [id]);
        running.lines_until(|line| brief(line) == format!("insert {id}"));
        running.kill();
    }
}

#[test]
fn view_and_time_series_are_told_what_to_watch_instead() {
    let scenario = Scenario::new("view");
    let db = scenario.db();
    insert(&scenario.coll("c"), 1..=1);
    block_on(db.run_command(doc! { "create": "view", "viewOn": "c" })).expect("a view");
    let series = doc! { "create": "series", "timeseries": { "timeField": "t" } };
    block_on(db.run_command(series)).expect("a time series");
    for (coll, why) in [
        (
            "view",
            "is a view, not a collection (CommandNotSupportedOnView, code 166)",
        ),
        ("series", "is a timeseries collection"),
    ] {
        run(&scenario.set().uri(), &["--db", db.name(), "--coll", coll]).expect_failure(
            8,
            &format!(
                "the server refuses the stream: Namespace {}.{coll} {why}",
                db.name()
            ),
            "; a view or time-series collection has no change stream; watch the collection behind it",
        );
    }
}

#[test]
fn images_that_the_collection_does_not_keep_are_told_how_to_be_kept() {
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
            "collMod with changeStreamPreAndPostImages: {enabled: true}, or use whenAvailable instead of required (and --resume-file: the default position is of these options alone)",
        );
        block_on(coll.delete_many(doc! {})).expect("a delete");
    }
}

#[test]
fn modes_that_do_not_exist_are_refused_before_connecting() {
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
        // `updatelookup` is a mode in another case.
        for mode in ["sometimes", "updatelookup"] {
            let run = Cswatch::new().args([flag, mode]).run_unconnected();
            let run = run.expect_code(2);
            assert!(
                run.stderr
                    .contains(&format!("invalid value '{mode}' for '{flag} "))
                    && run.stderr.contains(&format!("[possible values: {modes}]")),
                "{}",
                run.stderr
            );
        }
    }
}

/// Anything that is none of the kinds which have a code of their own.
#[test]
fn any_other_failure_has_code_1() {
    // Standard streams and little more: not enough for the runtime.
    let run = Cswatch::new()
        .args(["--uri", "mongodb://127.0.0.1:1", "--no-resume"])
        .through(["prlimit", "--nofile=5"])
        .run()
        .expect_code(1);
    assert!(
        run.stderr.contains("cswatch: error: ") && run.stderr.contains("Too many open files"),
        "{}",
        run.stderr
    );
}
