//! The end of a catch-up, wherever it falls between two slices.

use std::time::{Duration, Instant};

use testkit::events::{brief, token};

use super::*;

/// The longest time of a catch-up on a busy machine, much shorter than [`LONG_AWAIT`].
const LIMIT: Duration = Duration::from_secs(10);

/// A `--max-await` that the end of a catch-up must not take.
const LONG_AWAIT: &str = "20s";

#[test]
fn reaches_the_end_at_once_wherever_it_falls_between_two_slices() {
    const DOCUMENTS: i32 = 3000;
    /// About an eighth of a slice.
    const STEP: usize = 125;

    let scenario = Scenario::new("end_of_backlog");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..DOCUMENTS);
    backlog.settle();
    let (lines, _) = backlog.read_by(1, &["--coll", "c"]);
    assert_eq!(lines.len(), DOCUMENTS as usize);

    let mut slices = 0;
    for first in (0..1250).step_by(STEP) {
        let started = Instant::now();
        let finished = scenario
            .cswatch(["--coll", "c", "--no-resume", "--until", "now", "-v"])
            .args(["--max-await", LONG_AWAIT, "--catch-up-streams", "4"])
            .args(["--start-after", &token(&lines[first])])
            .run()
            .expect_code(0);
        let took = started.elapsed();
        assert!(
            took < LIMIT,
            "{took:?} after event {first}\n{}",
            finished.stderr
        );
        assert_eq!(finished.stdout, lines[first + 1..]);
        slices += count_slices(&finished);
    }
    assert!(slices >= 10, "{slices} slices");
}

#[test]
fn continues_in_the_present_with_the_time_of_max_await() {
    let scenario = Scenario::new("present");
    let backlog = Backlog::since_now(&scenario);
    fill(&scenario.coll("c"), 0..2000);
    backlog.settle();
    let mut running = scenario
        .cswatch(["--coll", "c", "--start", &as_start(backlog.start)])
        .args(["--max-await", LONG_AWAIT, "--catch-up-streams", "4"])
        .spawn();
    running.expect_inserts(0..2000);
    fill(&scenario.coll("c"), 2000..2001);
    assert_eq!(brief(&running.next_line()), "insert 2000");
    // Slices wait for a fraction of a second. Now a wait takes until the next event.
    let waits = || testkit::live_cursor::LiveCursor::now(&scenario).map(|cursor| cursor.replies);
    let settled = poll(DEADLINE, || {
        let before = waits()?;
        let later = Instant::now() + Duration::from_secs(1);
        poll(DEADLINE, || (Instant::now() > later).then_some(()))?;
        (waits() == Some(before)).then_some(())
    });
    assert!(settled.is_some(), "the server still replies often");
}
