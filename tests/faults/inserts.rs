//! Writes that go on while servers fail, and what is printed of them: inserts of `{_id: 0}`, `{_id: 1}` and so on, so that a line
//! that is missing, doubled or out of order shows by its number alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::WriteConcern;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use testkit::cswatch::Cswatch;
use testkit::running::Running;
use testkit::runtime::{block_on, runtime};
use testkit::scenario::Scenario;

/// The collection they go to.
const COLLECTION: &str = "c";

/// 20 inserts a second: several within each of the server's waits, few enough for a busy machine.
const PACE: Duration = Duration::from_millis(50);

/// Between two attempts at the same insert while there is no primary.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The server's code for an `_id` that is there already.
const DUPLICATE_KEY: i32 = 11000;

/// `cswatch` on the collection, connected by `uri`.
pub(super) fn watch(scenario: &Scenario<'_>, uri: &str, arguments: &[&str]) -> Cswatch {
    Cswatch::new()
        .state_home(&scenario.state_home())
        .args(["--uri", uri, "--db", scenario.db().name()])
        .args(["--coll", COLLECTION])
        .args(arguments)
}

/// Inserts the ids, one after the other, each confirmed by a majority.
#[track_caller]
pub(super) fn insert(scenario: &Scenario<'_>, ids: impl IntoIterator<Item = i32>) {
    let coll = scenario.coll(COLLECTION);
    for id in ids {
        block_on(insert_one(&coll, id)).expect("an insert confirmed by a majority");
    }
}

async fn insert_one(coll: &Collection<Document>, id: i32) -> mongodb::error::Result<()> {
    let insert = coll.insert_one(doc! { "_id": id });
    insert
        .write_concern(WriteConcern::majority())
        .await
        .map(drop)
}

/// Inserts at a steady pace in the background; one that fails is tried again until it is in.
pub(super) struct Inserts {
    stop: Arc<AtomicBool>,
    task: JoinHandle<i32>,
}

impl Inserts {
    /// Begins with `_id` 0.
    pub(super) fn start(scenario: &Scenario<'_>) -> Inserts {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let coll = scenario.coll(COLLECTION);
        let task = runtime().spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            for id in 0.. {
                pace.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    return id;
                }
                while let Err(error) = insert_one(&coll, id).await {
                    // An attempt that got no answer may have been carried out.
                    if is_duplicate(&error) {
                        break;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
            unreachable!("no test inserts so many")
        });
        Inserts { stop, task }
    }

    /// Stops, and says how many there are: the last has the `_id` before that number.
    #[track_caller]
    pub(super) fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        block_on(self.task).expect("no panic")
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY
    )
}

/// Reads the lines of these inserts, and fails unless they come exactly so: none missing, none twice, in order. Gives back the
/// longest time between two of them, and before the first.
#[track_caller]
pub(super) fn expect_inserts(
    running: &mut Running,
    ids: impl IntoIterator<Item = i32>,
) -> Duration {
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    for id in ids {
        assert_eq!(in_short(&running.next_event()), insert_of(id));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

/// Fails unless the lines are those of exactly these inserts.
#[track_caller]
pub(super) fn assert_inserts(lines: &[String], ids: impl IntoIterator<Item = i32>) {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| in_short(&serde_json::from_str(line).expect("a line of JSON")))
        .collect();
    let ids: Vec<Value> = ids.into_iter().map(insert_of).collect();
    assert_eq!(lines, ids);
}

fn in_short(event: &Value) -> Value {
    json!([event["operationType"], event["documentKey"]["_id"]])
}

fn insert_of(id: i32) -> Value {
    json!(["insert", { "$numberInt": id.to_string() }])
}
