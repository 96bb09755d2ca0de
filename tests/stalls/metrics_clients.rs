//! Clients of the metrics server that stall: idle ones, and ones that never read.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::deadline::DEADLINE;
use testkit::events::{saved_token, token};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{GRACE, SLACK, terminate_within, wait_printing};

/// Descriptors that the watch may have. The driver needs about ten.
const MAX_OPEN_FILES: usize = 64;

/// Connections that may be open at a time with so few descriptors.
const MAX_CONNECTIONS: usize = MAX_OPEN_FILES / 8;

/// How long a connection may stay open.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Starts a watch with few descriptors, and returns the address of its metrics too.
fn watch(scenario: &Scenario<'_>) -> (Running, SocketAddr) {
    let limit = format!("ulimit -n {MAX_OPEN_FILES} && exec \"$@\"");
    let mut running = scenario
        // No empty reply moves the checkpoint past the last line.
        .cswatch(["--coll", "c", "--max-await", "10m"])
        .args(["--save-interval", "0s", "--metrics-addr", "127.0.0.1:0"])
        .args(["--resume-file".into(), scenario.path("resume.json")])
        .through(["sh", "-c", &limit, "sh"])
        .spawn();
    let line = running.expect_stderr("serving metrics at ");
    let (_, url) = line.split_once("http://").expect("a URL");
    let (address, _) = url.split_once('/').expect("a path");
    (running, address.parse().expect("an address"))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// Requests a path and returns the whole response. The server closes the connection after it.
#[track_caller]
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: cswatch\r\n\r\n").expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// Returns how many descriptors the process has open.
fn open_files(running: &Running) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", running.pid()));
    descriptors.expect("a live process").count()
}

/// Checks that the watch prints, saves and responds while `clients` stall.
#[track_caller]
fn expect_unharmed(scenario: &Scenario<'_>, mut running: Running, address: SocketAddr) {
    wait_printing(&mut running, &scenario.coll("c"));
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 OK"));
    assert!(get(address, "/metrics").contains("cswatch_events_total"));
    let count = open_files(&running);
    assert!(count < MAX_OPEN_FILES / 2, "{count} descriptors");
    // Renamed into place, for which a descriptor is needed.
    block_on(scenario.coll("c").insert_one(doc! { "last": 1 })).expect("an insert");
    let lines = running.lines_until(|line| line.contains(r#""last""#));
    let last = lines.last().expect("a line");
    let saved = testkit::deadline::poll(DEADLINE, || {
        (saved_token(&scenario.path("resume.json")) == token(last)).then_some(())
    });
    assert!(saved.is_some(), "the checkpoint is not saved");
    let finished = terminate_within(running, GRACE + SLACK).expect_code(0);
    assert!(!finished.stderr.contains("warning"), "{}", finished.stderr);
}

#[test]
fn saves_and_responds_while_200_clients_are_idle() {
    let scenario = Scenario::new("metrics_idle_clients");
    let (running, address) = watch(&scenario);
    let _clients: Vec<_> = (0..200).map(|_| connect(address)).collect();
    expect_unharmed(&scenario, running, address);
}

#[test]
fn saves_and_responds_while_200_clients_send_requests_and_never_read() {
    let scenario = Scenario::new("metrics_deaf_clients");
    let (running, address) = watch(&scenario);
    let _clients: Vec<_> = (0..200)
        .map(|_| {
            let mut client = connect(address);
            for _ in 0..100 {
                // Fails as soon as the server has closed the connection.
                if write!(client, "GET /metrics HTTP/1.1\r\nHost: cswatch\r\n\r\n").is_err() {
                    break;
                }
            }
            client
        })
        .collect();
    expect_unharmed(&scenario, running, address);
}

#[test]
fn closes_the_oldest_idle_client_for_a_new_one_and_any_after_ten_seconds() {
    let scenario = Scenario::new("metrics_old_clients");
    let (_running, address) = watch(&scenario);
    let mut clients: Vec<_> = (0..=MAX_CONNECTIONS).map(|_| connect(address)).collect();
    let mut nothing = Vec::new();
    let started = Instant::now();
    let mut closed = Vec::new();
    for client in &mut clients {
        // Ends when the server closes the connection, and fails after the read timeout.
        let read = client.read_to_end(&mut nothing);
        assert!(
            read.is_ok() || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        );
        closed.push(started.elapsed());
    }
    assert!(closed[0] < MAX_AGE / 2, "{closed:?}");
    assert!(closed[1] > MAX_AGE / 2, "{closed:?}");
    assert_eq!(nothing, b"");
}

#[test]
fn warns_when_other_machines_can_read_the_metrics() {
    let warned = |address: &str| {
        let mut running = Cswatch::new()
            .args(["--uri", "mongodb://127.0.0.1:1/", "--wait"])
            .args(["--metrics-addr", address])
            .spawn();
        running.expect_stderr("serving metrics at ");
        running.expect_stderr("no connection yet");
        running.kill().stderr
    };
    let stderr = warned("0.0.0.0:0");
    assert!(
        stderr.contains("cswatch: warning: other machines can read the metrics at 0.0.0.0:"),
        "{stderr}"
    );
    let stderr = warned("127.0.0.1:0");
    assert!(!stderr.contains("other machines"), "{stderr}");
}
