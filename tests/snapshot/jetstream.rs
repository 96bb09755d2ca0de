//! Snapshots that are delivered into NATS JetStream: `kill -9` of cswatch and of the server at any moment of the scan.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::deadline::poll;
use testkit::events::brief;
use testkit::nats::{NatsClient, NatsServer};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::{Copy, is_snapshot, parsed};
use super::fill;

/// The collections of each scenario.
const COLLS: [&str; 3] = ["a", "b", "c"];

/// Documents in each collection: enough that a scan of one after the other outlives most kills.
const DOCUMENTS: i32 = 300;

/// The stream and its bucket, by default.
const STREAM: &str = "cswatch";
const BUCKET: &str = "cswatch_cswatch";

fn watch(scenario: &Scenario<'_>, server: &NatsServer, options: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--snapshot", "--batch-size", "2", "--max-await", "50ms"])
        .args(["--nats", &server.url()])
        .args(options)
}

/// Returns whether the checkpoint in the bucket is one of a finished snapshot.
fn is_finished(client: &NatsClient) -> bool {
    let Some(value) = client.value(BUCKET, "checkpoint") else {
        return false;
    };
    let (_, checkpoint) = value.split_once('\n').expect("two lines");
    let checkpoint: Value = serde_json::from_str(checkpoint).expect("JSON");
    checkpoint["snapshot"] == "finished"
}

/// Changes a few documents at random, so that events come between the lines of the snapshot.
fn change(scenario: &Scenario<'_>, random: &mut Rng) {
    for _ in 0..3 {
        let coll = scenario.coll(COLLS[random.usize(..COLLS.len())]);
        let key = doc! { "_id": random.i32(..DOCUMENTS) };
        let update = doc! { "$inc": { "n": 1 } };
        block_on(coll.update_one(key, update)).expect("an update");
    }
}

#[test]
fn delivers_every_document_exactly_once_and_in_order_after_kill_9_of_cswatch_and_of_the_server() {
    const SEED: u64 = 0x5EED_0A75;
    /// Kills of cswatch; for every third one, the server is killed before.
    const KILLS: u32 = 60;

    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let mut kills = 0;
    while kills < KILLS {
        let scenario = Scenario::new("snapshot_jetstream_kills");
        for name in COLLS {
            fill(&scenario.coll(name), 0..DOCUMENTS);
        }
        let server = NatsServer::start();
        let client = server.client();
        while kills < KILLS && !is_finished(&client) {
            let interval = *random.choice(&["0", "20ms", "1s"]).expect("one");
            let running = watch(&scenario, &server, &["--save-interval", interval]).spawn();
            // A random number of messages later, or after a random time: the start may be killed too.
            for _ in 0..2 {
                let count = client.count(STREAM) + random.u64(1..40);
                let limit = Duration::from_millis(random.u64(50..600));
                poll(limit, || (client.count(STREAM) >= count).then_some(()));
                change(&scenario, &mut random);
                if kills.is_multiple_of(3) {
                    server.restart();
                }
            }
            running.kill();
            kills += 1;
        }
        let last = watch(&scenario, &server, &["--until", "now"]).run();
        last.expect_code(0);
        let messages = client.messages(STREAM);
        let mut next: BTreeMap<String, i32> = BTreeMap::new();
        let mut copy = Copy::default();
        for message in &messages {
            copy.apply(&message.line);
            let event = parsed(&message.line);
            if is_snapshot(&event) {
                assert!(message.header("Cswatch-Snapshot").is_some(), "{message:?}");
                let coll = event.get_document("ns").and_then(|ns| ns.get_str("coll"));
                let coll = coll.expect("a collection");
                let subject = format!("cswatch.{}.{coll}.snapshot", scenario.db().name());
                assert_eq!(message.subject, subject);
                let next = next.entry(coll.to_owned()).or_default();
                let id = brief(&message.line).replace("snapshot ", "");
                assert_eq!(id, next.to_string(), "{}", message.line);
                *next += 1;
            }
        }
        let counts: Vec<i32> = next.into_values().collect();
        assert_eq!(counts, [DOCUMENTS; COLLS.len()]);
        copy.expect(&Copy::of(scenario.db(), &COLLS), "in the stream");
        // A finished snapshot is not repeated.
        let again = watch(&scenario, &server, &["--until", "now"]).run();
        again.expect_code(0);
        assert_eq!(client.count(STREAM), messages.len() as u64);
    }
}
