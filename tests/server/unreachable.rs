//! Servers that cannot be reached at the start: exit code 7, each cause with its own message and hint, and `--wait`, which keeps
//! trying.

use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert};
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::port::{free_listener, free_port};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Options that make the driver give an attempt up within a second, where it takes 10 s otherwise.
const IMPATIENT: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// It ends with code 7 and one error: which hosts cannot be reached, and why.
#[track_caller]
fn expect_unreachable(uri: &str, hosts: &str, why: &str, hint: &str) {
    let scenario = Scenario::new("unreachable");
    let file = scenario.path("position.json");
    let run = Cswatch::new()
        .args(["--uri", uri, "--db", "db", "--coll", "c", "--resume-file"])
        .args([&file])
        .run();
    let message = format!("cannot reach MongoDB at {hosts}: {why} (");
    run.expect_failure(7, &message, hint);
    assert!(!file.exists(), "a start that failed is no position");
}

#[test]
fn refused_connection_is_told_as_such() {
    let host = format!("127.0.0.1:{}", free_port());
    let started = Instant::now();
    expect_unreachable(
        &format!("mongodb://{host}/?{IMPATIENT}"),
        &host,
        "the connection was refused",
        "; check that mongod runs there and on that port; --wait keeps trying",
    );
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn name_that_cannot_be_resolved_is_told_as_such() {
    // No such name can exist (RFC 6761).
    let way_out = "check the host in --uri and the machine's DNS";
    expect_unreachable(
        &format!("mongodb://no-such-host.invalid/?{IMPATIENT}"),
        "no-such-host.invalid:27017",
        "its name cannot be resolved",
        way_out,
    );
    expect_unreachable(
        "mongodb+srv://cluster.no-such-host.invalid/",
        "cluster.no-such-host.invalid",
        "its name cannot be resolved",
        way_out,
    );
}

#[test]
fn server_without_tls_is_told_as_such() {
    let host = ReplicaSet::shared().primary().address();
    expect_unreachable(
        &format!("mongodb://{host}/?tls=true&{IMPATIENT}"),
        &host,
        "TLS could not be agreed on",
        "check tls=true, tlsCAFile and the host's name in --uri against the server's certificate",
    );
}

#[test]
fn set_of_another_name_is_told_as_such() {
    let host = ReplicaSet::shared().primary().address();
    expect_unreachable(
        &format!("mongodb://{host}/?replicaSet=other&{IMPATIENT}"),
        &host,
        "no member of that replica set answers",
        "; check replicaSet= in --uri against rs.status(), and that the members' own host names can be reached from here; directConnection=true asks one server only",
    );
}

#[test]
fn server_that_does_not_answer_is_told_as_such() {
    // Connections are made, and nobody reads them.
    let silent = free_listener();
    let host = silent.local_addr().expect("an address").to_string();
    expect_unreachable(
        &format!("mongodb://{host}/?{IMPATIENT}"),
        &host,
        "no answer",
        "check host and port in --uri and the firewalls between; --wait keeps trying",
    );
}

#[test]
fn server_that_hangs_up_is_told_as_such() {
    let listener = free_listener();
    let host = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    expect_unreachable(
        &format!("mongodb://{host}/?{IMPATIENT}"),
        &host,
        "the connection was closed by the other side",
        "check that the port speaks MongoDB, and whether the server wants TLS: tls=true in --uri",
    );
}

#[test]
fn waits_for_a_server_that_is_started_later() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "started_later");
    let uri = format!("{}&{IMPATIENT}", set.uri());
    let primary = set.primary();
    primary.kill();
    let mut running = Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name(), "--no-resume"])
        .args(["--wait"])
        .spawn();
    running.expect_stderr("warning: no connection yet, trying again: ");
    primary.restart();
    set.primary();
    running.expect_stderr("connection is there after ");
    running.wait_open();
    insert(&scenario.coll("c"), 1..=5);
    running.expect_inserts(1..=5);
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
}

#[test]
fn waits_for_a_set_that_is_initiated_later() {
    let mongod = Mongod::start(MongodBinary::found(), &["--replSet=rs0".to_owned()]);
    let address = mongod.address();
    let uri = format!("mongodb://{address}/?replicaSet=rs0&{IMPATIENT}");
    let mut running = Cswatch::new()
        .args(["--uri", &uri, "--db", "db", "--no-resume", "--wait"])
        .spawn();
    running.expect_stderr("trying again");
    let direct = format!("mongodb://{address}/?directConnection=true");
    let client = block_on(Client::with_uri_str(direct)).expect("a client");
    let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": &address }] };
    let initiate = doc! { "replSetInitiate": config };
    block_on(client.database("admin").run_command(initiate)).expect("replSetInitiate");
    running.wait_open();
    let client = block_on(Client::with_uri_str(&uri)).expect("a client");
    insert(&client.database("db").collection("c"), 1..=1);
    running.lines_until(|line| brief(line) == "insert 1");
    running.kill();
}

#[test]
fn gives_up_waiting_after_the_time_given() {
    let uri = format!("mongodb://127.0.0.1:{}/?{IMPATIENT}", free_port());
    let started = Instant::now();
    let run = Cswatch::new()
        .args(["--uri", &uri, "--no-resume", "--wait", "--retry-for", "2s"])
        .run()
        .expect_code(7);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    run.expect_error("no server for ", "; --retry-for forever keeps trying");
    assert!(
        run.stderr.contains(", longer than --retry-for: ") && run.stderr.contains("refused"),
        "{}",
        run.stderr
    );
}
