//! `kill -9` at any moment, over and over, while an application writes: a restart prints every event
//! that was not printed before.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use testkit::events::brief;
use testkit::load::Load;
use testkit::scenario::Scenario;

/// Of the moments and the intervals between saves; another seed gives other ones.
const SEED: u64 = 0x05EE_D0CE_A11A_FE77;

const KILLS: usize = 100;

const WRITES_PER_SECOND: u32 = 200;

/// The last moment of a kill, in milliseconds after the start: well into the first events.
const LATEST_AFTER_START: u64 = 500;

/// The last moment, in milliseconds after the first line: several saves later.
const LATEST_AFTER_LINE: u64 = 250;

#[test]
fn hundred_kills_at_random_moments_lose_nothing() {
    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let scenario = Scenario::new("kills");
    let watch = |options: &[&str]| scenario.cswatch(["--coll", "c"]).args(options);
    watch(&["--until", "now"]).run().expect_code(0);
    let load = Load::start(&scenario.coll("c"), WRITES_PER_SECOND, 100);
    let mut lines = Vec::new();
    for kill in 0..KILLS {
        let interval = random.choice(["0", "20ms", "1s"]).expect("one of them");
        let mut running = watch(&["--save-interval", interval]).spawn();
        let latest = if kill % 2 == 0 {
            LATEST_AFTER_START
        } else {
            running.next_line();
            LATEST_AFTER_LINE
        };
        // The moment is the fault: there is no event to wait for.
        thread::sleep(Duration::from_millis(random.u64(0..=latest)));
        lines.extend(running.kill().stdout);
    }
    let last = load.stop();
    let rest = watch(&["--until", "now"]).run().expect_code(0);
    lines.extend(rest.stdout);

    println!("{} lines of {last} events", lines.len());
    let mut printed = 0;
    for line in &lines {
        let line = brief(line);
        let id: i32 = line
            .strip_prefix("insert ")
            .and_then(|id| id.parse().ok())
            .expect("an insert");
        // Of what is printed again nothing is new, and what is new comes next.
        assert!(id <= printed + 1, "{line} after {printed}");
        printed = printed.max(id);
    }
    assert_eq!(printed, last);
}
