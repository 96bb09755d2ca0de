//! An event that the server fails on, within a backlog that several cursors read.

use super::*;

#[test]
fn prints_the_backlog_up_to_an_event_that_the_server_fails_on() {
    let scenario = Scenario::new("failing_in_backlog");
    let coll = scenario.coll("c");
    let backlog = Backlog::since_now(&scenario);
    fill(&coll, 0..2500);
    block_on(coll.insert_one(doc! { "_id": 2500, "n": "x" })).expect("an insert");
    fill(&coll, 2501..4000);
    backlog.settle();
    let to_int = r#"[{"$addFields":{"n":{"$toInt":"$fullDocument.n"}}}]"#;

    let (lines, slices) = backlog.expect_same_lines(&["--coll", "c", "--pipeline", to_int]);

    assert_eq!(lines.len(), 2500);
    assert!(slices >= 1, "{slices} slices");
    let (_, failed) = backlog.read_by(4, &["--coll", "c", "--pipeline", to_int]);
    assert_eq!(failed.code, Some(8));
    let (message, _) = failed.error();
    assert!(
        message.contains(r#"{"_id":{"$numberInt":"2500"}} at "#),
        "{message}"
    );
}
