//! A backlog read side by side comes out byte for byte as one stream would give it, whatever is in it and whatever happens meanwhile.

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

/// Bytes in each document of a backlog: large enough that few documents make many slices.
const PAD: usize = 8 * 1024;

/// Documents in one insert: below the 48 MB of a message.
const DOCUMENTS_IN_ONE_INSERT: usize = 1000;

/// How long before its first event a watch of a backlog begins. A backlog shorter than 2 s is read by one stream.
const LEAD_SECONDS: u32 = 10;

/// Inserts documents with these `_id`s.
#[track_caller]
fn fill(coll: &Collection<Document>, ids: std::ops::Range<i32>) {
    let documents: Vec<Document> = ids
        .map(|id| doc! { "_id": id, "n": id % 1000, "pad": "x".repeat(PAD) })
        .collect();
    for some in documents.chunks(DOCUMENTS_IN_ONE_INSERT) {
        block_on(coll.insert_many(some)).expect("inserts");
    }
}

/// A watch of all that happened in a scenario since it began.
struct Backlog<'a> {
    scenario: &'a Scenario<'a>,
    start: Timestamp,
}

impl<'a> Backlog<'a> {
    /// What is written from now on.
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

    fn file(&self, streams: u8) -> PathBuf {
        self.scenario.path(&format!("by-{streams}.jsonl"))
    }

    /// Waits until what was written so far lies so far back that it counts as a backlog.
    #[track_caller]
    fn settle(&self) {
        let written = self.scenario.set().operation_time();
        let settled = poll(DEADLINE, || {
            // Time passes for the server with its operations.
            block_on(self.scenario.coll("clock").insert_one(doc! {})).expect("an insert");
            let now = self.scenario.set().operation_time();
            (now.time > written.time + 2).then_some(())
        });
        assert!(settled.is_some(), "the cluster time stands still");
    }

    /// The watch by so many streams, into a file of its own.
    fn watch(&self, streams: u8, arguments: &[&str]) -> Cswatch {
        self.watch_at(&self.scenario.set().uri(), streams, arguments)
    }

    /// The same, where the server is reached in another way.
    fn watch_at(&self, uri: &str, streams: u8, arguments: &[&str]) -> Cswatch {
        self.watch_into_stdout(uri, streams, arguments)
            .args(["--output"])
            .args([self.file(streams)])
    }

    /// The same, but into stdout.
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

    /// What so many streams print, and how they end.
    #[track_caller]
    fn read_by(&self, streams: u8, arguments: &[&str]) -> (Vec<String>, Finished) {
        let finished = self.watch(streams, arguments).run();
        (self.lines(streams), finished)
    }

    #[track_caller]
    fn lines(&self, streams: u8) -> Vec<String> {
        let text = fs::read_to_string(self.file(streams)).expect("the output");
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines().map(str::to_owned).collect()
    }

    /// Checks that one, two and four streams print the same and end in the same way; gives what they print, and how many slices the
    /// four made.
    #[track_caller]
    fn is_the_same_side_by_side(&self, arguments: &[&str]) -> (Vec<String>, usize) {
        let (lines, one) = self.read_by(1, arguments);
        let mut slices = 0;
        for streams in [2, 4] {
            let (others, several) = self.read_by(streams, arguments);
            assert_eq!(several.code, one.code, "exit code\n{}", several.stderr);
            let at = lines
                .iter()
                .zip(&others)
                .position(|(one, other)| one != other);
            assert_eq!(at, None, "the first line that differs\n{}", several.stderr);
            assert_eq!(others.len(), lines.len(), "lines\n{}", several.stderr);
            slices = slices_in(&several);
        }
        (lines, slices)
    }
}

/// How many slices a watch made beside its first one.
fn slices_in(finished: &Finished) -> usize {
    finished.stderr.matches("begins at").count()
}

#[test]
fn reads_a_dense_backlog_in_several_slices() {
    let scenario = Scenario::new("dense");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..4000);

    let (lines, slices) = backlog.is_the_same_side_by_side(&["--coll", "c"]);

    assert_eq!(lines.len(), 4000);
    let in_order = lines
        .iter()
        .enumerate()
        .all(|(id, line)| brief(line) == format!("insert {id}"));
    assert!(in_order);
    assert!(slices >= 2, "{slices} slices");
}

#[test]
fn holds_a_part_of_the_backlog_while_nobody_reads() {
    const DOCUMENTS: i32 = 16_000;
    /// Half of the backlog; what one slice holds, a program that is not optimised and replies on their way are a quarter.
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
        // The driver's heartbeats go on.
        if spent > busy.0 + Duration::from_millis(20) {
            busy = (spent, Instant::now());
        }
        (busy.1.elapsed() > IDLE).then_some(())
    });
    assert!(is_idle.is_some(), "it goes on reading");
    let peak = running.peak_memory();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");

    running.read_stdout();
    let finished = running.wait();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout.len(), DOCUMENTS as usize);
    assert!(slices_in(&finished) >= 4, "{}", finished.stderr);
}

#[test]
fn keeps_transactions_whole_whose_events_share_one_cluster_time() {
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

    let (lines, slices) = backlog.is_the_same_side_by_side(&["--coll", "c"]);

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

    let (lines, slices) = backlog.is_the_same_side_by_side(&["--coll", "c"]);

    assert_eq!(lines.len(), 2002);
    assert_eq!(brief(&lines[2001]), "invalidate");
    assert!(slices >= 1, "{slices} slices");
}

#[test]
fn goes_on_behind_renames_and_drops_within_the_backlog() {
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

    let (lines, slices) =
        backlog.is_the_same_side_by_side(&["--coll", "c", "--on-invalidate", "reopen"]);

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
    let (lines, _) = backlog.is_the_same_side_by_side(&images);

    assert_eq!(lines.len(), 2999 + 2);
    assert_eq!(brief(&lines[1500]), "update 0");
    assert!(lines[1500].len() > 2 * 12 * 1024 * 1024);
}

#[test]
fn finds_the_few_or_no_events_that_a_filter_leaves() {
    let scenario = Scenario::new("rare");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..3000);

    let rare = ["--coll", "c", "--match", r#"{"fullDocument.n":7}"#];
    assert_eq!(backlog.is_the_same_side_by_side(&rare).0.len(), 3);
    let scenario = Scenario::new("never");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..3000);
    let never = ["--coll", "c", "--op", "delete"];
    assert_eq!(backlog.is_the_same_side_by_side(&never).0.len(), 0);
}

#[test]
fn ends_at_once_where_the_backlog_is_empty() {
    let scenario = Scenario::new("empty");
    let backlog = Backlog::since_now(&scenario);

    assert_eq!(
        backlog.is_the_same_side_by_side(&["--coll", "c"]),
        (Vec::new(), 0)
    );
}

#[test]
fn says_that_it_watches_before_anything_comes_of_a_quiet_backlog() {
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
fn cuts_slices_within_a_second() {
    let scenario = Scenario::new("second");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..4000);

    let (_, finished) = backlog.read_by(4, &["--coll", "c"]);

    let within = finished.stderr.lines().filter(|line| {
        line.split_once("begins at Timestamp(")
            .and_then(|(_, time)| time.split_once(", "))
            .is_some_and(|(_, increment)| !increment.starts_with("1)"))
    });
    assert!(within.count() > 0, "{}", finished.stderr);
}

#[test]
fn goes_on_in_order_when_the_server_is_lost_in_the_middle() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "lost");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..6000);
    backlog.settle();
    let (expected, _) = backlog.read_by(1, &["--coll", "c"]);

    let proxy = Proxy::start(set.primary());
    let mut running = backlog.watch_at(&proxy.uri(), 4, &["--coll", "c"]).spawn();
    for _ in 0..3 {
        // Each cut comes when more of the backlog is out, and slices ahead of it are being read.
        running.expect_stderr("begins at");
        proxy.cut(Cut::Reset);
    }
    running.wait().expect_code(0);

    assert_eq!(backlog.lines(4), expected);
}

#[test]
fn writes_each_event_once_when_it_is_killed_in_the_middle() {
    let scenario = Scenario::new("killed");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..6000);
    backlog.settle();
    let (expected, _) = backlog.read_by(1, &["--coll", "c"]);

    for _ in 0..3 {
        let mut running = backlog.watch(4, &["--coll", "c"]).spawn();
        running.expect_stderr("begins at");
        running.kill();
    }
    backlog.watch(4, &["--coll", "c"]).run().expect_code(0);

    assert_eq!(backlog.lines(4), expected);
}
