//! Cursors of questions to the server: each is closed on the member that has it.

use testkit::mongod::Mongod;

use super::*;

/// Returns the number of cursors on the scenario's database that a member has open.
#[track_caller]
pub(super) fn open_cursors(scenario: &Scenario, member: &Mongod) -> usize {
    let list = doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "allUsers": true, "idleCursors": true, "localOps": true } },
            { "$match": {
                "ns": { "$regex": format!("^{}\\.", scenario.db().name()) },
                "cursor.cursorId": { "$exists": true },
            } },
        ],
        "cursor": {},
    };
    let reply = scenario.set().admin_on(member, list);
    let cursor = reply.get_document("cursor").expect("a cursor");
    cursor.get_array("firstBatch").expect("a batch").len()
}

/// Fails unless no member has a cursor on the scenario's database.
#[track_caller]
fn expect_no_cursors(scenario: &Scenario) {
    let set = scenario.set();
    let mut members = set.secondaries();
    members.push(set.primary());
    for member in members {
        let closed = poll(Duration::from_secs(5), || {
            (open_cursors(scenario, member) == 0).then_some(())
        });
        assert!(
            closed.is_some(),
            "{} cursors",
            open_cursors(scenario, member)
        );
    }
}

#[test]
fn check_leaves_no_cursor_open_on_any_member_when_it_reads_from_secondaries() {
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "cursors");
    let uri = format!("{}&readPreference=secondary", set.uri());
    fill(&scenario.coll("c"), 0..1);
    for _ in 0..5 {
        let db = scenario.db().name();
        Cswatch::new()
            .args(["check", "--uri", &uri, "--db", db, "--coll", "c"])
            .run();
        expect_no_cursors(&scenario);
    }
}
