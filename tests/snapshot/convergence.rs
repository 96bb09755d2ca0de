//! Random writers change the collections while they are scanned. Applied in order, all lines give the server's state, also across kills.

use std::thread;
use std::time::Duration;

use fastrand::Rng;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};
use rustix::process::Signal;

use testkit::deadline::poll;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::Copy;

/// The collections of each scenario.
const COLLS: [&str; 2] = ["a", "b"];

/// The documents have an `_id` below this.
const IDS: i32 = 40;

/// Number of operations of each writer.
const OPERATIONS: u32 = 60;

/// Writes at random. A write that fails, because the document exists or another transaction has changed it, changes nothing.
async fn write(scenario: &Scenario<'_>, mut random: Rng) {
    let colls = COLLS.map(|name| scenario.coll(name));
    let mut session = scenario
        .set()
        .client()
        .start_session()
        .await
        .expect("a session");
    let mut remaining = OPERATIONS;
    while remaining > 0 {
        let is_transaction = random.u8(..8) == 0;
        let size = if is_transaction { random.u32(2..6) } else { 1 };
        remaining = remaining.saturating_sub(size);
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

/// Tests one seed.
#[track_caller]
fn converge(seed: u64) {
    let context = format!("(seed {seed:#x})");
    let mut random = Rng::with_seed(seed);
    let scenario = Scenario::new("converge");
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
    let file = scenario.resume_file();
    let watch = |options: &[&str]| {
        scenario
            .cswatch([
                "--snapshot",
                "--max-await",
                "50ms",
                "--batch-size",
                &batch_size,
            ])
            .args(["--save-interval", "0", "--resume-file"])
            .args([&file])
            .args(lookup)
            .args(options)
    };
    let mut copy = Copy::default();
    thread::scope(|scope| {
        for _ in 0..2 {
            let random = random.fork();
            let scenario = &scenario;
            scope.spawn(move || block_on(write(scenario, random)));
        }
        for _ in 0..random.u8(..3) {
            let running = watch(&[]).spawn();
            // At the latest after a random time: if everything was read, no line comes.
            let (lines, limit) = (random.usize(..60), random.u64(..300));
            poll(Duration::from_millis(limit), || {
                (running.printed() >= lines).then_some(())
            });
            // SIGTERM ends it too before it is handled.
            let signal = *random.choice(&[Signal::KILL, Signal::TERM]).expect("one");
            running.signal(signal);
            let finished = running.wait();
            finished.stdout.iter().for_each(|line| copy.apply(line));
        }
    });
    let last = watch(&["--until", "now"]).run().expect_code(0);
    last.stdout.iter().for_each(|line| copy.apply(line));
    copy.expect(&Copy::of(scenario.db(), &COLLS), &context);
}

#[test]
fn gives_the_state_of_the_server_whatever_is_written_meanwhile() {
    const SEEDS: u64 = 100;
    const THREADS: u64 = 4;
    thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || (first..SEEDS).step_by(THREADS as usize).for_each(converge));
        }
    });
}
