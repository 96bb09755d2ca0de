//! Random writers change the collections while they are scanned. Applied in order, all lines give the server's state, also across kills.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};
use rustix::process::Signal;

use testkit::deadline::poll;
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::copy::{Copy, is_snapshot, parsed};

/// The collections of each scenario.
const COLLS: [&str; 2] = ["a", "b"];

/// Number of writers.
const WRITERS: i32 = 2;

/// The documents have an `_id` below this. So many that few are written again after the scan has passed them.
const IDS: i32 = 200;

/// A writer, the only one of its documents. Each write gives a document a higher version than the one before.
struct Writer {
    random: Rng,
    /// The remainder of the `_id`s of its documents by [`WRITERS`].
    number: i32,
    version: i32,
}

impl Writer {
    /// Writes at random until `is_over`. A write that fails, because the document exists, changes nothing.
    async fn run(mut self, scenario: &Scenario<'_>, is_over: &AtomicBool) {
        let colls = COLLS.map(|name| scenario.coll(name));
        let client = scenario.set().client();
        let mut session = client.start_session().await.expect("a session");
        while !is_over.load(Ordering::Relaxed) {
            let is_transaction = self.random.u8(..8) == 0;
            let size = if is_transaction {
                self.random.u32(2..6)
            } else {
                1
            };
            if is_transaction {
                session.start_transaction().await.expect("a transaction");
            }
            let mut is_written = true;
            for _ in 0..size {
                let coll = &colls[self.random.usize(..colls.len())];
                let session = is_transaction.then_some(&mut session);
                is_written &= self.operate(coll, session).await.is_ok();
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
        &mut self,
        coll: &Collection<Document>,
        session: Option<&mut ClientSession>,
    ) -> mongodb::error::Result<()> {
        self.version += 1;
        let v = self.version;
        let id = self.random.i32(0..IDS / WRITERS) * WRITERS + self.number;
        let key = doc! { "_id": id };
        let mut update = match self.random.u8(..11) {
            0 => {
                let delete = coll.delete_one(key);
                return match session {
                    Some(session) => delete.session(session).await,
                    None => delete.await,
                }
                .map(drop);
            }
            1 => {
                let insert =
                    coll.insert_one(doc! { "_id": id, "v": v, "list": [v], "d": { "x": v } });
                return match session {
                    Some(session) => insert.session(session).await,
                    None => insert.await,
                }
                .map(drop);
            }
            2 => {
                let replacement = doc! { "v": v, "d": { "y": v } };
                let replace = coll.replace_one(key, replacement).upsert(true);
                return match session {
                    Some(session) => replace.session(session).await,
                    None => replace.await,
                }
                .map(drop);
            }
            3 => doc! { "$inc": { "n": 1 } },
            4 => doc! { "$mul": { "d.x": 2, "d.e.z": 2 } },
            5 => doc! { "$unset": { "d": 1 } },
            6 => doc! { "$unset": { "d.e": 1, "n": 1 } },
            7 => doc! { "$push": { "list": { "$each": [v, v + 1], "$slice": -5 } } },
            8 => doc! { "$push": { "list": { "$each": [v], "$position": 1, "$slice": 4 } } },
            9 => doc! { "$pop": { "list": 1 } },
            _ => doc! { "$unset": { "list": 1 }, "$inc": { "n": 1 } },
        };
        update.insert("$set", doc! { "v": v });
        let update = coll.update_one(key, update);
        match session {
            Some(session) => update.session(session).await,
            None => update.await,
        }
        .map(drop)
    }
}

/// The newest version of each document in the lines of one run.
#[derive(Default)]
struct Versions(HashMap<(String, i32), i32>);

impl Versions {
    /// Fails if a document of the snapshot is older than an event before it.
    #[track_caller]
    fn check(&mut self, line: &str) {
        let line = parsed(line);
        let coll = line.get_document("ns").and_then(|ns| ns.get_str("coll"));
        let id = line
            .get_document("documentKey")
            .and_then(|key| key.get_i32("_id"));
        let (Ok(coll), Ok(id)) = (coll, id) else {
            panic!("no event of a document: {line}");
        };
        let newest = self.0.entry((coll.to_owned(), id)).or_insert(-1);
        if is_snapshot(&line) {
            let version = line
                .get_document("fullDocument")
                .and_then(|document| document.get_i32("v"));
            let version = version.expect("a version");
            // After a delete it must be the version of a later insert.
            assert!(
                version >= *newest,
                "version {version} after {newest}: {line}"
            );
            return;
        }
        let changed = line
            .get_document("updateDescription")
            .and_then(|change| change.get_document("updatedFields"))
            .or_else(|_| line.get_document("fullDocument"));
        *newest = match changed.map(|fields| fields.get_i32("v")) {
            Ok(version) => version.expect("a version"),
            Err(_) => *newest + 1,
        };
    }
}

/// Ends the writers when it is dropped, also if the test fails meanwhile.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tests one seed with a connection string of the scenario's set.
#[track_caller]
fn converge(scenario: &Scenario<'_>, uri: &str, seed: u64) {
    let mut random = Rng::with_seed(seed);
    for name in COLLS {
        let documents = (0..IDS).map(
            |id| doc! { "_id": id, "v": 0, "list": [1, 2, 3], "d": { "x": 1, "e": { "z": 1 } } },
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
    let mut add = |finished: Finished| {
        let mut versions = Versions::default();
        for line in &finished.stdout {
            versions.check(line);
            copy.apply(line);
        }
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&is_over);
        let mut writers = Vec::new();
        for _ in 0..random.u8(1..4) {
            let mut running = watch(&[]).spawn();
            // Both begin at the same time.
            running.wait_open();
            if writers.is_empty() {
                writers.extend((0..WRITERS).map(|number| {
                    let random = random.fork();
                    let writer = Writer {
                        random,
                        number,
                        version: 0,
                    };
                    scope.spawn(|| block_on(writer.run(scenario, &is_over)))
                }));
            }
            // At the latest after a random time: if everything was read, no line may come.
            let lines = running.printed() + random.usize(..100);
            let limit = Duration::from_millis(random.u64(..400));
            poll(limit, || (running.printed() >= lines).then_some(()));
            running.signal(*random.choice(&[Signal::KILL, Signal::TERM]).expect("one"));
            add(running.wait());
        }
    });
    add(watch(&["--until", "now"]).run().expect_code(0));
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
