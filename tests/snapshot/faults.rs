//! Servers, networks and readers that fail while the snapshot is read: every document is printed exactly once, in order.

use mongodb::bson::{Bson, Document, doc};
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, insert};
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::{PIPE_FULL, Running};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{DUMP, fill};

/// Documents in collection `c`: read one by one, they outlast every fault.
const DOCUMENTS: i32 = 1500;

/// The driver then notices failures within about a second.
const FAST: &str = "&heartbeatFrequencyMS=500&connectTimeoutMS=1000&serverSelectionTimeoutMS=500";

/// Memory of the debug build while a reader stalls.
const MEMORY_LIMIT: u64 = 64 * 1024 * 1024;

fn snapshots(ids: std::ops::Range<i32>) -> Vec<String> {
    ids.map(|id| format!("snapshot {id}")).collect()
}

/// Starts a snapshot of collection `c`, one document at a time, and waits for its first lines.
#[track_caller]
fn begun(scenario: &Scenario<'_>, uri: &str, options: &[&str]) -> Running {
    fill(&scenario.coll("c"), 0..DOCUMENTS);
    let arguments = ["--no-resume", "--coll", "c", "--batch-size", "1"];
    let cswatch: Cswatch = scenario.cswatch_at(uri, arguments).args(DUMP).args(options);
    let mut running = cswatch.spawn();
    for id in 0..20 {
        assert_eq!(brief(&running.next_line()), format!("snapshot {id}"));
    }
    running
}

/// Fails unless all documents are printed once, and then the snapshot ends.
#[track_caller]
fn expect_complete(mut running: Running, printed_before: usize) {
    assert!(
        printed_before < DOCUMENTS as usize,
        "the scan ended before the fault"
    );
    // One after another, because a busy machine needs longer than one deadline for all of them.
    let last = format!("snapshot {}", DOCUMENTS - 1);
    while brief(&running.next_line()) != last {}
    let finished = running.wait().expect_code(0);
    let lines = briefs(&finished.stdout);
    let scanned: Vec<String> = lines
        .into_iter()
        .filter(|line| line.starts_with("snapshot"))
        .collect();
    assert_eq!(scanned, snapshots(0..DOCUMENTS), "{}", finished.stderr);
}

#[test]
fn survives_a_step_down_and_the_kill_of_the_primary() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    for is_kill in [false, true] {
        let scenario = Scenario::on(&set, "snapshot_failover");
        let running = begun(&scenario, &format!("{}{FAST}", set.uri()), &[]);
        set.wait_for_replication();
        let printed = running.printed();
        let old = set.primary();
        match is_kill {
            true => old.kill(),
            false => {
                set.admin(doc! { "replSetStepDown": 20 });
            }
        }
        expect_complete(running, printed);
        if is_kill {
            old.restart();
        }
        set.wait_until_ready();
    }
}

#[test]
fn repeats_requests_that_fail_with_an_error_that_passes() {
    let set = ReplicaSet::start(Options::default());
    let errors = [43, 91, 189, 11600].map(|code| doc! { "errorCode": code });
    let errors = errors.into_iter().chain([doc! { "closeConnection": true }]);
    for error in errors {
        for (command, filter) in [
            ("find", &[][..]),
            ("aggregate", &["--match", "{'fullDocument.n': {$gte: 0}}"]),
        ] {
            let scenario = Scenario::on(&set, "snapshot_errors");
            let running = begun(&scenario, &format!("{}{FAST}", set.uri()), filter);
            let mut data: Document = error.clone();
            data.extend(doc! { "failCommands": [command], "appName": "cswatch" });
            let fail_point = set.fail_point(doc! {
                "configureFailPoint": "failCommand",
                "mode": { "times": 3 },
                "data": data,
            });
            fail_point.wait_for_hits(1);
            let printed = running.printed();
            expect_complete(running, printed);
        }
    }
}

#[test]
fn names_the_collection_and_the_grant_when_the_privilege_is_revoked() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "snapshot_revoked");
    let db = scenario.db().name();
    let privilege = |actions: &[&str]| -> Bson {
        bson::bson!([{ "resource": { "db": db, "collection": "c" }, "actions": actions }])
    };
    set.admin(doc! { "createRole": "reader", "privileges": privilege(&["find", "changeStream"]), "roles": [] });
    let uri = set.create_user(
        "reader",
        "password",
        &[doc! { "role": "reader", "db": "admin" }],
    );
    let running = begun(&scenario, &uri, &[]);
    set.admin(doc! { "updateRole": "reader", "privileges": privilege(&["changeStream"]) });
    let finished = running.wait().expect_code(8);
    let (message, hint) = finished.error();
    let subject = format!("missing privilege: find on {db}.c for user reader of admin (");
    assert!(message.contains(&subject), "{message}");
    let grant = format!(r#"grantRolesToUser("reader", [{{ role: "read", db: "{db}" }}])"#);
    assert!(hint.ends_with(&grant), "{hint}");
}

#[test]
fn survives_connections_that_are_cut_refused_and_silent() {
    for fault in [
        (|proxy| proxy.cut(Cut::Reset)) as fn(&Proxy),
        |proxy| proxy.cut(Cut::Close),
        |proxy| proxy.set_mode(Mode::Refuse),
        |proxy| proxy.set_mode(Mode::BlackHole),
    ] {
        let scenario = Scenario::new("snapshot_network");
        let proxy = Proxy::start(scenario.set().primary());
        let running = begun(&scenario, &format!("{}{FAST}", proxy.uri()), &[]);
        fault(&proxy);
        let printed = running.printed();
        // A fault that lasts is reported; one that does not may pass unseen.
        let _ = poll(DEADLINE / 10, || {
            running.has_reported("connection lost").then_some(())
        });
        proxy.set_mode(Mode::Pass);
        expect_complete(running, printed);
    }
}

#[test]
fn holds_little_while_the_reader_stalls_and_ends_on_sigterm() {
    let scenario = Scenario::new("snapshot_stalled");
    let coll = scenario.coll("c");
    let text = "x".repeat(450);
    for first in (0..100_000).step_by(10_000) {
        let documents = (first..first + 10_000).map(|id| doc! { "_id": id, "text": &text });
        block_on(coll.insert_many(documents)).expect("an insert");
    }
    let mut running = scenario
        .watch(&["--snapshot"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_unread(PIPE_FULL);
    // An event meanwhile: the stream is not read either, and nothing grows.
    insert(&coll, [100_000]);
    let memory = running.peak_memory();
    assert!(memory < MEMORY_LIMIT, "{memory}");
    running.read_stdout();
    running.lines_until(|line| brief(line) == "insert 100000");
    running.lines_until(|line| brief(line) == "snapshot 99999");
    let memory = running.peak_memory();
    assert!(memory < MEMORY_LIMIT, "{memory}");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);

    let other = Scenario::new("snapshot_stalled_to_the_end");
    block_on(
        other
            .coll("c")
            .insert_many((0..5000).map(|id| doc! { "_id": id, "text": &text })),
    )
    .expect("an insert");
    let running = other.watch(&["--snapshot"]).stdout(Stdout::Stalled).spawn();
    running.wait_unread(PIPE_FULL);
    running.signal(Signal::TERM);
    // Lines that are not read in time are lost, and reported.
    running.wait();
}
