//! Users without the privileges of the stream: the message names the user, and the hint is the call that grants them.

use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The password of the users.
const PASSWORD: &str = "a-password";

/// The arguments of a run that ends when its stream is open and has caught up.
const UNTIL_NOW: [&str; 5] = ["--no-resume", "--until", "now", "--max-await", "50ms"];

/// Creates a user with these roles in a database, and returns its connection string.
fn create_user(set: &ReplicaSet, user: &str, home: &str, roles: &[Document]) -> String {
    let create = doc! { "createUser": user, "pwd": PASSWORD, "roles": roles };
    block_on(set.client().database(home).run_command(create)).expect("a user");
    let name = user.replace('"', "%22");
    format!("{}&authSource={home}", set.uri_as(&name, PASSWORD))
}

/// Runs a call `db.getSiblingDB(HOME).grantRolesToUser(USER, ROLES)` as mongosh would.
#[track_caller]
fn run_as_mongosh(set: &ReplicaSet, call: &str) {
    let arguments = call
        .strip_prefix("db.getSiblingDB(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(").grantRolesToUser("));
    let Some((home, arguments)) = arguments else {
        panic!("not a call of grantRolesToUser: {call}");
    };
    let values = cswatch::shell_syntax::parse(&format!("[{home}, {arguments}]"));
    let values = values.unwrap_or_else(|error| panic!("{error}: {call}"));
    let [Bson::String(home), user, roles] = &values.as_array().expect("an array")[..] else {
        panic!("not a call of grantRolesToUser: {call}");
    };
    let grant = doc! { "grantRolesToUser": user, "roles": roles };
    block_on(set.client().database(home).run_command(grant)).expect("a grant");
}

#[test]
fn names_the_user_and_the_call_that_grants_the_missing_privilege_of_each_scope() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "privileges");
    let db = scenario.db().name();
    let role: &dyn Fn(&str, &str) -> String =
        &|role, db| format!(r#"[{{ role: "{role}", db: "{db}" }}]"#);
    let reads_db = doc! { "role": "read", "db": db };
    for (user, home, has, arguments, resource, roles) in [
        (
            "one",
            "admin",
            vec![],
            vec!["--db", db, "--coll", "c"],
            format!("{db}.c"),
            role("read", db),
        ),
        (
            "several",
            "admin",
            vec![],
            vec!["--db", db, "--coll", "c,d"],
            format!("database {db}"),
            role("read", db),
        ),
        (
            r#"say"hi""#,
            "people",
            vec![],
            vec!["--db", db],
            format!("database {db}"),
            role("read", db),
        ),
        (
            "all",
            "admin",
            vec![],
            vec![],
            r#"every database ({db: "", collection: ""})"#.to_owned(),
            role("readAnyDatabase", "admin"),
        ),
        (
            "reader-of-one",
            "admin",
            vec![reads_db],
            vec![],
            r#"every database ({db: "", collection: ""})"#.to_owned(),
            role("readAnyDatabase", "admin"),
        ),
    ] {
        let uri = create_user(&set, user, home, &has);
        let message = format!(
            "missing privilege: changeStream and find on {resource} for user {user} of {home} (not authorized on "
        );
        let name = user.replace('"', r#"\""#);
        let call = format!(r#"db.getSiblingDB("{home}").grantRolesToUser("{name}", {roles})"#);
        let hint = format!("in mongosh: {call}");
        let run = |command: &[&str]| {
            let cswatch = Cswatch::new().args(command).args(["--uri", &uri]);
            cswatch.args(&arguments)
        };
        let run_watch = || run(&UNTIL_NOW).run();
        run_watch().expect_code(8).expect_error(&message, &hint);
        let run_check = || run(&["check", "--json", "--no-resume"]).run();
        let line = stream_line(&run_check().expect_code(8).stdout[0]);
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with(&message)),
            "{line}"
        );
        assert_eq!(line["hint"], hint);

        run_as_mongosh(&set, &call);
        run_watch().expect_code(0);
        assert_eq!(
            stream_line(&run_check().expect_code(0).stdout[0])["status"],
            "ok"
        );
    }
}

/// Returns the line about the stream in a report of `check`.
#[track_caller]
fn stream_line(report: &str) -> Value {
    line(report, "stream")
}

/// Returns the line about `name` in a report of `check`.
#[track_caller]
fn line(report: &str, name: &str) -> Value {
    let report: Value = serde_json::from_str(report).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["check"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {report}"))
        .clone()
}

#[test]
fn names_the_missing_privilege_to_list_collections() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "listing");
    let db = scenario.db().name();
    let privilege = |actions: &[&str]| -> Document {
        doc! { "resource": { "db": db, "collection": "" }, "actions": actions }
    };
    let privileges = [privilege(&["changeStream", "find"])];
    let role = doc! { "createRole": "watcher", "privileges": &privileges[..], "roles": [] };
    block_on(scenario.db().run_command(role)).expect("a role");
    let uri = create_user(&set, "watcher", "admin", &[]);
    let role = doc! { "role": "watcher", "db": db };
    set.admin(doc! { "grantRolesToUser": "watcher", "roles": [role] });
    let check = || {
        let check = Cswatch::new().args(["check", "--json", "--no-resume", "--uri", &uri]);
        let finished = check.args(["--db", db]).run().expect_code(0);
        line(&finished.stdout[0], "images")
    };
    let report = check();
    let message = format!(
        "missing privilege: listCollections on database {db} for user watcher of admin (not authorized on {db} to execute command listCollections ("
    );
    assert!(
        report["message"]
            .as_str()
            .is_some_and(|text| text.starts_with(&message)),
        "{report}"
    );
    let hint = report["hint"].as_str().expect("a hint");
    let call = hint.strip_prefix("in mongosh: ").expect("a call");
    run_as_mongosh(&set, call);
    let message = check()["message"].clone();
    assert_eq!(message, "no watched collection exists yet");
}
