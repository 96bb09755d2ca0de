//! Drops and renames, which end a stream: what it showed before and after is whole, whatever the filter shows of the end itself.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, insert, token};
use testkit::running::Running;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// A watch of collection `c`, always the same position.
fn watch(scenario: &Scenario, arguments: &[&str]) -> Cswatch {
    scenario.cswatch(["--coll", "c"]).args(arguments)
}

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

/// Reads these events, and no other before them.
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
fn f23_drop_and_new_inserts_with_a_restart_at_each_token() {
    let scenario = Scenario::new("f23");
    let coll = scenario.coll("c");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    insert(&coll, 1..=1);
    drop_collection(&coll);
    insert(&coll, 2..=3);

    let ended = watch(&scenario, &[]).run().expect_code(4);
    assert_eq!(briefs(&ended.stdout), ["insert 1", "drop", "invalidate"]);
    let last = ended.stderr.lines().last().expect("a line on stderr");
    let what = format!(
        "cswatch: error: {}.c was dropped or renamed at ",
        scenario.db().name()
    );
    let way_out =
        ", which ends its stream; start again to go on behind it, or use --on-invalidate reopen";
    assert!(last.contains(&what) && last.ends_with(way_out), "{last}");
    // The position is behind the end: started again, it goes on.
    let next = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    assert_eq!(briefs(&next.stdout), ["insert 2", "insert 3"]);

    let all = ["insert 1", "drop", "invalidate", "insert 2", "insert 3"];
    for (at, line) in ended.stdout.iter().enumerate() {
        let rest = &all[at + 1..];
        let count = rest.len().to_string();
        let again = watch(&scenario, &["--no-resume", "--start-after", &token(line)])
            .args(REOPEN)
            .args(["--count", &count])
            .run()
            .expect_code(0);
        assert_eq!(briefs(&again.stdout), rest);
    }
}

#[test]
fn f24_rename_away_rename_onto_and_drop_of_the_database() {
    let scenario = Scenario::new("f24");
    let coll = scenario.coll("c");
    let mut running = watch(&scenario, &REOPEN).spawn();
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

    // A stream of the database goes on by itself but for its own end.
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
fn f25_end_that_the_filter_hides() {
    let scenario = Scenario::new("f25");
    let coll = scenario.coll("c");
    let filter = ["--op", "insert"];
    let mut running = watch(&scenario, &filter).args(REOPEN).spawn();
    running.wait_open();
    for id in 1..=3 {
        insert(&coll, [id]);
        expect(&mut running, &[&format!("insert {id}")]);
        drop_collection(&coll);
        running.expect_stderr(" was dropped or renamed, going on behind it");
    }
    // No spin: waiting for events takes next to nothing.
    let before = running.cpu_time();
    // The elapsed time is what is measured.
    std::thread::sleep(Duration::from_secs(2));
    let spent = running.cpu_time() - before;
    assert!(
        spent < Duration::from_millis(400),
        "{spent:?} of CPU in 2 s"
    );
    insert(&coll, 4..=4);
    expect(&mut running, &["insert 4"]);
    let printed = stop(running);
    assert_eq!(printed.len(), 4);

    // By default a hidden end is an end too, once; the next run goes on behind it.
    drop_collection(&coll);
    insert(&coll, 5..=5);
    let ended = watch(&scenario, &filter).run().expect_code(4);
    assert_eq!(ended.stdout, [""; 0]);
    let next = watch(&scenario, &filter).args(["--count", "1"]).run();
    assert_eq!(briefs(&next.expect_code(0).stdout), ["insert 5"]);
}

/// `is_alive()` of the driver turns false as soon as the reply that holds all of them has come.
#[test]
fn f26_events_before_the_end_in_the_same_reply() {
    let scenario = Scenario::new("f26");
    let coll = scenario.coll("c");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    insert(&coll, 1..=3);
    drop_collection(&coll);
    let all = ["insert 1", "insert 2", "insert 3", "drop", "invalidate"];
    let ended = watch(&scenario, &[]).run().expect_code(4);
    assert_eq!(briefs(&ended.stdout), all);
}
