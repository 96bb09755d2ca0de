//! History that the server no longer has. cswatch reports both ends of the gap and stops; it continues only with `--on-history-lost`. To
//! prevent such a loss, the checkpoint follows the stream even when no event matches.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mongodb::bson::{Timestamp, doc};
use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{briefs, insert, inserts, saved_time, saved_token, wait_saved_from};
use testkit::finished::Finished;
use testkit::live_cursor::LiveCursor;
use testkit::oplog::Oplog;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The hint of an error about lost history.
const HINT: &str = "accept the gap with --on-history-lost earliest or --on-history-lost now; to prevent the next one, raise the oplog's size or storage.oplogMinRetentionHours";

/// Starts a replica set whose oplog is overwritten quickly.
fn start_set() -> ReplicaSet {
    ReplicaSet::start(tiny_oplog())
}

fn tiny_oplog() -> Options {
    Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    }
}

/// Formats a time as messages do.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.time.into())
        .expect("a time")
        .to_string()
}

/// Fails unless the run ended with an error about lost history, from `from` to the oldest entry of the oplog. That entry was `oldest`
/// before the run.
#[track_caller]
fn expect_history_lost(run: &Finished, start: &str, set: &ReplicaSet, oldest: Timestamp) {
    let (_, from) = start.rsplit_once(' ').expect("what the time is of");
    let message = format!("history lost: {start}, the oldest event the server still has is from ");
    run.expect_error(&message, HINT);
    let (_, rest) = run.stderr.split_once(&message).expect("the message");
    let shown = rest.lines().next().expect("a time");
    // The oplog may have been overwritten further since.
    let possible = rfc3339(oldest)..=rfc3339(set.oplog_start());
    assert!(
        possible.contains(&shown.to_owned()),
        "{shown}: {possible:?}"
    );
    assert!(from <= shown, "{shown}");
}

/// Returns both ends of the gap that a warning reports.
#[track_caller]
fn gap_in(line: &str) -> (String, String) {
    let times = line
        .split_once("cswatch: warning: history lost: events from ")
        .and_then(|(_, rest)| rest.strip_suffix(" are missing"))
        .and_then(|times| times.split_once(" to "));
    match times {
        Some((from, to)) => (from.to_owned(), to.to_owned()),
        None => panic!("no gap in {line:?}"),
    }
}

#[test]
fn stops_at_lost_history_until_the_gap_is_accepted() {
    let set = start_set();
    let scenario = Scenario::on(&set, "history");
    let coll = scenario.coll("c");
    let file = scenario.resume_file();
    scenario.remaining();
    insert(&coll, 1..=1);
    set.roll_oplog(set.operation_time());
    let before = saved_token(&file);
    let content = fs::read(&file).expect("a resume file");
    let from = rfc3339(saved_time(&file));

    // A second run fails in the same way: the first one did not change the checkpoint.
    for _ in 0..2 {
        let oldest = set.oplog_start();
        let run = scenario.watch(&[]).run().expect_code(3);
        assert_eq!(run.stdout, [""; 0]);
        expect_history_lost(
            &run,
            &format!("the checkpoint is from {from}"),
            &set,
            oldest,
        );
        assert_eq!(saved_token(&file), before);
    }

    // `earliest` is exact to the second: the next insert must be in a later second than everything that may still be overwritten.
    let rolled = set.operation_time().time;
    let later = || {
        (SystemTime::now() >= UNIX_EPOCH + Duration::from_secs(u64::from(rolled) + 1)).then_some(())
    };
    poll(DEADLINE, later).expect("time passes");
    insert(&coll, 2..=2);
    let mut id = 2;
    for (policy, first) in [("earliest", 2), ("now", 4)] {
        fs::write(&file, &content).expect("a resume file");
        let oldest = set.oplog_start();
        let mut running = scenario.watch(&["--on-history-lost", policy]).spawn();
        let (gap_from, gap_to) = gap_in(&running.expect_stderr("history lost"));
        assert_eq!(gap_from, from);
        assert!(gap_from <= gap_to, "{gap_to}");
        if policy == "earliest" {
            let newest = set.oplog_start();
            // Exact to the second.
            let next = Timestamp {
                time: newest.time + 1,
                ..newest
            };
            let possible = rfc3339(oldest)..=rfc3339(next);
            assert!(possible.contains(&gap_to), "{gap_to}: {possible:?}");
        }
        running.wait_open();
        // Events after the opening come after the gap.
        id += 1;
        insert(&coll, [id]);
        running.expect_inserts(first..=id);
        running.signal(Signal::TERM);
        let run = running.wait().expect_code(0);
        assert_eq!(briefs(&run.stdout), inserts(first..=id));
        // The checkpoint is after the gap.
        assert_eq!(scenario.remaining(), [""; 0]);
    }
    insert(&coll, [id + 1]);
    assert_eq!(scenario.remaining(), inserts([id + 1]));
}

#[test]
fn refuses_a_start_that_the_oplog_no_longer_has_and_saves_nothing() {
    let set = start_set();
    let scenario = Scenario::on(&set, "start_lost");
    scenario.remaining();
    let file = scenario.resume_file();
    let lost = set.operation_time();
    let token = saved_token(&file);
    fs::remove_file(&file).expect("a resume file");
    set.roll_oplog(lost);
    insert(&scenario.coll("c"), 1..=1);

    let start = rfc3339(lost);
    let oldest = set.oplog_start();
    let run = scenario.watch(&["--start", &start]).run().expect_code(3);
    expect_history_lost(&run, &format!("--start is at {start}"), &set, oldest);
    assert!(!file.exists(), "the next run must not resume from it");

    let watch = scenario.watch(&["--start-after", &token]);
    watch.run().expect_code(3);
    assert!(!file.exists(), "the next run must not resume from it");

    let earliest = ["--on-history-lost", "earliest", "--until", "now"];
    let watch = scenario.watch(&earliest).args(["--start", &start]);
    let run = watch.run().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(1..=1));
    assert!(
        run.stderr.contains("history lost: events from "),
        "{}",
        run.stderr
    );

    fs::remove_file(&file).expect("a resume file");
    let watch = scenario.watch(&["--start", "earliest", "--until", "now"]);
    let run = watch.run().expect_code(0);
    assert_eq!(briefs(&run.stdout), inserts(1..=1));
}

#[test]
fn keeps_the_checkpoint_within_the_oplog_while_no_event_matches() {
    let set = start_set();
    let scenario = Scenario::on(&set, "quiet");
    let coll = scenario.coll("c");
    let file = scenario.resume_file();
    for filter in [
        ["--op", "delete"],
        ["--match", r#"{"fullDocument.never":true}"#],
    ] {
        let _ = fs::remove_file(&file);
        let mut running = scenario.watch(&filter).spawn();
        running.wait_open();
        let opened = saved_time(&file);
        // Other writes overwrite the whole oplog three times.
        for _ in 0..3 {
            set.roll_oplog(set.operation_time());
        }
        assert!(set.oplog_start() > opened);
        wait_saved_from(&file, set.operation_time());
        running.kill();
        insert(&coll, 1..=1);
        block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
        let next = scenario.watch(&filter).args(["--until", "now"]).run();
        let expected: &[&str] = if filter[0] == "--op" {
            &["delete 1"]
        } else {
            &[]
        };
        assert_eq!(briefs(&next.expect_code(0).stdout), expected);
    }
}

/// Suspends `cswatch` with SIGSTOP, and overwrites the oplog beyond the point up to which it has read. Returns a time at or after that
/// point.
#[track_caller]
fn overtake(scenario: &Scenario<'_>, cswatch: &Running) -> Timestamp {
    cswatch.signal(Signal::STOP);
    let wait_idle = || LiveCursor::wait_for(scenario, |cursor| cursor.get_more.is_none());
    let set = scenario.set();
    loop {
        let replies = wait_idle().replies;
        let time = set.operation_time();
        set.roll_oplog(time);
        // A request sent before the suspension may have been answered only now, from after the overwritten part.
        if wait_idle().replies == replies {
            return time;
        }
    }
}

#[test]
fn stops_when_the_oplog_overtakes_a_suspended_watch() {
    let set = start_set();
    let scenario = Scenario::on(&set, "overtaken");
    let coll = scenario.coll("c");
    let file = scenario.resume_file();
    let mut cswatch = scenario.watch(&[]).spawn();
    cswatch.wait_open();
    insert(&coll, 0..3);
    let printed = set.operation_time();
    cswatch.expect_inserts(0..3);
    let overtaken = overtake(&scenario, &cswatch);
    let oldest = set.oplog_start();
    insert(&coll, 3..6);
    cswatch.signal(Signal::CONT);
    let finished = cswatch.wait().expect_code(3);
    assert_eq!(briefs(&finished.stdout), inserts(0..3));

    let saved = saved_token(&file);
    let time = saved_time(&file);
    assert!(
        (printed..=overtaken).contains(&time),
        "{time}: {printed}..={overtaken}"
    );
    let from = rfc3339(time);
    expect_history_lost(
        &finished,
        &format!("the checkpoint is from {from}"),
        &set,
        oldest,
    );

    // The next run fails in the same way.
    let finished = scenario.watch(&[]).run().expect_code(3);
    assert_eq!(finished.stdout, [""; 0]);
    expect_history_lost(
        &finished,
        &format!("the checkpoint is from {from}"),
        &set,
        oldest,
    );
    assert_eq!(saved_token(&file), saved);
}

#[test]
fn continues_at_the_oldest_event_with_on_history_lost_earliest() {
    let set = start_set();
    let scenario = Scenario::on(&set, "earliest");
    let coll = scenario.coll("c");
    let mut cswatch = scenario.watch(&["--on-history-lost", "earliest"]).spawn();
    cswatch.wait_open();
    insert(&coll, 0..3);
    cswatch.expect_inserts(0..3);
    overtake(&scenario, &cswatch);
    insert(&coll, 3..6);
    cswatch.signal(Signal::CONT);
    cswatch.expect_stderr("warning: history lost: events from ");
    cswatch.expect_inserts(3..6);
    cswatch.signal(Signal::TERM);
    cswatch.wait().expect_code(0);
}

#[test]
fn continues_at_the_current_time_with_on_history_lost_now() {
    let set = start_set();
    let scenario = Scenario::on(&set, "now");
    let coll = scenario.coll("c");
    let mut cswatch = scenario.watch(&["--on-history-lost", "now"]).spawn();
    cswatch.wait_open();
    insert(&coll, 0..3);
    cswatch.expect_inserts(0..3);
    overtake(&scenario, &cswatch);
    insert(&coll, 3..6);
    cswatch.signal(Signal::CONT);
    cswatch.expect_stderr("warning: history lost: events from ");
    insert(&coll, 6..9);
    cswatch.expect_inserts(6..9);
    cswatch.signal(Signal::TERM);
    let finished = cswatch.wait().expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts((0..3).chain(6..9)));
}

#[test]
fn finds_the_oldest_event_with_only_the_privileges_of_the_stream() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..tiny_oplog()
    });
    let scenario = Scenario::on(&set, "start_earliest");
    let coll = scenario.coll("c");
    set.admin(doc! {
        "createUser": "reader",
        "pwd": "secret",
        "roles": [{ "role": "read", "db": scenario.db().name() }],
    });
    insert(&coll, 0..3);
    set.roll_oplog(set.operation_time());
    insert(&coll, 3..6);
    let uri = set.uri_as("reader", "secret");
    let finished = scenario
        .watch_at(&uri, &["--start", "earliest", "--until", "now"])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&finished.stdout), inserts(3..6));
}
