//! Catch-up with several streams. It prints the same lines as one stream, byte for byte, whatever the backlog holds, and after kills and
//! lost connections.

/// Cursors that a watch no longer needs.
mod abandoned_cursors;
/// Cursors of questions to the server.
mod cursors;
/// The end of the backlog.
mod end;
/// An event that the server fails on.
mod failing_event;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::{Document, Timestamp, doc};

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{as_start, brief};
use testkit::finished::Finished;
use testkit::mongod_binary::MongodBinary;
use testkit::proxy::{Cut, Proxy};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::PIPE_FULL;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Bytes in each document of a backlog: large enough that few documents fill many slices.
const PAD: usize = 8 * 1024;

/// Documents in one insert, below the limit of 48 MB for a message.
const DOCUMENTS_IN_ONE_INSERT: usize = 1000;

/// Time between the start of a watch and the first event of the backlog: a single stream reads a backlog shorter than 2 s.
const LEAD_SECONDS: u32 = 10;

/// Text on stderr (with -v) for each slice after the first.
const SLICE_START: &str = " starts at Timestamp(";

/// Inserts documents with these `_id`s.
#[track_caller]
fn fill(coll: &Collection<Document>, ids: std::ops::Range<i32>) {
    let documents: Vec<Document> = ids
        .map(|id| doc! { "_id": id, "n": id % 1000, "pad": "x".repeat(PAD) })
        .collect();
    for chunk in documents.chunks(DOCUMENTS_IN_ONE_INSERT) {
        block_on(coll.insert_many(chunk)).expect("inserts");
    }
}

/// The backlog of a scenario since a point in time.
struct Backlog<'a> {
    scenario: &'a Scenario<'a>,
    start: Timestamp,
}

impl<'a> Backlog<'a> {
    /// Returns the backlog of the events from now on.
    fn since_now(scenario: &'a Scenario<'a>) -> Self {
        let now = scenario.set().operation_time();
        Self {
            scenario,
            start: Timestamp {
                time: now.time - LEAD_SECONDS,
                increment: 1,
            },
        }
    }

    /// Returns the output file of a watch with this number of streams.
    fn file(&self, streams: u8) -> PathBuf {
        self.scenario.path(&format!("by-{streams}.jsonl"))
    }

    /// Waits until the events so far are old enough to count as a backlog.
    #[track_caller]
    fn settle(&self) {
        let written = self.scenario.set().operation_time();
        let settled = poll(DEADLINE, || {
            // Cluster time advances only with operations.
            block_on(self.scenario.coll("clock").insert_one(doc! {})).expect("an insert");
            let now = self.scenario.set().operation_time();
            (now.time > written.time + 2).then_some(())
        });
        assert!(settled.is_some(), "the cluster time stands still");
    }

    /// Returns a watch with this number of streams, into its own file.
    fn watch(&self, streams: u8, arguments: &[&str]) -> Cswatch {
        self.watch_at(&self.scenario.set().uri(), streams, arguments)
    }

    /// Like [`Backlog::watch`], with another connection string.
    fn watch_at(&self, uri: &str, streams: u8, arguments: &[&str]) -> Cswatch {
        self.watch_into_stdout(uri, streams, arguments)
            .args(["--output"])
            .args([self.file(streams)])
    }

    /// Like [`Backlog::watch_at`], into stdout.
    fn watch_into_stdout(&self, uri: &str, streams: u8, arguments: &[&str]) -> Cswatch {
        Cswatch::new()
            .args(["--uri", uri, "--db", self.scenario.db().name()])
            .args([
                "--until",
                "now",
                "-v",
                "--start",
                &as_start(self.start),
                "--resume-file",
            ])
            .args([self.scenario.path(&format!("by-{streams}.json"))])
            .args(["--catch-up-streams", &streams.to_string()])
            .args(arguments)
    }

    /// Runs a watch with this number of streams, and returns its lines and its result.
    #[track_caller]
    fn read_by(&self, streams: u8, arguments: &[&str]) -> (Vec<String>, Finished) {
        let finished = self.watch(streams, arguments).run();
        (self.lines(streams), finished)
    }

    /// Returns the lines of the output file of a watch with this number of streams.
    #[track_caller]
    fn lines(&self, streams: u8) -> Vec<String> {
        let text = fs::read_to_string(self.file(streams)).expect("the output");
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines().map(str::to_owned).collect()
    }

    /// Fails unless one, two and four streams print the same lines and end with the same exit code. Returns the lines, and the number of
    /// slices that the four streams read after the first.
    #[track_caller]
    fn expect_same_lines(&self, arguments: &[&str]) -> (Vec<String>, usize) {
        let (lines, one) = self.read_by(1, arguments);
        let mut slices = 0;
        for streams in [2, 4] {
            let (others, several) = self.read_by(streams, arguments);
            assert_eq!(several.code, one.code, "exit code\n{}", several.stderr);
            let difference = lines
                .iter()
                .zip(&others)
                .position(|(one, other)| one != other);
            assert_eq!(
                difference, None,
                "the first line that differs\n{}",
                several.stderr
            );
            assert_eq!(others.len(), lines.len(), "lines\n{}", several.stderr);
            slices = count_slices(&several);
        }
        (lines, slices)
    }
}

/// Counts the slices after the first.
fn count_slices(finished: &Finished) -> usize {
    finished.stderr.matches(SLICE_START).count()
}

#[test]
fn reads_a_dense_backlog_in_several_slices() {
    let scenario = Scenario::new("dense");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..4000);

    let (lines, slices) = backlog.expect_same_lines(&["--coll", "c"]);

    assert_eq!(lines.len(), 4000);
    let in_order = lines
        .iter()
        .enumerate()
        .all(|(id, line)| brief(line) == format!("insert {id}"));
    assert!(in_order);
    assert!(slices >= 2, "{slices} slices");
}

#[test]
fn holds_only_a_part_of_the_backlog_while_stdout_is_not_read() {
    const DOCUMENTS: i32 = 16_000;
    /// Half of the backlog. One slice, an unoptimized program and the replies in transit take a quarter.
    const MEMORY_LIMIT: u64 = DOCUMENTS as u64 * PAD as u64 / 2;
    const IDLE: Duration = Duration::from_secs(1);

    let scenario = Scenario::new("stalled");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..DOCUMENTS);
    backlog.settle();

    let mut running = backlog
        .watch_into_stdout(&scenario.set().uri(), 2, &["--coll", "c"])
        .stdout(Stdout::Stalled)
        .spawn();
    running.wait_unread(PIPE_FULL);
    let mut busy = (running.cpu_time(), Instant::now());
    let is_idle = poll(DEADLINE, || {
        let spent = running.cpu_time();
        // The driver still sends heartbeats.
        if spent > busy.0 + Duration::from_millis(20) {
            busy = (spent, Instant::now());
        }
        (busy.1.elapsed() > IDLE).then_some(())
    });
    assert!(is_idle.is_some(), "it continues to read");
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");

    running.read_stdout();
    let finished = running.wait();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout.len(), DOCUMENTS as usize);
    assert!(count_slices(&finished) >= 4, "{}", finished.stderr);
}

#[test]
fn keeps_transactions_whole() {
    let scenario = Scenario::new("transactions");
    let coll = scenario.coll("c");
    block_on(scenario.db().create_collection("c")).expect("a collection");
    let backlog = Backlog::since_now(&scenario);
    for transaction in 0..4 {
        let from = transaction * 1000;
        fill(&coll, from..from + 300);
        block_on(async {
            let mut session = scenario.set().client().start_session().await?;
            session.start_transaction().await?;
            let documents: Vec<Document> = (from + 300..from + 1000)
                .map(|id| doc! { "_id": id, "pad": "y".repeat(PAD) })
                .collect();
            coll.insert_many(documents).session(&mut session).await?;
            session.commit_transaction().await
        })
        .expect("a transaction");
    }

    let (lines, slices) = backlog.expect_same_lines(&["--coll", "c"]);

    assert_eq!(lines.len(), 4000);
    assert!(slices >= 1, "{slices} slices");
}

#[test]
fn ends_at_an_invalidate_within_the_backlog() {
    let scenario = Scenario::new("invalidate");
    let coll = scenario.coll("c");
    let backlog = Backlog::since_now(&scenario);
    fill(&coll, 0..2000);
    block_on(coll.drop()).expect("a drop");
    fill(&coll, 2000..4000);

    let (lines, slices) = backlog.expect_same_lines(&["--coll", "c"]);

    assert_eq!(lines.len(), 2002);
    assert_eq!(brief(&lines[2001]), "invalidate");
    assert!(slices >= 1, "{slices} slices");
}

#[test]
fn reopens_after_renames_and_drops_within_the_backlog() {
    let scenario = Scenario::new("renames");
    let coll = scenario.coll("c");
    let backlog = Backlog::since_now(&scenario);
    fill(&coll, 0..1500);
    let name = |coll: &str| format!("{}.{coll}", scenario.db().name());
    scenario
        .set()
        .admin(doc! { "renameCollection": name("c"), "to": name("d") });
    fill(&coll, 1500..3000);
    block_on(coll.drop()).expect("a drop");
    fill(&coll, 3000..4500);

    let (lines, slices) = backlog.expect_same_lines(&["--coll", "c", "--on-invalidate", "reopen"]);

    assert_eq!(lines.len(), 4500 + 4);
    assert!(slices >= 1, "{slices} slices");
}

#[test]
fn joins_split_events_within_the_backlog() {
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::with_split(),
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "split");
    let create = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
    block_on(scenario.db().run_command(create)).expect("a collection");
    let coll = scenario.coll("c");
    let backlog = Backlog::since_now(&scenario);
    fill(&coll, 1..1500);
    let large = "z".repeat(12 * 1024 * 1024);
    block_on(coll.insert_one(doc! { "_id": 0, "large": large })).expect("a large document");
    block_on(coll.update_one(doc! { "_id": 0 }, doc! { "$set": { "n": 1 } })).expect("an update");
    fill(&coll, 1500..3000);

    let images = [
        "--coll",
        "c",
        "--full-document",
        "required",
        "--full-document-before-change",
        "required",
    ];
    let (lines, _) = backlog.expect_same_lines(&images);

    assert_eq!(lines.len(), 2999 + 2);
    assert_eq!(brief(&lines[1500]), "update 0");
    assert!(lines[1500].len() > 2 * 12 * 1024 * 1024);
}

#[test]
fn finds_the_events_of_a_filter_that_matches_few_or_none() {
    let scenario = Scenario::new("rare");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..3000);

    let rare = ["--coll", "c", "--match", r#"{"fullDocument.n":7}"#];
    assert_eq!(backlog.expect_same_lines(&rare).0.len(), 3);
    let scenario = Scenario::new("never");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..3000);
    let never = ["--coll", "c", "--op", "delete"];
    assert_eq!(backlog.expect_same_lines(&never).0.len(), 0);
}

#[test]
fn reads_an_empty_backlog_in_one_slice() {
    let scenario = Scenario::new("empty");
    let backlog = Backlog::since_now(&scenario);

    assert_eq!(backlog.expect_same_lines(&["--coll", "c"]), (Vec::new(), 0));
}

#[test]
fn reports_the_open_stream_before_the_first_event_of_a_quiet_backlog() {
    let scenario = Scenario::new("quiet");
    let start = format!("-{LEAD_SECONDS}s");
    let mut cswatch = scenario
        .cswatch(["--coll", "c", "--start", &start, "--max-await", "10m"])
        .spawn();
    cswatch.wait_open();
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 })).expect("an insert");
    assert_eq!(brief(&cswatch.next_line()), "insert 1");
}

#[test]
fn starts_slices_within_a_second() {
    let scenario = Scenario::new("second");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..4000);

    let (_, finished) = backlog.read_by(4, &["--coll", "c"]);

    let within_a_second = finished.stderr.lines().filter(|line| {
        line.split_once(SLICE_START)
            .and_then(|(_, time)| time.split_once(", "))
            .is_some_and(|(_, increment)| !increment.starts_with("1)"))
    });
    assert!(within_a_second.count() > 0, "{}", finished.stderr);
}

#[test]
fn keeps_the_order_when_connections_are_lost_in_the_middle() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "lost");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..6000);
    backlog.settle();
    let (expected, _) = backlog.read_by(1, &["--coll", "c"]);

    let proxy = Proxy::start(set.primary());
    let mut running = backlog.watch_at(&proxy.uri(), 4, &["--coll", "c"]).spawn();
    for _ in 0..3 {
        // Each cut comes after more of the backlog was printed, while later slices are being read.
        running.expect_stderr(SLICE_START);
        proxy.cut(Cut::Reset);
    }
    running.wait().expect_code(0);

    assert_eq!(backlog.lines(4), expected);
}

#[test]
fn writes_each_event_once_when_killed_in_the_middle() {
    let scenario = Scenario::new("killed");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..6000);
    backlog.settle();
    let (expected, _) = backlog.read_by(1, &["--coll", "c"]);

    for _ in 0..3 {
        let mut running = backlog.watch(4, &["--coll", "c"]).spawn();
        running.expect_stderr(SLICE_START);
        running.kill();
    }
    backlog.watch(4, &["--coll", "c"]).run().expect_code(0);

    assert_eq!(backlog.lines(4), expected);
}
