//! An application that inserts without a pause, next to what a test does: `{_id: 0}`, `{_id: 1}` and so on, so that a line that is
//! missing, doubled or out of order shows by its number alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::WriteConcern;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use crate::runtime::{block_on, runtime};

/// Insert commands per second: with hundreds of documents a second each has several, which a busy machine can follow too.
const COMMANDS_PER_SECOND: u32 = 50;

/// From one insert to the next while servers fail: several within each of the server's waits, few enough for a busy machine.
const PACE_THROUGH_FAILURES: Duration = Duration::from_millis(50);

/// Between two attempts at the same insert while there is no primary.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The server's code for an `_id` that already exists.
const DUPLICATE_KEY: i32 = 11000;

/// A writer in the background.
pub struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<i32>,
}

impl Load {
    /// Starts to insert this many documents a second, on average: what the server delays is made up for. Next to its `_id` each has a
    /// text of this many bytes.
    pub fn start(coll: &Collection<Document>, per_second: u32, text_bytes: usize) -> Load {
        let batch = i32::try_from(per_second / COMMANDS_PER_SECOND).expect("a moderate rate");
        assert!(batch > 0, "{per_second} documents a second are too few");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let coll = coll.clone();
        let text = "x".repeat(text_bytes);
        let task = runtime().spawn(async move {
            let mut pace = interval(Duration::from_secs(1) / COMMANDS_PER_SECOND);
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                let documents = (count..count + batch).map(|id| doc! { "_id": id, "text": &text });
                coll.insert_many(documents).await.expect("an insert");
                count += batch;
            }
            count
        });
        Load { stop, task }
    }

    /// Starts to insert 20 documents a second while servers fail: one at a time, confirmed by a majority, and tried again until it is
    /// in.
    pub fn start_through_failures(coll: &Collection<Document>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let coll = coll.clone();
        let task = runtime().spawn(async move {
            let mut pace = interval(PACE_THROUGH_FAILURES);
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                while let Err(error) = insert_confirmed(&coll, count).await {
                    // An attempt without a reply may have been carried out.
                    if is_duplicate(&error) {
                        break;
                    }
                    sleep(RETRY_PAUSE).await;
                }
                count += 1;
            }
            count
        });
        Load { stop, task }
    }

    /// Stops it, and returns how many documents were inserted.
    #[track_caller]
    pub fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        block_on(self.task).expect("every insert succeeds")
    }
}

/// Inserts `{_id: id}`, confirmed by a majority.
pub(crate) async fn insert_confirmed(
    coll: &Collection<Document>,
    id: i32,
) -> mongodb::error::Result<()> {
    let insert = coll.insert_one(doc! { "_id": id });
    insert
        .write_concern(WriteConcern::majority())
        .await
        .map(drop)
}

fn is_duplicate(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY
    )
}
