//! A checkpoint saved with another filter or other options. The watch resumes after it without loss and without duplicates, even where the
//! server refuses its token (error 280).

use mongodb::bson::doc;

use testkit::events::{brief, briefs, insert, inserts};
use testkit::finished::Finished;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Runs a watch with these options from the checkpoint up to now.
#[track_caller]
fn catch_up(scenario: &Scenario, options: &[&str]) -> Finished {
    scenario
        .watch(options)
        .args(["--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0)
}

/// Counts the messages that report a checkpoint of another filter.
fn count_reports(run: &Finished) -> usize {
    let lines = run.stderr.lines();
    let reports = lines.filter(|line| {
        line.contains("cswatch: resuming after ")
            && line.ends_with(" (saved with another filter or other options)")
    });
    reports.count()
}

#[test]
fn resumes_with_a_wider_filter_and_reports_it_once() {
    let scenario = Scenario::new("wider_filter");
    let coll = scenario.coll("c");
    catch_up(&scenario, &["--op", "insert"]);
    insert(&coll, 1..=1);
    let first = catch_up(&scenario, &["--op", "insert"]);
    assert_eq!(briefs(&first.stdout), inserts(1..=1));
    assert_eq!(count_reports(&first), 0, "{}", first.stderr);
    block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
    insert(&coll, 2..=2);
    let second = catch_up(&scenario, &[]);
    assert_eq!(briefs(&second.stdout), ["delete 1", "insert 2"]);
    assert_eq!(count_reports(&second), 1, "{}", second.stderr);
    // The checkpoint now belongs to this filter.
    assert_eq!(count_reports(&catch_up(&scenario, &[])), 0);
}

#[test]
fn resumes_after_an_event_that_a_narrower_filter_hides() {
    let scenario = Scenario::new("narrower_filter");
    let coll = scenario.coll("c");
    catch_up(&scenario, &[]);
    insert(&coll, 1..=2);
    assert_eq!(briefs(&catch_up(&scenario, &[]).stdout), inserts(1..=2));
    block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
    insert(&coll, 3..=3);
    block_on(coll.delete_one(doc! { "_id": 2 })).expect("a delete");
    let second = catch_up(&scenario, &["--op", "delete"]);
    assert_eq!(briefs(&second.stdout), ["delete 1", "delete 2"]);
    assert_eq!(count_reports(&second), 1, "{}", second.stderr);
    insert(&coll, 4..=5);
    let third = scenario.watch(&["--id", "5", "--count", "1"]).run();
    let third = third.expect_code(0);
    assert_eq!(briefs(&third.stdout), ["insert 5"]);
    assert_eq!(count_reports(&third), 1, "{}", third.stderr);
}

/// The server opens this stream, and refuses the token only at the first event that matches the filter.
#[test]
fn resumes_when_the_server_refuses_the_token_only_at_a_match() {
    let scenario = Scenario::new("late_280");
    let coll = scenario.coll("c");
    catch_up(&scenario, &[]);
    insert(&coll, 1..=1);
    catch_up(&scenario, &[]);
    let mut running = scenario.watch(&["--op", "delete"]).spawn();
    running.wait_open();
    block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
    assert_eq!(brief(&running.next_line()), "delete 1");
    insert(&coll, 1..=1);
    block_on(coll.delete_one(doc! { "_id": 1 })).expect("a delete");
    assert_eq!(brief(&running.next_line()), "delete 1");
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().expect_code(0).stdout.len(), 2);
}

/// All events of a transaction have the same time. cswatch restarts the stream at that time, and must not repeat events.
#[test]
fn resumes_in_the_middle_of_a_transaction_with_a_narrower_filter() {
    let scenario = Scenario::new("transaction");
    let coll = scenario.coll("c");
    block_on(scenario.db().create_collection("c")).expect("a collection");
    catch_up(&scenario, &[]);
    block_on(async {
        let mut session = scenario.set().client().start_session().await?;
        session.start_transaction().await?;
        for id in 1..=6 {
            let document = doc! { "_id": id, "even": id % 2 == 0 };
            coll.insert_one(document).session(&mut session).await?;
        }
        session.commit_transaction().await
    })
    .expect("a transaction");
    let first = scenario.watch(&["--count", "3"]).run().expect_code(0);
    assert_eq!(briefs(&first.stdout), inserts(1..=3));
    let second = catch_up(&scenario, &["--match", r#"{"fullDocument.even":true}"#]);
    assert_eq!(briefs(&second.stdout), inserts([4, 6]));
}

#[test]
fn resumes_with_other_options() {
    let scenario = Scenario::new("other_options");
    let coll = scenario.coll("c");
    catch_up(&scenario, &["--expanded-events"]);
    insert(&coll, 1..=1);
    let create_index = doc! {
        "createIndexes": "c", "indexes": [{ "key": { "a": 1 }, "name": "a_1" }],
    };
    block_on(scenario.db().run_command(create_index)).expect("an index");
    let first = catch_up(&scenario, &["--expanded-events"]);
    assert_eq!(
        briefs(&first.stdout),
        ["create", "insert 1", "createIndexes"]
    );
    // The saved token is the token of an event that a stream without this option does not have.
    insert(&coll, 2..=2);
    let second = catch_up(&scenario, &[]);
    assert_eq!(briefs(&second.stdout), inserts(2..=2));
    assert_eq!(count_reports(&second), 1, "{}", second.stderr);
    let set = doc! { "$set": { "a": 1 } };
    block_on(coll.update_one(doc! { "_id": 2 }, set)).expect("an update");
    let third = catch_up(&scenario, &["--full-document", "updateLookup"]);
    assert_eq!(briefs(&third.stdout), ["update 2"]);
    assert_eq!(count_reports(&third), 1, "{}", third.stderr);
}

#[test]
fn resumes_after_an_invalidate_with_another_filter() {
    let scenario = Scenario::new("changed_invalidate");
    let coll = scenario.coll("c");
    catch_up(&scenario, &[]);
    insert(&coll, 1..=1);
    block_on(coll.drop()).expect("a drop");
    let first = scenario.watch(&[]).run().expect_code(4);
    assert_eq!(briefs(&first.stdout), ["insert 1", "drop", "invalidate"]);
    insert(&coll, 2..=3);
    let second = catch_up(&scenario, &["--match", r#"{"documentKey._id":3}"#]);
    assert_eq!(briefs(&second.stdout), inserts(3..=3));
    assert_eq!(count_reports(&second), 1, "{}", second.stderr);
}
