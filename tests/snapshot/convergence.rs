//! Random writers change the collections while they are scanned. Applied in order, all lines give the server's state, also across kills.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};
use rustix::process::Signal;

use testkit::deadline::poll;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::Copy;

/// The collections of each scenario.
const COLLS: [&str; 2] = ["a", "b"];

/// The documents have an `_id` below this.
const IDS: i32 = 40;

/// Writes at random until `is_over`. A write that fails, because the document exists or another transaction has changed it, changes nothing.
async fn write(scenario: &Scenario<'_>, mut random: Rng, is_over: &AtomicBool) {
    let colls = COLLS.map(|name| scenario.coll(name));
    let mut session = scenario
        .set()
        .client()
        .start_session()
        .await
        .expect("a session");
    while !is_over.load(Ordering::Relaxed) {
        let is_transaction = random.u8(..8) == 0;
        let size = if is_transaction { random.u32(2..6) } else { 1 };
        if is_transaction {
            session.start_transaction().await.expect("a transaction");
        }
        let mut is_written = true;
        for _ in 0..size {
            let coll = random.choice(&colls).expect("a collection");
            let session = is_transaction.then_some(&mut session);
            is_written &= operate(coll, &mut random, session).await.is_ok();
        }
        if is_transaction {
            let ended = match is_written {
                true => session.commit_transaction().await,
                false => session.abort_transaction().await,
            };
            // The server may have ended it already.
            let _ = ended;
        }
    }
}

/// Changes one document.
async fn operate(
    coll: &Collection<Document>,
    random: &mut Rng,
    session: Option<&mut ClientSession>,
) -> mongodb::error::Result<()> {
    let key = doc! { "_id": random.i32(..IDS) };
    let n = random.i32(..1000);
    let update = match random.u8(..11) {
        0 => {
            let delete = coll.delete_one(key);
            return match session {
                Some(session) => delete.session(session).await,
                None => delete.await,
            }
            .map(drop);
        }
        1 => {
            let mut document = key;
            document.extend(doc! { "n": n, "list": [n], "d": { "x": n } });
            let insert = coll.insert_one(document);
            return match session {
                Some(session) => insert.session(session).await,
                None => insert.await,
            }
            .map(drop);
        }
        2 => {
            let replace = coll
                .replace_one(key, doc! { "n": n, "d": { "y": n } })
                .upsert(true);
            return match session {
                Some(session) => replace.session(session).await,
                None => replace.await,
            }
            .map(drop);
        }
        3 => doc! { "$set": { "n": n } },
        4 => doc! { "$set": { "d.x": n, "d.e.z": n } },
        5 => doc! { "$unset": { "d": 1 } },
        6 => doc! { "$unset": { "d.e": 1, "n": 1 } },
        7 => doc! { "$push": { "list": { "$each": [n, n + 1], "$slice": -5 } } },
        8 => doc! { "$push": { "list": { "$each": [n], "$position": 1, "$slice": 4 } } },
        9 => doc! { "$pop": { "list": 1 } },
        _ => doc! { "$unset": { "list": 1 }, "$inc": { "n": 1 } },
    };
    let update = coll.update_one(key, update);
    match session {
        Some(session) => update.session(session).await,
        None => update.await,
    }
    .map(drop)
}

/// Tests one seed with a connection string of the scenario's set.
#[track_caller]
fn converge(scenario: &Scenario<'_>, uri: &str, seed: u64) {
    let mut random = Rng::with_seed(seed);
    for name in COLLS {
        let documents = (0..IDS).map(
            |id| doc! { "_id": id, "n": id, "list": [1, 2, 3], "d": { "x": 1, "e": { "z": 1 } } },
        );
        block_on(scenario.coll(name).insert_many(documents)).expect("an insert");
    }
    let lookup: &[&str] = match random.bool() {
        true => &["--full-document", "updateLookup"],
        false => &[],
    };
    let batch_size = random.u32(1..6).to_string();
    let file = scenario.path(&format!("{seed}.json"));
    let watch = |options: &[&str]| {
        scenario
            .cswatch_at(uri, ["--snapshot", "--batch-size", &batch_size])
            .args(["--max-await", "50ms", "--save-interval", "0"])
            .args([Path::new("--resume-file"), &file])
            .args(lookup)
            .args(options)
    };
    let mut copy = Copy::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for _ in 0..random.u8(1..4) {
            let mut running = watch(&[]).spawn();
            // Both begin at the same time.
            running.wait_open();
            if writers.is_empty() {
                writers.extend(
                    [random.fork(), random.fork()]
                        .map(|random| scope.spawn(|| block_on(write(scenario, random, &is_over)))),
                );
            }
            // At the latest after a random time: if everything was read, no line may come.
            let lines = running.printed() + random.usize(..100);
            let limit = Duration::from_millis(random.u64(..400));
            poll(limit, || (running.printed() >= lines).then_some(()));
            running.signal(*random.choice(&[Signal::KILL, Signal::TERM]).expect("one"));
            let finished = running.wait();
            finished.stdout.iter().for_each(|line| copy.apply(line));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let last = watch(&["--until", "now"]).run().expect_code(0);
    last.stdout.iter().for_each(|line| copy.apply(line));
    copy.expect(&Copy::of(scenario.db(), &COLLS), &format!("(seed {seed})"));
}

#[test]
fn gives_the_state_of_the_server_whatever_is_written_meanwhile() {
    const SEEDS: u64 = 100;
    const THREADS: u64 = 4;
    thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || {
                for seed in (first..SEEDS).step_by(THREADS as usize) {
                    let scenario = Scenario::new("converge");
                    converge(&scenario, &scenario.set().uri(), seed);
                }
            });
        }
    });
}

#[test]
fn gives_the_state_of_the_server_when_it_reads_from_any_member() {
    const SEEDS: u64 = 10;
    let set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    });
    let uri = set.uri();
    for seed in 0..SEEDS {
        let scenario = Scenario::on(&set, "converge_members");
        for preference in ["nearest", "secondary"] {
            let uri = format!("{uri}&readPreference={preference}&localThresholdMS=1000");
            converge(&scenario, &uri, seed + 1000 * preference.len() as u64);
            block_on(scenario.db().drop()).expect("a drop");
        }
    }
}
