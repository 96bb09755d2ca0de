//! `--snapshot`: the documents that exist are printed too, while the stream is read.

/// Collections that are dropped and renamed during the scan.
mod changes;
/// Random writers: the lines, applied in order, give the server's state.
mod convergence;
/// A copy of collections that is made from lines.
mod copy;
/// Servers that fail during the scan.
mod faults;
/// Delivery into NATS JetStream.
#[cfg(feature = "nats")]
mod jetstream;
/// `kill -9` at any moment.
mod kills;
/// An oplog that is overwritten during the scan.
mod oplog;
/// Runs after the first one.
mod restarts;
/// Scopes, filters and limits.
mod scopes;
/// The order of documents and events.
mod turns;
/// Any `_id`, any kind of collection, any size.
mod types;

use mongodb::Collection;
use mongodb::bson::{Document, doc};

use testkit::cswatch::Cswatch;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// The options of a snapshot that ends once everything was read that existed at its start.
const DUMP: [&str; 5] = ["--snapshot", "--until", "now", "--max-await", "50ms"];

/// Returns a command that prints what is in the scenario's database, and then ends.
fn dump(scenario: &Scenario<'_>, arguments: &[&str]) -> Cswatch {
    scenario.cswatch(["--no-resume"]).args(DUMP).args(arguments)
}

/// Inserts documents with these `_id`s and a field `n`, in one command.
#[track_caller]
fn fill(coll: &Collection<Document>, ids: std::ops::Range<i32>) {
    let documents = ids.map(|id| doc! { "_id": id, "n": id });
    block_on(coll.insert_many(documents)).expect("an insert");
}
