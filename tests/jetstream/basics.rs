//! What a message holds, where a delivery ends, and where the next one resumes.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, doc};
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::endpoint::Endpoint;
use testkit::events::{as_start, briefs, insert, inserts, token};
use testkit::nats::{NatsConfig, NatsServer};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::delivery::{BUCKET, Delivery, STREAM, lines};

const UNTIL_NOW: [&str; 2] = ["--until", "now"];

/// Runs a delivery to its end, which must be orderly.
#[track_caller]
fn finish(watch: Cswatch) {
    let finished = watch.args(UNTIL_NOW).run().expect_code(0);
    assert!(finished.stdout.is_empty(), "{:?}", finished.stdout);
}

#[test]
fn delivers_the_line_of_each_event_with_its_token_and_nothing_to_stdout() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_lines");
    insert(&delivery.coll(), 0..20);
    block_on(delivery.coll().delete_one(doc! { "_id": 3 })).expect("a delete");
    finish(delivery.watch(&server.url()));
    delivery.expect_complete(&client);
    for (index, message) in client.messages(STREAM).iter().enumerate() {
        let token = token(&message.line);
        let data: Value = serde_json::from_str(&token).expect("a token");
        assert_eq!(message.header("Nats-Msg-Id"), data["_data"].as_str());
        assert_eq!(message.header("Nats-Expected-Stream"), Some(STREAM));
        let last = index.to_string();
        assert_eq!(
            message.header("Nats-Expected-Last-Sequence"),
            Some(last.as_str())
        );
    }
}

#[test]
fn delivers_relaxed_lines_and_resumes_after_them() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_relaxed");
    insert(&delivery.coll(), 0..3);
    finish(delivery.watch(&server.url()).args(["--format", "relaxed"]));
    insert(&delivery.coll(), 3..5);
    finish(delivery.watch(&server.url()).args(["--format", "relaxed"]));
    let lines = lines(&server.client().messages(STREAM));
    assert!(
        lines[4].contains(r#""fullDocument":{"_id":4}"#),
        "{}",
        lines[4]
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn ends_after_a_number_of_events_and_resumes_after_them() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_count");
    insert(&delivery.coll(), 0..10);
    for expected in [4, 8] {
        let watch = delivery.watch(&server.url()).args(["--count", "4"]);
        watch.run().expect_code(0);
        assert_eq!(client.count(STREAM), expected);
    }
    finish(delivery.watch(&server.url()));
    delivery.expect_complete(&client);
}

#[test]
fn resumes_after_a_token_whose_digits_are_not_all_of_it() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_type_bits");
    // The type of a double is in the bits of the token: the server refuses its digits alone.
    for number in [1.5, 2.5] {
        let document = doc! { "_id": Bson::Double(number) };
        block_on(delivery.coll().insert_one(document)).expect("an insert");
        // The message alone, without a checkpoint that is as new.
        finish(delivery.watch(&server.url()));
        server.client().delete_key(BUCKET, "checkpoint");
    }
    let client = server.client();
    let last = client.messages(STREAM).pop().expect("a message");
    let id = last.header("Nats-Msg-Id").expect("an ID");
    assert!(id.contains("_typeBits"), "{id}");
    finish(delivery.watch(&server.url()));
    delivery.expect_complete(&client);
}

#[test]
fn delivers_a_backlog_that_several_streams_read() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_backlog");
    for part in 0..4 {
        let documents = (0..5000).map(|n| doc! { "_id": part * 5000 + n, "pad": "x".repeat(100) });
        block_on(delivery.coll().insert_many(documents)).expect("inserts");
    }
    let watch = delivery.watch(&server.url());
    finish(watch.args(["--catch-up-streams", "3"]));
    delivery.expect_complete(&client);
}

#[test]
fn delivers_again_from_a_token_that_the_user_chose_although_the_server_remembers_the_messages() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_start_after");
    insert(&delivery.coll(), 0..5);
    finish(delivery.watch(&server.url()));
    let second = client.messages(STREAM).swap_remove(1);
    let token = second.header("Nats-Msg-Id").expect("an ID").to_owned();
    let watch = delivery.watch(&server.url());
    finish(watch.args(["--start-after", &token]));
    let expected = inserts((0..5).chain(2..5));
    assert_eq!(briefs(&lines(&client.messages(STREAM))), expected);
    // The next run resumes after them.
    insert(&delivery.coll(), 5..7);
    finish(delivery.watch(&server.url()));
    let expected = inserts((0..5).chain(2..7));
    assert_eq!(briefs(&lines(&client.messages(STREAM))), expected);
}

#[test]
fn delivers_events_that_the_server_splits() {
    let server =
        NatsServer::start_with(&NatsConfig::with("max_payload: 60MB\nmax_pending: 120MB\n"));
    let client = server.client();
    let scenario = Scenario::splitting("jetstream_split");
    let start = as_start(scenario.set().operation_time());
    let coll = scenario.coll("c");
    let options = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
    block_on(scenario.db().run_command(options)).expect("a collection");
    let large = "x".repeat(9 * 1024 * 1024);
    block_on(coll.insert_one(doc! { "_id": 1, "a": &large })).expect("an insert");
    let replacement = doc! { "_id": 1, "b": &large };
    block_on(coll.replace_one(doc! { "_id": 1 }, replacement)).expect("a replacement");
    insert(&coll, 2..3);
    let arguments = [
        "--coll",
        "c",
        "--start",
        &start,
        "--full-document-before-change",
        "required",
    ];
    let url = server.url();
    for ids in [3..5, 5..6] {
        let watch = scenario.cswatch(arguments).args(["--nats", &url]);
        finish(watch);
        insert(&coll, ids);
    }
    finish(scenario.cswatch(arguments).args(["--nats", &url]));
    let mut expected = inserts(1..6);
    expected.insert(1, "replace 1".to_owned());
    assert_eq!(briefs(&lines(&client.messages(STREAM))), expected);
}

#[test]
fn names_an_event_above_the_largest_message_and_how_to_skip_it() {
    let server = NatsServer::start_with(&NatsConfig::with("max_payload: 65536\n"));
    let client = server.client();
    let delivery = Delivery::new("jetstream_max_payload");
    // In one reply of MongoDB: those before the large one must be stored before it is reported.
    let documents = (0..600).map(|n| {
        let length = if n == 500 { 70_000 } else { 10 };
        doc! { "_id": n, "pad": "x".repeat(length) }
    });
    block_on(delivery.coll().insert_many(documents)).expect("inserts");
    let failed = delivery.watch(&server.url()).args(UNTIL_NOW).run();
    let failed = failed.expect_code(6);
    let (message, hint) = failed.error();
    assert!(
        message.contains("max_payload") && message.contains("65536"),
        "{message}"
    );
    assert_eq!(briefs(&lines(&client.messages(STREAM))), inserts(0..500));
    let (_, token) = hint
        .rsplit_once("--start-after ")
        .expect("a way to skip it");
    let token = token.trim_matches('\'');
    let watch = delivery.watch(&server.url());
    finish(watch.args(["--start-after", token]));
    let expected = inserts((0..500).chain(501..600));
    assert_eq!(briefs(&lines(&client.messages(STREAM))), expected);
}

#[test]
fn reports_messages_that_are_not_acknowledged_when_it_is_stopped() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_stopped");
    let watch = delivery.watch(&server.url());
    let mut running = watch.args(["--metrics-addr", "127.0.0.1:0"]).spawn();
    let endpoint = Endpoint::of(&mut running);
    running.wait_open();
    insert(&delivery.coll(), 0..1);
    client.wait_count(STREAM, 1);
    server.freeze();
    insert(&delivery.coll(), 1..3);
    endpoint.expect("cswatch_nats_in_flight_messages", None, |messages| {
        messages == Some(2.0)
    });
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(6);
    let (message, hint) = ended.error();
    assert!(message.contains("did not acknowledge"), "{message}");
    assert!(hint.contains("no event is lost"), "{hint}");
    server.thaw();
    client.delete_key(BUCKET, "lease");
    delivery.finish(&server.url(), &client);
}

#[test]
fn creates_a_stream_and_a_bucket_as_documented() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_created");
    let watch = delivery.watch(&server.url());
    finish(watch.args(["--nats-stream", "CDC", "--nats-subject", "prod.cdc"]));
    let config = client.info("CDC").expect("a stream").config;
    assert_eq!(config.subjects, ["prod.cdc.>"]);
    assert_eq!(
        (
            config.num_replicas,
            config.max_messages,
            config.max_age.as_secs()
        ),
        (1, -1, 0)
    );
    assert!(client.value("cswatch_CDC", "checkpoint").is_some());
}

#[test]
fn distributes_documents_over_partitions_and_keeps_each_in_one() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_partitions");
    insert(&delivery.coll(), 0..40);
    block_on(delivery.coll().delete_many(doc! {})).expect("deletes");
    finish(
        delivery
            .watch(&server.url())
            .args(["--nats-partitions", "2"]),
    );
    let mut counts = Vec::new();
    for partition in 0..2 {
        let filter = format!("cswatch.*.*.*.{partition}");
        let briefs = briefs(&lines(&client.messages_of(STREAM, &filter)));
        let ids = |kind: &str| -> BTreeSet<String> {
            let of_kind = briefs.iter().filter_map(|brief| brief.strip_prefix(kind));
            of_kind.map(str::to_owned).collect()
        };
        assert_eq!(ids("insert "), ids("delete "));
        counts.push(briefs.len());
    }
    assert_eq!(counts.iter().sum::<usize>(), 80);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn writes_nothing_to_stdout_even_if_that_is_closed() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_closed_stdout");
    insert(&delivery.coll(), 0..3);
    let watch = delivery.watch(&server.url()).stdout(Stdout::Closed);
    watch.args(UNTIL_NOW).run().expect_code(0);
    delivery.expect_complete(&server.client());
}

#[test]
fn warns_of_a_login_on_the_command_line_and_never_repeats_it() {
    let server = NatsServer::start_with(&NatsConfig::with(
        "authorization { user: ada, password: \"s/cret\" }\n",
    ));
    let scenario = Scenario::new("jetstream_login");
    let url = format!("nats://ada:s%2Fcret@127.0.0.1:{}", server.port());
    let watch = || scenario.cswatch(["--coll", "c", "-vv"]).args(UNTIL_NOW);
    let typed = watch().args(["--nats", &url]).run().expect_code(0);
    assert!(typed.stderr.contains("the login in --nats is visible"));
    let from_environment = watch().env("CSWATCH_NATS", &url).run().expect_code(0);
    assert!(!from_environment.stderr.contains("visible"));
    for text in [typed.stderr, from_environment.stderr] {
        assert!(!text.contains("cret"), "{text}");
    }
}

#[test]
fn refuses_options_of_other_sinks() {
    for option in [
        &["--output", "events.jsonl"][..],
        &["--resume-file", "resume.json"],
        &["--no-resume"],
        &["--pretty"],
    ] {
        let command = Cswatch::new().args(["--nats", "nats://127.0.0.1:1"]);
        let refused = command.args(option).run_unconnected().expect_code(2);
        let (message, _) = refused.error();
        assert!(message.contains(option[0]), "{message}");
    }
    for (option, value) in [
        ("--nats", "http://user:one@host"),
        ("--nats-stream", "a.b"),
        ("--nats-subject", "a.>"),
        ("--nats-partitions", "0"),
        ("--nats-creds", "file"),
    ] {
        let command = Cswatch::new().args([option, value]);
        let refused = command.run_unconnected().expect_code(2);
        let (message, hint) = refused.error();
        assert!(
            !message.contains("user:one") && !hint.is_empty(),
            "{message}"
        );
    }
}

#[test]
fn delivers_each_document_of_a_snapshot_once_over_restarts() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_snapshot_restarts");
    let documents = (0..1000).map(|n| doc! { "_id": n });
    block_on(delivery.coll().insert_many(documents)).expect("inserts");
    let url = server.url();
    let scenario = delivery.scenario();
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--nats", &url, "--snapshot"])
            .args(["--batch-size", "50"])
    };
    // Ends in the middle of the snapshot, between lines of it and events, each time at another place.
    for run in 0..4 {
        watch().args(["--count", "230"]).run().expect_code(0);
        if run % 2 == 0 {
            insert(&delivery.coll(), 2000 + run..2001 + run);
        } else {
            // The last message alone says how far the snapshot has come.
            client.delete_key(BUCKET, "checkpoint");
        }
    }
    finish(watch());
    insert(&delivery.coll(), 3000..3003);
    finish(watch());
    let delivered = briefs(&lines(&client.messages(STREAM)));
    let of_kind = |kind: &str| -> Vec<i32> {
        let ids = delivered
            .iter()
            .filter_map(|brief| brief.strip_prefix(kind));
        ids.map(|id| id.parse().expect("a number")).collect()
    };
    let snapshot = of_kind("snapshot ");
    let unique: BTreeSet<_> = snapshot.iter().copied().collect();
    assert_eq!(unique.len(), snapshot.len(), "a document came twice");
    assert!((0..1000).all(|id| unique.contains(&id)));
    let inserted = of_kind("insert ");
    assert_eq!(inserted, [2000, 2002, 3000, 3001, 3002]);
}
