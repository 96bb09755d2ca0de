//! Servers that send what no real server sends: cswatch reports it, ends or retries, and never saves a wrong checkpoint.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mongodb::bson::{RawDocumentBuf, Timestamp, rawdoc};
use serde_json::Value;
use tempfile::TempDir;

use testkit::cswatch::Cswatch;
use testkit::fake_server::{FakeServer, mark, token};
use testkit::guard;

/// Fragments of large events that are not those of one event.
mod fragments;
/// Replies that are no replies, nested too deeply, or too many.
mod replies;
/// Resume tokens that are missing, ahead or out of order.
mod tokens;

/// A fake server, and a directory for the resume file of its watches.
struct Hostile {
    server: FakeServer,
    directory: TempDir,
}

impl Hostile {
    fn new(server: FakeServer) -> Hostile {
        let directory = guard::temp_dir("hostile-");
        Hostile { server, directory }
    }

    /// Returns a watch that gives up three seconds after its last reply.
    fn watch(&self, options: &[&str]) -> Cswatch {
        self.watch_with("50ms", options)
    }

    /// Returns the same as [`Hostile::watch`] with this `--max-await`.
    fn watch_with(&self, max_await: &str, options: &[&str]) -> Cswatch {
        Cswatch::new()
            .args(["--uri", &self.server.uri(), "--db", "d", "--coll", "c"])
            .args(["--max-await", max_await, "--retry-for", "3s"])
            .args(["--resume-file".as_ref(), self.resume_file().as_os_str()])
            .args(options)
    }

    fn resume_file(&self) -> PathBuf {
        self.directory.path().join("resume.json")
    }

    /// Returns the digits of the saved token.
    fn saved_token(&self) -> String {
        let text = std::fs::read(self.resume_file()).expect("a resume file");
        let saved: Value = serde_json::from_slice(&text).expect("JSON");
        let token = saved["token"]["_data"].as_str();
        token.expect("a token").to_owned()
    }
}

/// Returns a server whose replies to `getMore` hold these batches of events, one after the other, and then none. Each reply has the token of
/// its last event.
fn serving(
    batches: impl Fn(Timestamp) -> Vec<Vec<RawDocumentBuf>> + Send + Sync + 'static,
) -> Hostile {
    let replies = AtomicUsize::new(0);
    Hostile::new(FakeServer::start(move |request| {
        if request.name != "getMore" {
            return request.usual();
        }
        let number = replies.fetch_add(1, Ordering::Relaxed);
        let now = request.now();
        match batches(now).get(number) {
            Some(events) => request.batch(events, &mark(now)),
            None => request.usual(),
        }
    }))
}

/// Returns an insert at this time.
fn insert(time: Timestamp) -> RawDocumentBuf {
    with_id(&rawdoc! { "_data": token(time) })
}

/// Returns an insert with this `_id`.
fn with_id(id: &RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! {
        "_id": id.clone(), "operationType": "insert", "ns": { "db": "d", "coll": "c" }, "documentKey": { "_id": 1 },
    }
}

/// Returns a time some seconds after another one; before it for a negative number.
fn later(time: Timestamp, seconds: i32) -> Timestamp {
    Timestamp {
        time: time.time.checked_add_signed(seconds).expect("a time"),
        ..time
    }
}
