//! What the server refuses: credentials, privileges, and streams that cannot be. Each is code 8, or 2 where no server is needed to
//! tell, with the way out.

use mongodb::bson::{Document, doc};

use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert};
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{Finished, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// It ended with this code, printed nothing, and its last line on stderr begins and ends so.
#[track_caller]
fn assert_refused(run: Finished, code: i32, what: &str, way_out: &str) {
    let run = run.expect_code(code);
    assert_eq!(run.stdout, [""; 0]);
    assert_said(&run, what, way_out);
}

#[track_caller]
fn assert_said(run: &Finished, what: &str, way_out: &str) {
    let last = run.stderr.lines().last().expect("a line on stderr");
    let what = format!("cswatch: error: {what}");
    assert!(last.contains(&what) && last.ends_with(way_out), "{last}");
}

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
fn f27_role_revoked_meanwhile() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "f27_role");
    let running = watch_as_reader(&scenario);
    set.admin(doc! { "updateUser": USER, "roles": [] });
    let db = scenario.db().name();
    let run = running.wait().expect_code(8);
    assert_said(
        &run,
        &format!(
            "missing privilege: changeStream and find on {db}.c (not authorized on {db} to execute command"
        ),
        &format!("; grant the user the role read on {db}"),
    );
}

#[test]
fn f27_password_changed_and_connections_dropped_meanwhile() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "f27_password");
    let running = watch_as_reader(&scenario);
    set.admin(doc! { "updateUser": USER, "pwd": "second" });
    // Connections that were there before go on; a restart ends them.
    set.primary().restart();
    let run = running.wait().expect_code(8);
    assert_said(
        &run,
        "authentication failed: ",
        "; check user, password and authSource in --uri (authSource is the database the user was made in, often admin)",
    );
}

#[test]
fn f28_standalone_server() {
    let mongod = Mongod::start(MongodBinary::found(), &[]);
    let uri = format!("mongodb://{}", mongod.address());
    let run = Cswatch::new()
        .args(["--uri", &uri, "--db", "d", "--coll", "c"])
        .run();
    assert_refused(
        run,
        8,
        "the server refuses the stream: The $changeStream stage is only supported on replica sets (Location40573, code 40573)",
        "; change streams need a replica set: start mongod with --replSet rs0 and run rs.initiate() once",
    );
}

#[test]
fn f28_view() {
    let scenario = Scenario::new("f28_view");
    let create: Document = doc! { "create": "v", "viewOn": "c", "pipeline": [] };
    block_on(scenario.db().run_command(create)).expect("a view");
    assert_refused(
        scenario.cswatch(["--coll", "v"]).run(),
        8,
        &format!(
            "the server refuses the stream: Namespace {}.v is a view, not a collection (CommandNotSupportedOnView, code 166)",
            scenario.db().name()
        ),
        "; a view or time-series collection has no change stream; watch the collection behind it",
    );
}

#[test]
fn f28_stage_or_mode_that_no_stream_takes() {
    let scenario = Scenario::new("f28_flags");
    let run = |flags: [&str; 2]| {
        scenario
            .cswatch(["--coll", "c"])
            .args(flags)
            .run()
            .expect_code(2)
    };
    let group = run(["--pipeline", r#"[{"$group":{"_id":"$ns"}}]"#]);
    assert!(group.stderr.contains("$group"), "{}", group.stderr);
    let mode = run(["--full-document", "updatelookup"]);
    assert!(
        mode.stderr
            .contains("invalid value 'updatelookup' for '--full-document"),
        "{}",
        mode.stderr
    );
    // An operator that only the server knows not to be one.
    assert_refused(
        scenario
            .cswatch(["--coll", "c", "--match", r#"{"a":{"$no":1}}"#])
            .run(),
        8,
        "the server refuses the stream: unknown operator: $no (BadValue, code 2)",
        "; see --explain for what was sent",
    );
}

#[test]
fn f28_id_projected_out() {
    let scenario = Scenario::new("f28_id");
    let watch = |pipeline| scenario.cswatch(["--coll", "c", "--pipeline", pipeline]);
    let seen = watch(r#"[{"$project":{"_id":0}}]"#).run().expect_code(2);
    let why =
        "drops or changes _id, which is the event's resume token; keep _id as the server sent it";
    assert!(seen.stderr.contains(why), "{}", seen.stderr);

    // Where only the first event shows it.
    let hidden = r#"[{"$replaceRoot":{"newRoot":{"$mergeObjects":["$fullDocument"]}}}]"#;
    let mut running = watch(hidden).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    assert_refused(
        running.wait(),
        8,
        "the server refuses the stream: ",
        "; the pipeline drops or changes _id, which is the event's resume token; keep it as the server sent it",
    );
}
