//! `kill -9` at any moment, again and again, while an application writes. The next run prints every event that was not printed before, and
//! repeats only events after the checkpoint.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use jiff::Timestamp;
use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::Stdout;
use testkit::events::{as_start, brief, briefs, checkpoint, inserts, saved_token, token};
use testkit::load::Load;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The lines of several runs.
#[derive(Default)]
struct Printed {
    /// The `_id` of the event of each token.
    ids: HashMap<String, i32>,
    /// The first `_id` that was never printed.
    next: i32,
}

impl Printed {
    /// Adds the lines of a run that resumed after the insert of `saved`; `None` if the checkpoint was not the token of a printed line.
    /// Fails if an event is missing, or is repeated although it was saved.
    #[track_caller]
    fn add(&mut self, lines: &[String], saved: Option<i32>) {
        for (index, line) in lines.iter().enumerate() {
            let brief = brief(line);
            let id = brief.strip_prefix("insert ").and_then(|id| id.parse().ok());
            let id: i32 = id.expect("an insert");
            match (index, saved) {
                // Exactly the events after the checkpoint come again.
                (0, Some(saved)) => assert_eq!(id, saved + 1),
                (0, None) => assert!(id <= self.next, "lost: {}..{id}", self.next),
                _ => assert_eq!(id, self.next),
            }
            self.next = id + 1;
            self.ids.insert(token(line), id);
        }
    }
}

#[test]
fn loses_nothing_and_repeats_only_unsaved_events_after_kill_9_at_any_moment() {
    /// Seed of the moments of the kills and of the save intervals.
    const SEED: u64 = 0x05EE_D0CE_A11A_FE77;
    const KILLS: u32 = 100;
    /// The save interval of the long runs, which outlive any delay of a save.
    const SAVE_INTERVAL: Duration = Duration::from_millis(100);
    /// Delay between the end of an interval and the save that is acceptable on a busy machine.
    const SLACK: Duration = Duration::from_secs(1);

    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let scenario = Scenario::new("kills");
    let start = ["--start", &as_start(scenario.set().operation_time())];
    let load = Load::start(&scenario.coll("c"), 1000, 100);
    let mut printed = Printed::default();
    let mut saved = None;
    let mut ages = 0;
    for kill in 0..KILLS {
        let is_long = kill % 20 == 19;
        let interval = match is_long {
            true => "100ms",
            false => random.choice(["0", "20ms", "100ms", "1s"]).expect("one"),
        };
        let mut running = scenario
            .watch(&["--save-interval", interval])
            .args(start)
            .spawn();
        // During the startup, a few saves later, or while lines are printed.
        let longest = match random.u8(..3) {
            0 => Duration::from_millis(500),
            1 => {
                running.wait_open();
                4 * SAVE_INTERVAL
            }
            _ => {
                running.next_line();
                Duration::from_millis(250)
            }
        };
        let (shortest, longest) = match is_long {
            true => (SAVE_INTERVAL + SLACK, 2 * (SAVE_INTERVAL + SLACK)),
            false => (Duration::ZERO, longest),
        };
        // The random moment is the fault that is tested: there is no event to wait for.
        thread::sleep(shortest + (longest - shortest).mul_f64(random.f64()));
        let killed = Timestamp::try_from(SystemTime::now()).expect("a time");
        let finished = running.kill();
        printed.add(&finished.stdout, saved);
        let file = scenario.resume_file();
        if !file.exists() {
            continue;
        }
        saved = printed.ids.get(&saved_token(&file)).copied();
        if is_long {
            let saved_at = checkpoint(&file)["saved"].as_str().map(str::to_owned);
            let saved_at: Timestamp = saved_at.expect("a time").parse().expect("a time");
            let age = killed.duration_since(saved_at);
            let limit = (SAVE_INTERVAL + SLACK).try_into().expect("a short time");
            assert!(age <= limit, "saved {age:?} before the kill");
            ages += 1;
        }
    }
    let count = load.stop();
    let rest = scenario.watch(&["--until", "now"]).args(start).run();
    printed.add(&rest.expect_code(0).stdout, saved);
    assert_eq!(printed.next, count);
    assert_eq!(ages, KILLS / 20);
}

#[test]
fn resumes_within_a_transaction_after_kill_9() {
    const EVENTS: i32 = 1000;
    /// Lines read before each kill.
    const LINES: usize = 250;
    /// Bytes of text in each event: large enough that a pipe and the buffer of cswatch hold only a few lines.
    const TEXT: usize = 10 * 1024;
    /// Maximum of repeated lines: the checkpoint advances after each quarter of a megabyte of events.
    const UNSAVED: usize = 30;
    let scenario = Scenario::new("transaction");
    let coll = scenario.coll("c");
    // Creates the collection, so that the transaction does not have to.
    block_on(coll.insert_one(doc! { "_id": -1 })).expect("an insert");
    scenario.remaining();
    let text = "x".repeat(TEXT);
    block_on(async {
        let mut session = scenario.set().client().start_session().await?;
        session.start_transaction().await?;
        let documents = (0..EVENTS).map(|id| doc! { "_id": id, "text": &text });
        coll.insert_many(documents).session(&mut session).await?;
        session.commit_transaction().await
    })
    .expect("a transaction");

    let mut times = Vec::new();
    let mut after = 0;
    for _ in 0..3 {
        let (reader, writer) = io::pipe().expect("a pipe");
        let running = scenario
            .watch(&["--save-interval", "0"])
            .stdout(Stdout::File(File::from(OwnedFd::from(writer))))
            .spawn();
        let mut reader = BufReader::new(reader);
        let mut printed = Vec::new();
        let mut next = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("UTF-8");
            // The kill may have torn the last line.
            line.ends_with('\n').then_some(line)
        };
        printed.extend((0..LINES).map(|_| next().expect("a line")));
        // cswatch is blocked in a write, ahead of this reader by at most the contents of the pipe and of the reader's buffer.
        running.kill();
        printed.extend(std::iter::from_fn(next));
        times.extend(printed.iter().map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            (
                event["clusterTime"].to_string(),
                event["txnNumber"].to_string(),
            )
        }));
        let printed_to = after + printed.len();
        assert_eq!(briefs(&printed), inserts(after..printed_to));
        let saved = saved_token(&scenario.resume_file());
        let saved = printed.iter().position(|line| token(line) == saved);
        let saved = saved.expect("a checkpoint among the printed lines") + 1;
        assert!(
            printed.len() - saved <= UNSAVED,
            "{saved} of {}",
            printed.len()
        );
        after += saved;
    }
    assert_eq!(scenario.remaining(), inserts(after..EVENTS as usize));
    // All events belong to one transaction.
    times.dedup();
    assert_eq!(times.len(), 1, "{times:?}");
}
