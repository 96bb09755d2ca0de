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

/// Options that make the driver give up an attempt within a second instead of after 10 s.
const FAIL_FAST: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// Runs `cswatch` with `uri`, and checks that it ends with code 7 and an error with the hosts, the reason and the hint.
#[track_caller]
fn expect_unreachable(uri: &str, hosts: &str, why: &str, hint: &str) {
    let scenario = Scenario::new("unreachable");
    let file = scenario.path("resume.json");
    let run = Cswatch::new()
        .args(["--uri", uri, "--db", "db", "--coll", "c", "--resume-file"])
        .args([&file])
        .run();
    let message = format!("cannot reach MongoDB at {hosts}: {why} (");
    run.expect_failure(7, &message, hint);
    assert!(!file.exists(), "a start that failed saved a checkpoint");
}

#[test]
fn reports_a_refused_connection() {
    let host = format!("127.0.0.1:{}", free_port());
    let started = Instant::now();
    expect_unreachable(
        &format!("mongodb://{host}/"),
        &host,
        "the connection was refused",
        "check that mongod runs there and on that port; --wait keeps trying",
    );
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn reports_a_host_name_that_cannot_be_resolved() {
    let hint = "check the host in --uri and the machine's DNS";
    // `.invalid` never resolves (RFC 6761).
    expect_unreachable(
        &format!("mongodb://no-such-host.invalid/?{FAIL_FAST}"),
        "no-such-host.invalid:27017",
        "the host name cannot be resolved",
        hint,
    );
    expect_unreachable(
        "mongodb+srv://cluster.no-such-host.invalid/",
        "cluster.no-such-host.invalid",
        "the host name cannot be resolved",
        hint,
    );
}

#[test]
fn reports_each_host_with_its_own_reason() {
    let refused = format!("127.0.0.1:{}", free_port());
    let run = Cswatch::new()
        .args([
            "--uri",
            &format!("mongodb://{refused},no-such-host.invalid/"),
            "--no-resume",
        ])
        .run()
        .expect_code(7);
    let (message, _) = run.error();
    assert!(
        message.contains(&format!("{refused}: the connection was refused (")),
        "{message}"
    );
    assert!(
        message.contains("no-such-host.invalid:27017: the host name cannot be resolved ("),
        "{message}"
    );
}

#[test]
fn reports_a_server_without_tls() {
    let host = ReplicaSet::shared().primary().address();
    expect_unreachable(
        &format!("mongodb://{host}/?tls=true&{FAIL_FAST}"),
        &host,
        "the server does not use TLS",
        "remove tls=true and the other options that begin with tls from --uri (mongodb+srv: add tls=false), or turn on TLS on the server",
    );
}

#[test]
fn reports_a_replica_set_with_another_name() {
    let host = ReplicaSet::shared().primary().address();
    let run = Cswatch::new()
        .args([
            "--uri",
            &format!("mongodb://{host}/?replicaSet=other"),
            "--no-resume",
        ])
        .run();
    run.expect_failure(
        7,
        &format!(
            "cannot reach MongoDB at {host}: {host} is a member of replica set rs0, not of other"
        ),
        "use replicaSet=rs0 in --uri",
    );
}

#[test]
fn reports_a_server_that_does_not_reply() {
    // The kernel accepts connections for the listener, and no program reads from them.
    let silent = free_listener();
    let host = silent.local_addr().expect("an address").to_string();
    expect_unreachable(
        &format!("mongodb://{host}/?{FAIL_FAST}"),
        &host,
        "no answer",
        "check host and port in --uri and the firewalls in between; --wait keeps trying",
    );
}

#[test]
fn reports_a_server_that_closes_connections() {
    let listener = free_listener();
    let host = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    expect_unreachable(
        &format!("mongodb://{host}/?{FAIL_FAST}"),
        &host,
        "the server closed the connection",
        "check that the port speaks MongoDB, and whether the server requires TLS: tls=true in --uri",
    );
}

#[test]
fn waits_for_a_server_that_is_started_later() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "started_later");
    let uri = format!("{}&{FAIL_FAST}", set.uri());
    let primary = set.primary();
    primary.kill();
    let mut running = Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name(), "--no-resume"])
        .args(["--wait"])
        .spawn();
    running.expect_stderr("warning: no connection yet, retrying: ");
    primary.restart();
    set.primary();
    running.expect_stderr("cswatch: connected after ");
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
    let uri = format!("mongodb://{address}/?replicaSet=rs0&{FAIL_FAST}");
    let mut running = Cswatch::new()
        .args(["--uri", &uri, "--db", "db", "--no-resume", "--wait"])
        .spawn();
    running.expect_stderr("warning: no connection yet, retrying: ");
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
fn stops_waiting_after_retry_for() {
    let host = format!("127.0.0.1:{}", free_port());
    let uri = format!("mongodb://{host}/");
    let started = Instant::now();
    let run = Cswatch::new()
        .args(["--uri", &uri, "--no-resume", "--wait", "--retry-for", "2s"])
        .run()
        .expect_code(7);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    run.expect_error(
        &format!("no connection for 2s, the limit of --retry-for: MongoDB at {host}: the connection was refused (I/O error: Connection refused"),
        "use a longer --retry-for, or --retry-for forever to keep trying",
    );
}
