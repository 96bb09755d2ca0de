//! A load generator that inserts `{_id: 0}`, `{_id: 1}` and so on in the background, so that the number alone shows if a line is missing,
//! duplicated or out of order.

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

/// Insert commands per second. Each inserts several documents, so that a busy machine can keep up with hundreds of documents per second.
const COMMANDS_PER_SECOND: u32 = 50;

/// Time between two inserts while servers fail: several inserts fit into each timeout of the server, and a busy machine can keep up.
const PACE_THROUGH_FAILURES: Duration = Duration::from_millis(50);

/// Pause between two attempts at the same insert while there is no primary.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The server's code for an `_id` that already exists.
const DUPLICATE_KEY: i32 = 11000;

/// A writer that runs in the background.
pub struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<i32>,
}

impl Load {
    /// Starts to insert documents at this average rate: after a delay of the server it catches up. Each document has a field `text` of this
    /// number of bytes.
    pub fn start(coll: &Collection<Document>, per_second: u32, text_bytes: usize) -> Load {
        let batch = i32::try_from(per_second / COMMANDS_PER_SECOND).expect("a moderate rate");
        assert!(batch > 0, "{per_second} documents per second are too few");
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

    /// Starts to insert 20 documents per second while servers fail: one by one, with write concern majority, each retried until it is
    /// inserted.
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
                    // An earlier attempt without a reply may have succeeded.
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

    /// Stops it, and returns the number of documents that were inserted.
    #[track_caller]
    pub fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        block_on(self.task).expect("every insert succeeds")
    }
}

/// Inserts `{_id: id}` with write concern majority.
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
