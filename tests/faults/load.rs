//! Inserts that never pause: `{_id: 0}`, `{_id: 1}` and so on, so that a line that is missing, doubled or out of order shows by its
//! number alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, Timestamp, doc};
use tokio::task::JoinHandle;

use testkit::events::as_start;
use testkit::runtime::{block_on, runtime};

/// Documents in one insert command.
const BATCH: i32 = 20;

/// Time from one insert command to the next: a thousand documents a second, which a busy machine can follow too.
const PACE: Duration = Duration::from_millis(20);

/// A writer in the background.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<i32>,
}

impl Load {
    pub(super) fn start(coll: Collection<Document>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = runtime().spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            for first in (0..).step_by(BATCH as usize) {
                pace.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    return first;
                }
                let documents = (first..first + BATCH).map(|id| doc! { "_id": id });
                coll.insert_many(documents).await.expect("an insert");
            }
            unreachable!("no test inserts so many")
        });
        Load { stop, task }
    }

    /// Stops, and says how many documents there are.
    #[track_caller]
    pub(super) fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        block_on(self.task).expect("no panic")
    }
}

/// `--start` with the first event at or after `time`.
pub(super) fn start_at(time: Timestamp) -> [String; 2] {
    ["--start".to_owned(), as_start(time)]
}
