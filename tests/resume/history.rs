//! History that the server no longer has: cswatch reports both ends of the gap and stops, and it resumes only when told where. And a
//! checkpoint that follows the stream, so that the history it needs is not lost.

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
const HINT: &str = "; accept the gap with --on-history-lost earliest or --on-history-lost now; against the next time raise the oplog's size or storage.oplogMinRetentionHours";

/// Starts a set whose oplog forgets quickly.
fn forgetful() -> ReplicaSet {
    ReplicaSet::start(forgetful_options())
}

fn forgetful_options() -> Options {
    Options {
        oplog: Oplog::Tiny,
        ..Options::default()
    }
}

/// Returns a time as messages have it.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.time.into())
        .expect("a time")
        .to_string()
}

/// Fails unless its last message is an error about lost history: since `from`, up to the oldest entry of the oplog, which was `oldest`
/// before the run.
#[track_caller]
fn expect_history_lost(run: &Finished, from: &str, set: &ReplicaSet, oldest: Timestamp) {
    let message =
        format!("history lost: the position is from {from}, the oldest the server still has is ");
    run.expect_error(&message, HINT);
    let (_, rest) = run.stderr.split_once(&message).expect("the message");
    let (shown, _) = rest.split_once(';').expect("a hint");
    // The server may have forgotten more meanwhile.
    let possible = rfc3339(oldest)..=rfc3339(set.oplog_start());
    assert!(
        possible.contains(&shown.to_owned()),
        "{shown}: {possible:?}"
    );
    assert!(from <= shown, "{shown}");
}

/// Returns the times in a warning about a gap.
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
fn lost_history_ends_the_watch_and_goes_on_where_it_is_told() {
    let set = forgetful();
    let scenario = Scenario::on(&set, "history");
    let coll = scenario.coll("c");
    let file = scenario.resume_file();
    scenario.remaining();
    insert(&coll, 1..=1);
    set.roll_oplog(set.operation_time());
    let before = fs::read(&file).expect("a resume file");
    let from = rfc3339(saved_time(&file));

    // The history stays lost.
    for _ in 0..2 {
        let oldest = set.oplog_start();
        let run = scenario.watch(&[]).run().expect_code(3);
        assert_eq!(run.stdout, [""; 0]);
        expect_history_lost(&run, &from, &set, oldest);
        assert_eq!(fs::read(&file).expect("a resume file"), before);
    }

    // `earliest` is exact to the second: this one is in a later second than all that may still be forgotten.
    let rolled = set.operation_time().time;
    let later = || {
        (SystemTime::now() >= UNIX_EPOCH + Duration::from_secs(u64::from(rolled) + 1)).then_some(())
    };
    poll(DEADLINE, later).expect("time passes");
    insert(&coll, 2..=2);
    let mut id = 2;
    for (policy, first) in [("earliest", 2), ("now", 4)] {
        fs::write(&file, &before).expect("a resume file");
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
        // What is written from then on comes after the gap.
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
fn start_that_is_out_of_history_is_refused_and_not_saved() {
    let set = forgetful();
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
    expect_history_lost(&run, &start, &set, oldest);
    assert!(!file.exists(), "the next start must not be bound to it");

    let watch = scenario.watch(&["--start-after", &token]);
    watch.run().expect_code(3);
    assert!(!file.exists(), "the next start must not be bound to it");

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
fn stream_without_matches_never_ages_out_of_the_oplog() {
    let set = forgetful();
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
        // Three times the oplog, of other writes.
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

/// Stops `cswatch` by SIGSTOP, and has the oplog forget the point that it has read up to. Returns a time at or after that point.
#[track_caller]
fn overtake(scenario: &Scenario<'_>, cswatch: &Running) -> Timestamp {
    cswatch.signal(Signal::STOP);
    let at_rest = || LiveCursor::wait_for(scenario, |cursor| cursor.get_more.is_none());
    let set = scenario.set();
    loop {
        let replies = at_rest().replies;
        let time = set.operation_time();
        set.roll_oplog(time);
        // A request that it had sent before it stopped may have come to be answered only now, ahead of what was forgotten.
        if at_rest().replies == replies {
            return time;
        }
    }
}

#[test]
fn ends_when_the_oplog_overtakes_a_watch_that_was_stopped() {
    let set = forgetful();
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

    let saved = fs::read(&file).expect("a resume file");
    let time = saved_time(&file);
    assert!(
        (printed..=overtaken).contains(&time),
        "{time}: {printed}..={overtaken}"
    );
    let from = rfc3339(time);
    expect_history_lost(&finished, &from, &set, oldest);

    // The next run does not resume either.
    let finished = scenario.watch(&[]).run().expect_code(3);
    assert_eq!(finished.stdout, [""; 0]);
    expect_history_lost(&finished, &from, &set, oldest);
    assert_eq!(fs::read(&file).expect("a resume file"), saved);
}

#[test]
fn resumes_at_the_oldest_event_when_told_to_accept_lost_history() {
    let set = forgetful();
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
fn resumes_at_the_present_when_told_to_accept_lost_history() {
    let set = forgetful();
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
fn finds_the_oldest_event_with_the_privilege_of_the_stream_alone() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..forgetful_options()
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
