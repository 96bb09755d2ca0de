//! `kill -9` at any moment of the scan. The next run continues where the checkpoint, or the output file, shows that this one stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use std::time::Duration;

use fastrand::Rng;
use mongodb::bson::doc;

use testkit::deadline::poll;
use testkit::events::{brief, checkpoint};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::{Copy, is_snapshot, parsed};
use super::fill;

/// The collections of each scenario.
const COLLS: [&str; 3] = ["a", "b", "c"];

/// Documents in each collection: enough that a scan of one after the other outlives most kills.
const DOCUMENTS: i32 = 300;

/// Kills of each test.
const KILLS: u32 = 100;

fn filled(name: &str) -> Scenario<'static> {
    let scenario = Scenario::new(name);
    for name in COLLS {
        fill(&scenario.coll(name), 0..DOCUMENTS);
    }
    scenario
}

/// Changes a few documents at random, so that events come between the lines of the snapshot.
fn change(scenario: &Scenario<'_>, random: &mut Rng) {
    for _ in 0..3 {
        let coll = scenario.coll(COLLS[random.usize(..COLLS.len())]);
        let key = doc! { "_id": random.i32(0..DOCUMENTS) };
        let update = doc! { "$inc": { "n": 1 } };
        block_on(coll.update_one(key, update)).expect("an update");
    }
}

/// Waits until `count` has grown by a random number of lines, or at most a random time: the start may be killed too. The random moment is
/// the fault that is tested.
fn wait(random: &mut Rng, count: impl Fn() -> usize) {
    let lines = count() + random.usize(1..40);
    let limit = Duration::from_millis(random.u64(50..600));
    poll(limit, || (count() >= lines).then_some(()));
}

fn is_finished(scenario: &Scenario<'_>) -> bool {
    let file = scenario.resume_file();
    file.exists() && checkpoint(&file)["snapshot"] == "finished"
}

/// Returns the options of a watch of all collections.
fn watch(scenario: &Scenario<'_>, options: &[&str]) -> testkit::cswatch::Cswatch {
    scenario
        .cswatch(["--snapshot", "--batch-size", "2", "--max-await", "50ms"])
        .args(["--resume-file"])
        .args([scenario.resume_file()])
        .args(options)
}

#[test]
fn prints_every_document_at_least_once_on_stdout() {
    const SEED: u64 = 0x5EED_0F5C_A115;
    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let mut kills = 0;
    while kills < KILLS {
        let scenario = filled("snapshot_kills");
        let mut copy = Copy::default();
        let mut printed: BTreeSet<(String, i32)> = BTreeSet::new();
        let mut add = |lines: &[String]| {
            for line in lines {
                copy.apply(line);
                let line = parsed(line);
                if is_snapshot(&line) {
                    let coll = line.get_document("ns").and_then(|ns| ns.get_str("coll"));
                    let id = line
                        .get_document("documentKey")
                        .and_then(|key| key.get_i32("_id"));
                    printed.insert((coll.expect("a collection").to_owned(), id.expect("an _id")));
                }
            }
        };
        while kills < KILLS && !is_finished(&scenario) {
            let interval = *random.choice(&["0", "20ms", "1s"]).expect("one");
            let running = watch(&scenario, &["--save-interval", interval]).spawn();
            wait(&mut random, || running.printed());
            change(&scenario, &mut random);
            add(&running.kill().stdout);
            kills += 1;
        }
        let last = watch(&scenario, &["--until", "now"]).run().expect_code(0);
        add(&last.stdout);
        assert_eq!(printed.len(), COLLS.len() * DOCUMENTS as usize);
        copy.expect(&Copy::of(scenario.db(), &COLLS), "on stdout");
        let again = watch(&scenario, &["--until", "now"]).run().expect_code(0);
        assert_eq!(again.stdout, [""; 0]);
        assert!(
            again.stderr.contains("the snapshot is complete"),
            "{}",
            again.stderr
        );
    }
}

#[test]
fn writes_every_document_exactly_once_and_in_order_into_a_file() {
    const SEED: u64 = 0x0F11_E5EE_D0F5;
    println!("seed {SEED:#x}");
    let mut random = Rng::with_seed(SEED);
    let mut kills = 0;
    while kills < KILLS {
        let scenario = filled("snapshot_file_kills");
        let output = scenario.path("lines");
        let argument = output.to_str().expect("a path").to_owned();
        let relaxed: &[&str] = if random.bool() {
            &["--format", "relaxed"]
        } else {
            &[]
        };
        let options = |interval| {
            [
                &["--output", &argument, "--save-interval", interval],
                relaxed,
            ]
            .concat()
        };
        while kills < KILLS && !is_finished(&scenario) {
            let interval = *random.choice(&["0", "20ms", "1s"]).expect("one");
            let running = watch(&scenario, &options(interval)).spawn();
            wait(&mut random, || lines(&output).len());
            change(&scenario, &mut random);
            running.kill();
            kills += 1;
        }
        let last = [&options("1s")[..], &["--until", "now"]].concat();
        watch(&scenario, &last).run().expect_code(0);
        let written = lines(&output);
        let mut next: BTreeMap<String, i32> = BTreeMap::new();
        let mut copy = Copy::default();
        for line in &written {
            copy.apply(line);
            let event = parsed(line);
            if is_snapshot(&event) {
                let coll = event.get_document("ns").and_then(|ns| ns.get_str("coll"));
                let next = next
                    .entry(coll.expect("a collection").to_owned())
                    .or_default();
                assert_eq!(
                    brief(line).replace("snapshot ", ""),
                    next.to_string(),
                    "{line}"
                );
                *next += 1;
            }
        }
        assert_eq!(
            next.into_values().collect::<Vec<_>>(),
            [DOCUMENTS; COLLS.len()]
        );
        copy.expect(&Copy::of(scenario.db(), &COLLS), "in the file");
        watch(&scenario, &last).run().expect_code(0);
        assert_eq!(lines(&output).len(), written.len());
    }
}

/// Returns the whole lines of a file.
fn lines(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    text.lines().map(ToOwned::to_owned).collect()
}
