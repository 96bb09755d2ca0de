//! An application that writes all the time, beside what a test does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use tokio::task::JoinHandle;

use crate::runtime::{block_on, runtime};

/// Inserts `{_id: n}` one after the other, from 1 on, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<i32>,
}

impl Load {
    /// So many writes a second, on average: what the server delays is made up for. Each document has
    /// so many bytes of text beside its `_id`.
    pub fn start(coll: &Collection<Document>, per_second: u32, bytes: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let coll = coll.clone();
        let text = "x".repeat(bytes);
        let task = runtime().spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            let mut id = 0;
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                id += 1;
                let document = doc! { "_id": id, "text": &text };
                coll.insert_one(document).await.expect("an insert");
            }
            id
        });
        Load { stop, task }
    }

    /// Stops it; the last `_id` that was written.
    #[track_caller]
    pub fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        block_on(self.task).expect("every insert succeeds")
    }
}
