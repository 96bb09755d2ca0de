//! The progress of a snapshot, in the metrics and in the status line.

use mongodb::bson::doc;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::endpoint::Endpoint;
use testkit::events::insert;
use testkit::running::PIPE_FULL;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// Documents in collection `c`: more than the queue holds while the reader stalls.
const DOCUMENTS: i32 = 2000;

/// Returns a snapshot of `c` and of an empty collection, whose reader stalls.
fn stalled(scenario: &Scenario<'_>, options: &[&str]) -> Cswatch {
    let text = "x".repeat(10_000);
    let documents = (0..DOCUMENTS).map(|id| doc! { "_id": id, "text": &text });
    block_on(scenario.coll("c").insert_many(documents)).expect("an insert");
    block_on(scenario.db().create_collection("empty")).expect("a collection");
    scenario
        .cswatch(["--snapshot", "--max-await", "100ms"])
        .args(options)
        .stdout(Stdout::Stalled)
}

#[test]
fn counts_the_documents_that_were_read_of_those_that_there_are() {
    let scenario = Scenario::new("metrics_snapshot");
    let mut cswatch = stalled(&scenario, &["--metrics-addr", "127.0.0.1:0"]).spawn();
    let endpoint = Endpoint::of(&mut cswatch);
    cswatch.wait_unread(PIPE_FULL);
    let total = f64::from(DOCUMENTS);
    endpoint.expect("cswatch_snapshot_estimated_documents", None, |count| {
        count == Some(total)
    });
    let read = |name: &str| endpoint.scrape().value(name, None);
    assert_eq!(read("cswatch_snapshot_finished"), Some(0.0));
    assert_eq!(read("cswatch_snapshot_collections"), Some(2.0));
    let documents = read("cswatch_snapshot_documents_total").expect("a count");
    assert!((1.0..total).contains(&documents), "{documents}");
    cswatch.read_stdout();
    endpoint.expect("cswatch_snapshot_finished", None, |is| is == Some(1.0));
    assert_eq!(read("cswatch_snapshot_documents_total"), Some(total));
    assert_eq!(read("cswatch_snapshot_finished_collections"), Some(2.0));
    let bytes = read("cswatch_snapshot_read_bytes_total").expect("bytes");
    assert!(bytes > total * 10_000.0, "{bytes}");
    // The lines of a snapshot do not make a stream lag that has caught up.
    endpoint.expect("cswatch_events_total", Some("snapshot"), |lines| {
        lines == Some(total)
    });
    endpoint.expect("cswatch_caught_up", None, |is| is == Some(1.0));
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);

    // A run that continues after the end has nothing to read.
    let mut again = scenario
        .cswatch(["--snapshot", "--metrics-addr", "127.0.0.1:0"])
        .spawn();
    let endpoint = Endpoint::of(&mut again);
    endpoint.expect("cswatch_snapshot_finished", None, |is| is == Some(1.0));
    let documents = endpoint
        .scrape()
        .value("cswatch_snapshot_documents_total", None);
    assert_eq!(documents, Some(0.0));
}

#[test]
fn shows_the_documents_and_the_rate_in_the_status_line_until_all_are_read() {
    let scenario = Scenario::new("status_snapshot");
    let (terminal, written) = Terminal::open(200);
    let mut cswatch = stalled(&scenario, &["--status"])
        .env("TERM", "xterm")
        .stderr(written)
        .spawn();
    // Before the first document there is no rate, and no time that is left.
    let left = " left, 0 events, 0/s";
    let shown = terminal.expect(left);
    let mut statuses = shown.split("snapshot ");
    let status = statuses
        .find(|status| status.contains(left))
        .expect("a status");
    assert!(
        status.contains(" of about 2,000 documents, ") && status.contains("/s, "),
        "{status:?}"
    );
    cswatch.read_stdout();
    insert(&scenario.coll("c"), [DOCUMENTS]);
    let shown = terminal.expect("1 event, ");
    let (_, status) = shown.rsplit_once("1 event, ").expect("a status");
    assert!(!status.contains("snapshot"), "{status:?}");
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}
