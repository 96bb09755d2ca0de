//! A field `splitEvent` that the pipeline adds, while the server splits large events.

use mongodb::bson::doc;

use testkit::events::{brief, briefs};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::large;

/// Returns a watch whose events all have a field like the one by which the server numbers fragments.
fn watch(scenario: &Scenario, options: &[&str]) -> testkit::cswatch::Cswatch {
    let pipeline = r#"[{"$addFields": {"splitEvent": {"fragment": 1, "of": 2}}}]"#;
    large::watch(scenario, &["--pipeline", pipeline]).args(options)
}

#[test]
fn prints_and_keeps_events_with_a_field_named_like_a_fragment_number() {
    let scenario = Scenario::splitting("split_event_field");
    let coll = large::coll_with_images(&scenario);
    let insert = |id: i32, x: &str| {
        block_on(coll.insert_one(doc! { "_id": id, "x": x })).expect("an insert");
    };
    insert(1, "");
    insert(2, &large::large());
    large::update(&coll, 2);
    insert(3, "");
    insert(4, "");
    let all = watch(&scenario, &["--count", "4"]).run().expect_code(0);
    let expected = ["insert 1", "insert 2", "update 2", "insert 3"];
    assert_eq!(briefs(&all.stdout), expected);
    for event in all.events() {
        assert_eq!(
            event["splitEvent"]["of"]["$numberInt"], "2",
            "{}",
            event["_id"]
        );
    }
    // Across restarts, with the stage that splits events from the first event on or not.
    let next = watch(&scenario, &["--count", "1"]).run().expect_code(0);
    assert_eq!(brief(&next.stdout[0]), "insert 4");
    let update = testkit::events::token(&all.stdout[2]);
    let options = ["--start-after", &update, "--count", "2"];
    let again = watch(&scenario, &options).run().expect_code(0);
    assert_eq!(briefs(&again.stdout), ["insert 3", "insert 4"]);
}
