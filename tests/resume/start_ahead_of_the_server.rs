//! Starts a little ahead of the server's time: accepted, because `--start` at the time after the last write is how a script starts "from here
//! on". Further ahead than the clocks of the members may differ, they are refused.

use mongodb::bson::{Timestamp, doc};

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{as_start, brief, briefs, insert, time};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

#[test]
fn starts_with_the_next_write_after_the_tick_that_follows_the_last_one() {
    let scenario = Scenario::new("next_tick");
    let coll = scenario.coll("c");
    insert(&coll, [1]);
    let now = scenario.set().operation_time();
    let next = Timestamp {
        increment: now.increment + 1,
        ..now
    };
    let mut running = scenario
        .cswatch(["--coll", "c", "--start", &as_start(next)])
        .spawn();
    running.wait_open();
    insert(&coll, [2]);
    assert_eq!(brief(&running.next_line()), "insert 2");
    running.kill();
}

#[test]
fn skips_nothing_at_or_after_a_start_that_is_seconds_ahead() {
    let scenario = Scenario::new("seconds_ahead");
    let coll = scenario.coll("c");
    let before = scenario.set().operation_time();
    let start = before.time + 2;
    let file = scenario.path("resume.json");
    let watch = |options: &[&str]| {
        let watch = scenario.cswatch(["--coll", "c", "--resume-file"]);
        watch.args([&file]).args(options)
    };
    // The checkpoint is ahead of the server too, and resuming from it skips nothing either.
    let run = watch(&["--start", &start.to_string(), "--until", "now"]).run();
    assert_eq!(run.expect_code(0).stdout, [""; 0]);
    let mut running = watch(&[]).spawn();
    running.wait_open();
    let mut id = 0;
    let written = poll(DEADLINE, || {
        id += 1;
        insert(&coll, [id]);
        (scenario.set().operation_time().time > start).then_some(())
    });
    written.expect("time passes");
    let last = format!("insert {id}");
    let printed = running.lines_until(|line| brief(line) == last);
    running.kill();
    let all = scenario
        .cswatch(["--coll", "c", "--no-resume", "--until", "now"])
        .args(["--start", &as_start(before), "--max-await", "50ms"])
        .run()
        .expect_code(0)
        .stdout;
    let expected: Vec<String> = all
        .into_iter()
        .filter(|line| time(line).time >= start)
        .collect();
    assert_eq!(briefs(&printed), briefs(&expected));
    assert!(printed.len() > 1 && brief(&printed[0]) != "insert 1");
}

#[test]
fn refuses_a_start_that_is_further_ahead_than_clocks_may_differ() {
    let scenario = Scenario::new("far_ahead");
    block_on(scenario.coll("c").insert_one(doc! {})).expect("an insert");
    let now = scenario.set().operation_time().time;
    let run = |start: u32| {
        let watch = scenario.cswatch(["--coll", "c", "--no-resume", "--start"]);
        watch
            .args([start.to_string()])
            .args(["--until", "now"])
            .run()
    };
    // The server's time moves on meanwhile, so that 60 s ahead of `now` is within the limit for certain.
    run(now + 60).expect_code(0);
    let refused = run(now + 120).expect_code(2);
    assert!(
        refused.stderr.contains("is ahead of the server's time"),
        "{}",
        refused.stderr
    );
}
