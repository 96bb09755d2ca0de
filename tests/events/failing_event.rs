//! Events that the server fails on, because a stage of the pipeline cannot process them: those before are printed, the event is named, and the
//! flags of the hint continue after it without losing another one.

use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::{Document, doc};

use testkit::cswatch::Cswatch;
use testkit::events::{briefs, insert, inserts};
use testkit::finished::Finished;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The longest time until the event is named, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A stage that fails on a document whose `n` is no number.
const TO_INT: &str = r#"[{"$addFields":{"n":{"$toInt":"$fullDocument.n"}}}]"#;

/// Inserts `{_id, n: 1}` for each of these `_id`s, and `{_id, n: "x"}` where the `_id` is among `failing`.
#[track_caller]
fn fill(coll: &Collection<Document>, ids: impl IntoIterator<Item = i32>, failing: &[i32]) {
    block_on(coll.insert_many(documents(ids, failing))).expect("inserts");
}

fn documents(ids: impl IntoIterator<Item = i32>, failing: &[i32]) -> Vec<Document> {
    ids.into_iter()
        .map(|id| match failing.contains(&id) {
            true => doc! { "_id": id, "n": "x" },
            false => doc! { "_id": id, "n": 1 },
        })
        .collect()
}

/// Returns a watch that ends at the current time.
fn catch_up(scenario: &Scenario, options: &[&str]) -> Cswatch {
    let until_now = ["--until", "now", "--max-await", "50ms"];
    scenario.watch(options).args(until_now)
}

/// Fails unless the error names the insert of `id` as the event that the server fails on. Returns the flags of the hint.
#[track_caller]
fn flags<'a>(scenario: &Scenario, finished: &'a Finished, id: i32) -> &'a str {
    let (message, hint) = finished.error();
    let expected = format!(
        r#"the server fails on an event: insert of {}.c {{"_id":{{"$numberInt":"{id}"}}}} at "#,
        scenario.db().name()
    );
    assert!(message.starts_with(&expected), "{}", finished.stderr);
    let fix = "change --pipeline or --match so that it accepts the event ($convert has onError); or skip the event, which loses it, with ";
    let flags = hint.strip_prefix(fix);
    let flags = flags.unwrap_or_else(|| panic!("not the hint: {hint}"));
    assert!(flags.starts_with("--start-after "), "{flags}");
    flags
}

/// Returns the watch with the flags of a hint appended, split by a shell, as when a user pastes them.
fn pasted(watch: Cswatch, flags: &str) -> Cswatch {
    let flags = flags.split(", ").next().expect("flags");
    watch.through(["sh", "-c", &format!("exec \"$0\" \"$@\" {flags}")])
}

/// Watches with `options` from a checkpoint over the inserts of `ids`, of which the server fails on `failing`. Fails unless the events before
/// are printed, the event is named each time, and the flags of the hint print all events after it.
#[track_caller]
fn check(
    scenario: &Scenario,
    options: &[&str],
    write: impl Fn(),
    before: &[i32],
    failing: i32,
    after: &[i32],
) {
    catch_up(scenario, options).run().expect_code(0);
    write();
    let started = Instant::now();
    let failed = catch_up(scenario, options).run().expect_code(8);
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    assert_eq!(briefs(&failed.stdout), inserts(before));
    let flags = flags(scenario, &failed, failing);

    // Without the flags it is refused again, and no event is printed twice.
    let again = catch_up(scenario, options).run().expect_code(8);
    assert_eq!(again.stdout, [""; 0]);
    assert_eq!(again.error(), failed.error());

    let skipped = pasted(catch_up(scenario, options), flags)
        .run()
        .expect_code(0);
    assert_eq!(briefs(&skipped.stdout), inserts(after), "{flags}");
}

#[test]
fn names_an_event_that_a_stage_fails_on_and_the_flags_that_skip_it() {
    let stages = [
        TO_INT,
        r#"[{"$addFields":{"n":{"$divide":[1,{"$cond":[{"$eq":["$fullDocument.n",1]},1,0]}]}}}]"#,
        r#"[{"$match":{"$expr":{"$gt":[{"$abs":"$fullDocument.n"},0]}}}]"#,
        r#"[{"$redact":{"$cond":[{"$eq":["$fullDocument.n","x"]},"no","$$KEEP"]}}]"#,
        r#"[{"$addFields":{"n":{"$cond":[{"$eq":["$fullDocument.n",1]},1,{"$dateFromString":{"dateString":"$fullDocument.n"}}]}}}]"#,
        r#"[{"$addFields":{"n":{"$arrayElemAt":[{"$cond":[{"$eq":["$fullDocument.n",1]},[1],"$fullDocument.n"]},0]}}}]"#,
    ];
    for stages in stages {
        let scenario = Scenario::new("fails");
        let coll = scenario.coll("c");
        let write = || fill(&coll, 1..=6, &[4]);
        check(
            &scenario,
            &["--pipeline", stages],
            write,
            &[1, 2, 3],
            4,
            &[5, 6],
        );
    }
}

#[test]
fn names_the_event_that_fails_and_not_one_that_the_filter_drops() {
    let scenario = Scenario::new("fails_after_filter");
    let coll = scenario.coll("c");
    let write = || fill(&coll, 1..=60, &[1, 41]);
    let filter = r#"{"documentKey._id":{"$in":[2,41,50]}}"#;
    let options = ["--match", filter, "--pipeline", TO_INT];
    check(&scenario, &options, write, &[2], 41, &[50]);
}

#[test]
fn skips_a_failing_last_event_and_none_after_it() {
    let scenario = Scenario::new("fails_last");
    let coll = scenario.coll("c");
    let options = ["--pipeline", TO_INT];
    let write = || fill(&coll, 1..=2, &[2]);
    check(&scenario, &options, write, &[1], 2, &[]);
    fill(&coll, 3..=3, &[]);
    let next = catch_up(&scenario, &options).run().expect_code(0);
    assert_eq!(briefs(&next.stdout), inserts([3]));
}

#[test]
fn skips_one_event_of_a_transaction_and_none_of_the_others() {
    let scenario = Scenario::new("fails_in_transaction");
    let coll = scenario.coll("c");
    block_on(scenario.db().create_collection("c")).expect("a collection");
    let write = || {
        fill(&coll, 1..=1, &[]);
        block_on(async {
            let mut session = scenario.set().client().start_session().await?;
            session.start_transaction().await?;
            let documents = documents(2..=6, &[4]);
            coll.insert_many(documents).session(&mut session).await?;
            session.commit_transaction().await
        })
        .expect("a transaction");
        fill(&coll, 7..=7, &[]);
    };
    let options = ["--pipeline", TO_INT];
    check(&scenario, &options, write, &[1, 2, 3], 4, &[5, 6, 7]);
}

#[test]
fn names_one_failing_event_after_the_other() {
    let scenario = Scenario::new("fails_twice");
    let coll = scenario.coll("c");
    let options = ["--pipeline", TO_INT];
    catch_up(&scenario, &options).run().expect_code(0);
    fill(&coll, 1..=4, &[2, 3]);
    let first = catch_up(&scenario, &options).run().expect_code(8);
    assert_eq!(briefs(&first.stdout), inserts([1]));
    let flags_of_first = flags(&scenario, &first, 2);
    let second = pasted(catch_up(&scenario, &options), flags_of_first).run();
    let second = second.expect_code(8);
    let flags_of_second = flags(&scenario, &second, 3);
    let last = pasted(catch_up(&scenario, &options), flags_of_second).run();
    assert_eq!(briefs(&last.expect_code(0).stdout), inserts([4]));
}

#[test]
fn ends_at_the_count_before_a_failing_event_of_the_same_reply() {
    let scenario = Scenario::new("fails_after_count");
    let options = ["--pipeline", TO_INT];
    catch_up(&scenario, &options).run().expect_code(0);
    fill(&scenario.coll("c"), 1..=4, &[4]);
    let counted = scenario.watch(&options).args(["--count", "3"]).run();
    assert_eq!(briefs(&counted.expect_code(0).stdout), inserts(1..=3));
}

#[test]
fn names_a_failing_event_after_one_that_was_split() {
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::with_split(),
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "fails_after_split");
    let create = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
    block_on(scenario.db().run_command(create)).expect("a collection");
    let coll = scenario.coll("c");
    let options = [
        "--pipeline",
        TO_INT,
        "--full-document-before-change",
        "required",
        "--full-document",
        "required",
    ];
    catch_up(&scenario, &options).run().expect_code(0);
    let large = "x".repeat(9 * 1024 * 1024);
    block_on(coll.insert_one(doc! { "_id": 1, "n": 1, "large": large })).expect("an insert");
    block_on(coll.update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 2 } })).expect("an update");
    fill(&coll, 2..=5, &[4]);
    let failed = catch_up(&scenario, &options).run().expect_code(8);
    assert_eq!(
        briefs(&failed.stdout),
        ["insert 1", "update 1", "insert 2", "insert 3"]
    );
    let flags = flags(&scenario, &failed, 4);
    let skipped = pasted(catch_up(&scenario, &options), flags).run();
    assert_eq!(briefs(&skipped.expect_code(0).stdout), inserts([5]));
}

#[test]
fn names_the_update_whose_required_image_is_missing() {
    let scenario = Scenario::new("fails_without_image");
    let coll = scenario.coll("c");
    let options = ["--full-document", "required"];
    catch_up(&scenario, &options).run().expect_code(0);
    insert(&coll, 1..=2);
    for id in [1, 2] {
        let set = doc! { "$set": { "n": 2 } };
        block_on(coll.update_one(doc! { "_id": id }, set)).expect("an update");
    }
    let failed = catch_up(&scenario, &options).run().expect_code(8);
    assert_eq!(briefs(&failed.stdout), inserts(1..=2));
    let (message, _) = failed.error();
    let event = format!(
        r#", at update of {}.c {{"_id":{{"$numberInt":"1"}}}} at "#,
        scenario.db().name()
    );
    assert!(message.contains(&event), "{message}");
}

/// Returns the number of `getMore` commands that the primary has received so far.
#[track_caller]
fn get_mores(set: &ReplicaSet) -> i64 {
    let status = set.admin(doc! { "serverStatus": 1 });
    let commands = status
        .get_document("metrics")
        .and_then(|metrics| metrics.get_document("commands"));
    let get_more = commands.and_then(|commands| commands.get_document("getMore"));
    get_more
        .and_then(|get_more| get_more.get_i64("total"))
        .expect("the server counts its commands")
}

#[test]
fn reads_full_replies_again_once_the_failed_reply_has_passed() {
    const EVENTS: i32 = 20_000;
    let set = ReplicaSet::start(Options {
        binary: MongodBinary::with_split(),
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "full_again");
    let options = ["--catch-up-streams", "1"];
    catch_up(&scenario, &options).run().expect_code(0);
    fill(&scenario.coll("c"), 0..EVENTS, &[]);
    let _missing_image = set.fail_point(doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 1 },
        "data": { "failCommands": ["aggregate"], "errorCode": 47, "appName": "cswatch" },
    });
    let before = get_mores(&set);
    let all = catch_up(&scenario, &options).run().expect_code(0);
    assert_eq!(briefs(&all.stdout), inserts(0..EVENTS));
    let sent = get_mores(&set) - before;
    // A thousand replies of one event, and then full ones.
    assert!((1000..1200).contains(&sent), "{sent}");
}
