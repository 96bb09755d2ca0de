//! `--metrics-addr`: what a real HTTP client reads from a running watch.

use std::fs;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::endpoint::{Endpoint, Value};
use testkit::events::{insert, time};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// Returns the seconds since 1970.
fn now() -> f64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.expect("a time after 1970").as_secs_f64()
}

/// A watch that serves its metrics, its replies soon.
fn watch(scenario: &Scenario<'_>) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--metrics-addr", "127.0.0.1:0"])
        .args(["--max-await", "100ms"])
}

#[test]
fn metrics_count_events_by_type_while_they_flow() {
    let scenario = Scenario::new("metrics_events");
    let started = now();
    let mut cswatch = watch(&scenario).args(["--save-interval", "0s"]).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let opened = now();
    let saves_before = endpoint
        .scrape()
        .value("cswatch_position_saves_total", None);
    let saves_before = saves_before.expect("a count");
    let coll = scenario.coll("c");
    let documents = (0..500).map(|n| doc! { "_id": n, "pad": "x".repeat(300) });
    block_on(coll.insert_many(documents)).expect("inserts");
    block_on(coll.update_one(doc! { "_id": 1 }, doc! { "$set": { "a": 1 } })).expect("an update");
    block_on(coll.delete_one(doc! { "_id": 2 })).expect("a delete");
    let lines = cswatch.lines_until(|line| line.contains(r#""operationType":"delete""#));
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();

    endpoint.expect("cswatch_events_total", Some("delete"), |count| {
        count == Some(1.0)
    });
    let last = time(&lines[lines.len() - 1]);
    // The checkpoint moves on when nothing more comes.
    endpoint.expect("cswatch_position_timestamp_seconds", None, |seconds| {
        seconds >= Some(f64::from(last.time))
    });
    endpoint.expect("cswatch_position_saves_total", None, |saves| {
        saves > Some(saves_before)
    });
    endpoint.expect("cswatch_queue_bytes", None, |bytes| bytes == Some(0.0));
    let metrics = endpoint.scrape();
    let count = |kind| metrics.value("cswatch_events_total", Some(kind));
    assert_eq!(count("insert"), Some(500.0));
    assert_eq!(count("update"), Some(1.0));
    assert_eq!(count("replace"), None);
    let value = |name| metrics.value(name, None);
    assert_eq!(value("cswatch_output_bytes_total"), Some(bytes as f64));
    assert_eq!(value("cswatch_stream_open"), Some(1.0));
    assert_eq!(value("cswatch_position_save_failures_total"), Some(0.0));
    let present = f64::from(scenario.set().operation_time().time);
    let saved = value("cswatch_position_saved_timestamp_seconds").expect("a time");
    assert!((opened..=now()).contains(&saved), "{saved} from {opened}");
    let position = value("cswatch_position_timestamp_seconds").expect("a time");
    assert!(position <= present, "{position} after {present}");
    let start = value("process_start_time_seconds").expect("a time");
    assert!(
        (started..=opened).contains(&start),
        "{start} from {started}"
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        metrics.value("cswatch_build_info", Some(version)),
        Some(1.0)
    );
}

#[test]
fn saves_that_fail_are_counted() {
    let scenario = Scenario::new("metrics_saves");
    let disk = SmallDisk::new(64 * 1024);
    let mut cswatch = watch(&scenario)
        .args(["--save-interval", "0s", "--resume-file"])
        .args([disk.path_inside().join("resume.json")])
        .through(disk.through())
        .spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let failures = "cswatch_position_save_failures_total";
    endpoint.expect(failures, None, |count| count == Some(0.0));
    // A write error is how a disk is filled to the last page.
    let _ = fs::write(disk.path_outside().join("filler"), vec![0; 1024 * 1024]);
    insert(&scenario.coll("c"), 1..=1);
    cswatch.expect_inserts(1..=1);
    endpoint.expect(failures, None, |count| count >= Some(1.0));
}

#[test]
fn each_metric_has_a_help_text_a_type_and_a_name_that_tells_its_unit() {
    let scenario = Scenario::new("metrics_names");
    let mut cswatch = watch(&scenario).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let (status, body) = endpoint.get("/metrics");
    assert_eq!(status, 200);
    let metrics = endpoint.scrape();
    assert!(metrics.0.samples.len() > 5, "{body}");
    for sample in &metrics.0.samples {
        let name = &sample.metric;
        assert!(
            metrics.0.docs.contains_key(name),
            "{name} has no help\n{body}"
        );
        let is_counter = matches!(sample.value, Value::Counter(_));
        assert_eq!(is_counter, name.ends_with("_total"), "{name}");
        assert!(
            name.starts_with("cswatch_") || name == "process_start_time_seconds",
            "{name}"
        );
    }
}

#[test]
fn what_is_unknown_is_left_out_and_caught_up_is_told_once_the_server_had_nothing_more() {
    let scenario = Scenario::new("metrics_lag");
    let mut cswatch = watch(&scenario).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    endpoint.expect("cswatch_caught_up", None, |value| value == Some(1.0));
    let metrics = endpoint.scrape();
    assert_eq!(metrics.value("cswatch_behind_seconds", None), None);
    let silence = metrics.value("cswatch_silence_seconds", None);
    assert!(silence.is_some_and(|silence| silence < 30.0), "{silence:?}");
    // Nothing was overwritten on this server yet: how long that will last is unknown.
    assert_eq!(metrics.value("cswatch_headroom_seconds", None), None);
}

#[test]
fn a_reader_that_stalls_makes_the_watch_fall_behind_which_is_told() {
    let scenario = Scenario::new("metrics_behind");
    let mut cswatch = watch(&scenario).stdout(Stdout::Stalled).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let documents: Vec<_> = (0..200)
        .map(|n| doc! { "_id": n, "pad": "x".repeat(100_000) })
        .collect();
    block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
    endpoint.expect("cswatch_queue_bytes", None, |bytes| bytes > Some(100_000.0));
    endpoint.expect("cswatch_behind_seconds", None, |behind| behind > Some(1.0));
    assert_eq!(
        endpoint.scrape().value("cswatch_caught_up", None),
        Some(0.0)
    );
    cswatch.read_stdout();
    endpoint.expect("cswatch_caught_up", None, |value| value == Some(1.0));
    endpoint.expect("cswatch_queue_bytes", None, |bytes| bytes == Some(0.0));
    endpoint.expect("cswatch_events_total", Some("insert"), |count| {
        count == Some(200.0)
    });
}

#[test]
fn health_and_readiness_follow_the_stream_through_an_outage() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "metrics_outage");
    let uri = format!(
        "{}&serverSelectionTimeoutMS=1000&heartbeatFrequencyMS=500",
        set.uri()
    );
    let mut cswatch = Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name(), "--coll", "c"])
        .args(["--metrics-addr", "127.0.0.1:0", "--max-await", "100ms"])
        .spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    assert_eq!(endpoint.get("/healthz").0, 200);
    let (status, body) = endpoint.get("/readyz");
    assert_eq!((status, body.as_str()), (200, "ok: the stream is open\n"));
    let mongod = set.primary();
    mongod.kill();
    let not_ready = poll(DEADLINE, || {
        (endpoint.get("/readyz").0 == 503).then_some(())
    });
    assert!(not_ready.is_some(), "{:?}", endpoint.get("/readyz"));
    // The process is well, and was heard of the server a moment ago.
    assert_eq!(endpoint.get("/healthz").0, 200);
    let metrics = endpoint.scrape();
    assert_eq!(metrics.value("cswatch_stream_open", None), Some(0.0));
    assert_eq!(
        metrics.value("cswatch_caught_up", None),
        None,
        "nobody knows"
    );
    mongod.restart();
    let ready = poll(DEADLINE, || {
        (endpoint.get("/readyz").0 == 200).then_some(())
    });
    assert!(ready.is_some(), "{:?}", endpoint.get("/readyz"));
    assert!(endpoint.scrape().sum("cswatch_reconnects_total") >= 1.0);
}

#[test]
fn other_paths_are_not_found_and_other_methods_not_allowed() {
    let scenario = Scenario::new("metrics_paths");
    let mut cswatch = watch(&scenario).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    assert_eq!(
        endpoint.get("/"),
        (404, "/metrics, /healthz, /readyz\n".to_owned())
    );
    assert_eq!(endpoint.post("/metrics"), 405);
}

#[test]
fn an_address_that_cannot_be_bound_is_refused_before_anything_is_connected() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for address in [taken.as_str(), "192.0.2.1:9216", "9216", "127.0.0.1:x"] {
        let finished = Cswatch::new()
            .args(["--metrics-addr", address])
            .run_unconnected();
        finished.expect_failure(2, &format!("--metrics-addr {address}: "), "");
    }
}
