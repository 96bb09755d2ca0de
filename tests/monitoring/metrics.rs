//! Metrics and health of a running watch (`--metrics-addr`), read with a real HTTP client.

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

/// Returns a watch that serves metrics and receives a reply at least every 100 ms.
fn watch(scenario: &Scenario<'_>) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--metrics-addr", "127.0.0.1:0"])
        .args(["--max-await", "100ms"])
}

#[test]
fn counts_events_by_type_and_reports_the_checkpoint() {
    let scenario = Scenario::new("metrics_events");
    let started = now();
    let mut cswatch = watch(&scenario).args(["--save-interval", "0s"]).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let opened = now();
    let saves_before = endpoint
        .scrape()
        .value("cswatch_checkpoint_saves_total", None);
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
    // The checkpoint advances when no more events arrive.
    endpoint.expect("cswatch_checkpoint_timestamp_seconds", None, |seconds| {
        seconds >= Some(f64::from(last.time))
    });
    endpoint.expect("cswatch_checkpoint_saves_total", None, |saves| {
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
    assert_eq!(value("cswatch_checkpoint_save_failures_total"), Some(0.0));
    let present = f64::from(scenario.set().operation_time().time);
    let saved = value("cswatch_checkpoint_saved_timestamp_seconds").expect("a time");
    assert!((opened..=now()).contains(&saved), "{saved} from {opened}");
    let checkpoint = value("cswatch_checkpoint_timestamp_seconds").expect("a time");
    assert!(checkpoint <= present, "{checkpoint} after {present}");
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
fn counts_failed_saves() {
    let scenario = Scenario::new("metrics_saves");
    let disk = SmallDisk::new(64 * 1024);
    let mut cswatch = watch(&scenario)
        .args(["--save-interval", "0s", "--resume-file"])
        .args([disk.path_inside().join("resume.json")])
        .through(disk.through())
        .spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let failures = "cswatch_checkpoint_save_failures_total";
    endpoint.expect(failures, None, |count| count == Some(0.0));
    disk.fill();
    insert(&scenario.coll("c"), 1..=1);
    cswatch.expect_inserts(1..=1);
    endpoint.expect(failures, None, |count| count >= Some(1.0));
}

#[test]
fn gives_each_metric_a_help_text_a_type_and_a_conventional_name() {
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
fn reports_caught_up_after_an_empty_reply_and_leaves_out_lag_and_headroom() {
    let scenario = Scenario::new("metrics_lag");
    let mut cswatch = watch(&scenario).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    endpoint.expect("cswatch_caught_up", None, |value| value == Some(1.0));
    let metrics = endpoint.scrape();
    assert_eq!(metrics.value("cswatch_lag_seconds", None), None);
    let time_since_reply = metrics.value("cswatch_time_since_reply_seconds", None);
    assert!(
        time_since_reply.is_some_and(|seconds| seconds < 30.0),
        "{time_since_reply:?}"
    );
    // The oplog of this server has not overwritten anything yet, so the headroom is unknown.
    assert_eq!(metrics.value("cswatch_headroom_seconds", None), None);
}

#[test]
fn reports_lag_while_its_reader_stalls() {
    let scenario = Scenario::new("metrics_stalled");
    let mut cswatch = watch(&scenario).stdout(Stdout::Stalled).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_open();
    let documents: Vec<_> = (0..200)
        .map(|n| doc! { "_id": n, "pad": "x".repeat(100_000) })
        .collect();
    block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
    endpoint.expect("cswatch_queue_bytes", None, |bytes| bytes > Some(100_000.0));
    endpoint.expect("cswatch_lag_seconds", None, |lag| lag > Some(1.0));
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
fn reports_an_outage_in_readyz_and_not_in_healthz() {
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
    // The process is healthy, and the last reply from the server is recent.
    assert_eq!(endpoint.get("/healthz").0, 200);
    let metrics = endpoint.scrape();
    assert_eq!(metrics.value("cswatch_stream_open", None), Some(0.0));
    assert_eq!(
        metrics.value("cswatch_caught_up", None),
        None,
        "unknown during an outage"
    );
    mongod.restart();
    let ready = poll(DEADLINE, || {
        (endpoint.get("/readyz").0 == 200).then_some(())
    });
    assert!(ready.is_some(), "{:?}", endpoint.get("/readyz"));
    assert!(endpoint.scrape().sum("cswatch_reconnects_total") >= 1.0);
}

#[test]
fn refuses_other_paths_and_methods() {
    let scenario = Scenario::new("metrics_paths");
    let mut cswatch = watch(&scenario).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    assert_eq!(
        endpoint.get("/"),
        (
            404,
            "not found: the paths are /metrics, /healthz and /readyz\n".to_owned()
        )
    );
    assert_eq!(endpoint.post("/metrics"), 405);
}

#[test]
fn refuses_an_address_that_cannot_be_bound_before_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let in_use = listener.local_addr().expect("its address").to_string();
    for address in [in_use.as_str(), "192.0.2.1:9216", "9216", "127.0.0.1:x"] {
        let finished = Cswatch::new()
            .args(["--metrics-addr", address])
            .run_unconnected();
        finished.expect_failure(
            2,
            &format!("cannot listen on --metrics-addr {address}: "),
            "use an address of this machine and a free port, as in 127.0.0.1:9216",
        );
    }
}
