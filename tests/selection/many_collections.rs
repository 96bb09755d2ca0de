//! More collections than the server looks for in the oplog: renames, and databases that are dropped.

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::summaries;

fn rename(scenario: &Scenario, from: &str, to: &str) {
    scenario
        .set()
        .admin(doc! { "renameCollection": from, "to": to, "dropTarget": true });
}

#[test]
fn prints_renames_onto_and_from_each_of_many_collections_of_this_database_only() {
    let scenario = Scenario::new("many_renamed");
    let other = Scenario::new("many_renamed_away");
    let (db, far) = (scenario.db().name(), other.db().name());
    for (id, coll) in (0..).zip(["x", "c7", "y", "z"]) {
        insert(&scenario.coll(coll), [id]);
    }
    let reference = Reference::open(scenario.db().watch());
    for (from, to) in [
        (format!("{db}.x"), format!("{db}.c99")),
        (format!("{db}.c7"), format!("{db}.w")),
        (format!("{db}.y"), format!("{db}.v")),
        // A stream of the database has no event of a rename to another one; the server drops the collection instead.
        (format!("{db}.z"), format!("{far}.c1")),
    ] {
        rename(&scenario, &from, &to);
    }
    let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    let expected = ["rename x c99", "rename c7 w"];
    let finished = scenario
        .catch_up(&reference, ["-c", &names.join(",")])
        .run()
        .expect_code(0);
    assert_eq!(summaries(&finished.stdout), expected);
    let patterns = names.iter().map(|name| format!("--ns-include={db}.{name}"));
    let finished = scenario.catch_up(&reference, patterns).run().expect_code(0);
    assert_eq!(summaries(&finished.stdout), expected);
}

#[test]
fn prints_the_drop_of_a_database_unless_every_collection_of_it_is_excluded() {
    let scenario = Scenario::new("drop_selected");
    let name = scenario.db().name().to_owned();
    insert(&scenario.coll("a"), [1]);
    let reference = Reference::open(scenario.set().client().watch());
    block_on(scenario.db().drop()).expect("a database can be dropped");
    // Other tests write to the same deployment.
    let include = format!("--ns-include={name}*.*");
    for (patterns, expected) in [
        (
            vec![format!("--ns-include={name}.b")],
            &["dropDatabase"][..],
        ),
        (vec!["--ns-include=other.*".to_owned()], &[]),
        (vec![include.clone()], &["drop a", "dropDatabase"]),
        (
            vec![include.clone(), format!("--ns-exclude={name}.a")],
            &["dropDatabase"],
        ),
        (
            vec![include.clone(), "--ns-exclude=*.a".to_owned()],
            &["dropDatabase"],
        ),
        (vec![include.clone(), format!("--ns-exclude={name}.*")], &[]),
        (vec![include, "--ns-exclude=*.*".to_owned()], &[]),
        (vec!["--ns-exclude=*.*".to_owned()], &[]),
    ] {
        let finished = Cswatch::new()
            .args(["--uri", &scenario.set().uri(), "--no-resume"])
            .args(["--until", "now", "--max-await", "50ms"])
            .args(reference.start())
            .args(&patterns)
            .run()
            .expect_code(0);
        assert_eq!(summaries(&finished.stdout), expected, "{patterns:?}");
    }
}
