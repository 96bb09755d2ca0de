//! Drops and renames, which invalidate a stream. No event before or after is lost, also when the filter hides the invalidate event itself.

use std::time::Duration;

use jiff::Timestamp;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use testkit::events::{brief, briefs, insert, saved_token, time, token};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

const REOPEN: [&str; 2] = ["--on-invalidate", "reopen"];

#[track_caller]
fn drop_collection(coll: &Collection<Document>) {
    block_on(coll.drop()).expect("a drop");
}

#[track_caller]
fn rename(scenario: &Scenario, from: &str, to: &str, drop_target: bool) {
    let db = scenario.db().name();
    scenario.set().admin(doc! {
        "renameCollection": format!("{db}.{from}"),
        "to": format!("{db}.{to}"),
        "dropTarget": drop_target,
    });
}

/// Reads the next lines, and fails unless they are exactly these events.
#[track_caller]
fn expect(running: &mut Running, events: &[&str]) {
    for event in events {
        assert_eq!(brief(&running.next_line()), *event);
    }
}

#[track_caller]
fn stop(running: Running) -> Vec<String> {
    running.signal(Signal::TERM);
    running.wait().expect_code(0).stdout
}

#[test]
fn resumes_after_an_invalidate_and_after_each_token_before_it() {
    let scenario = Scenario::new("invalidate");
    let coll = scenario.coll("c");
    scenario.remaining();
    insert(&coll, 1..=1);
    drop_collection(&coll);
    insert(&coll, 2..=3);

    let ended = scenario.watch(&[]).run().expect_code(4);
    assert_eq!(briefs(&ended.stdout), ["insert 1", "drop", "invalidate"]);
    let dropped = i64::from(time(&ended.stdout[2]).time);
    ended.expect_error(
        &format!(
            "{}.c was dropped or renamed at {}, which ends its stream",
            scenario.db().name(),
            Timestamp::from_second(dropped).expect("a time"),
        ),
        "start again to continue after it, or use --on-invalidate reopen",
    );
    // The checkpoint is the invalidate event: the next run resumes after it.
    assert_eq!(
        saved_token(&scenario.resume_file()),
        token(&ended.stdout[2])
    );
    assert_eq!(scenario.remaining(), ["insert 2", "insert 3"]);

    let all = ["insert 1", "drop", "invalidate", "insert 2", "insert 3"];
    for (index, line) in ended.stdout.iter().enumerate() {
        let rest = &all[index + 1..];
        let count = rest.len().to_string();
        let again = scenario
            .cswatch(["--coll", "c", "--no-resume", "--start-after", &token(line)])
            .args(REOPEN)
            .args(["--count", &count])
            .run()
            .expect_code(0);
        assert_eq!(briefs(&again.stdout), rest);
    }
}

#[test]
fn reopens_after_each_invalidate() {
    let scenario = Scenario::new("reopen");
    let mut running = scenario.watch(&REOPEN).spawn();
    running.wait_open();
    let coll = scenario.coll("c");
    for round in 1..=2 {
        insert(&coll, [round]);
        block_on(coll.drop()).expect("a drop");
        let lines = running.lines_until(|line| brief(line) == "invalidate");
        assert_eq!(
            briefs(&lines),
            [&format!("insert {round}"), "drop", "invalidate"]
        );
    }
    insert(&coll, 3..=3);
    assert_eq!(brief(&running.next_line()), "insert 3");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    assert_eq!(scenario.remaining(), [""; 0]);
}

#[test]
fn reopens_after_renames_and_the_drop_of_a_database() {
    let scenario = Scenario::new("renames_and_drops");
    let coll = scenario.coll("c");
    let mut running = scenario.watch(&REOPEN).spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    rename(&scenario, "c", "away", false);
    expect(&mut running, &["insert 1", "rename", "invalidate"]);
    insert(&coll, 2..=2);
    expect(&mut running, &["insert 2"]);
    insert(&scenario.coll("onto"), 10..=10);
    rename(&scenario, "onto", "c", true);
    expect(&mut running, &["rename", "invalidate"]);
    insert(&coll, 3..=3);
    expect(&mut running, &["insert 3"]);
    block_on(scenario.db().drop()).expect("a drop");
    expect(&mut running, &["drop", "invalidate"]);
    insert(&coll, 4..=4);
    expect(&mut running, &["insert 4"]);
    stop(running);

    // A stream of the database survives the drop of its collections.
    let mut running = scenario.cswatch(REOPEN).spawn();
    running.wait_open();
    rename(&scenario, "c", "away", false);
    drop_collection(&scenario.coll("away"));
    insert(&coll, 5..=5);
    expect(&mut running, &["rename", "drop", "insert 5"]);
    block_on(scenario.db().drop()).expect("a drop");
    expect(&mut running, &["drop", "dropDatabase", "invalidate"]);
    insert(&coll, 6..=6);
    expect(&mut running, &["insert 6"]);
    stop(running);
}

#[test]
fn resumes_after_an_invalidate_that_the_filter_hides() {
    let scenario = Scenario::new("hidden_invalidate");
    let coll = scenario.coll("c");
    let filter = ["--op", "insert"];
    // By default a hidden invalidate ends the run too.
    let mut running = scenario.watch(&filter).spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    drop_collection(&coll);
    let ended = running.wait().expect_code(4);
    assert_eq!(briefs(&ended.stdout), ["insert 1"]);

    let mut running = scenario.watch(&filter).args(REOPEN).spawn();
    for id in 2..=4 {
        insert(&coll, [id]);
        expect(&mut running, &[&format!("insert {id}")]);
        drop_collection(&coll);
        running.expect_stderr(" was dropped or renamed, reopening the stream");
    }
    // Waiting for events takes almost no CPU: cswatch does not reopen the stream in a loop.
    let before = running.cpu_time();
    // The elapsed time is what is measured.
    std::thread::sleep(Duration::from_secs(2));
    let spent = running.cpu_time() - before;
    assert!(
        spent < Duration::from_millis(400),
        "{spent:?} of CPU in 2 s"
    );
    insert(&coll, 5..=5);
    expect(&mut running, &["insert 5"]);
    assert_eq!(stop(running).len(), 4);

    // An invalidate in the backlog ends one run; the next run resumes after it.
    drop_collection(&coll);
    insert(&coll, 6..=6);
    let ended = scenario.watch(&filter).run().expect_code(4);
    assert_eq!(ended.stdout, [""; 0]);
    let next = scenario.watch(&filter).args(["--count", "1"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), ["insert 6"]);
}

/// The driver's `is_alive()` returns false as soon as it has received the reply that holds all these events.
#[test]
fn prints_events_before_the_invalidate_in_the_same_reply() {
    let scenario = Scenario::new("same_reply");
    let coll = scenario.coll("c");
    scenario.remaining();
    insert(&coll, 1..=3);
    drop_collection(&coll);
    let all = ["insert 1", "insert 2", "insert 3", "drop", "invalidate"];
    let ended = scenario.watch(&[]).run().expect_code(4);
    assert_eq!(briefs(&ended.stdout), all);
}
