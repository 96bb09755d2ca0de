//! A server that closes each stream in the reply that opens it, as none should: with `--on-invalidate reopen` it is opened again, with
//! pauses.

use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use mongodb::bson::{RawDocumentBuf, Timestamp, rawdoc};

use testkit::cswatch::Cswatch;
use testkit::fake_server::{FakeServer, Request, mark};

/// How long the requests are counted.
const DURATION: Duration = Duration::from_secs(5);

/// Returns a high-water mark of the present; a later one for a larger number.
fn mark_of(request: &Request<'_>, number: u32) -> String {
    mark(Timestamp {
        increment: number,
        ..request.now()
    })
}

/// Returns a reply that opens a stream and closes it, with these events.
fn closed(request: &Request<'_>, events: &[RawDocumentBuf], token: &str) -> Vec<u8> {
    let mut batch = mongodb::bson::RawArrayBuf::new();
    for event in events {
        batch.push(event.as_ref());
    }
    request.reply(&rawdoc! {
        "ok": 1, "operationTime": request.now(),
        "cursor": {
            "id": 0_i64, "ns": "db.c", "firstBatch": batch, "postBatchResumeToken": { "_data": token },
        },
    })
}

/// Checks how often cswatch opens the stream of a server with these replies to the aggregates, which are numbered from 0.
#[track_caller]
fn check(reply: fn(&Request<'_>, u32) -> Vec<u8>) {
    let opened = Mutex::new(0);
    let server = FakeServer::start(move |request| {
        if request.name != "aggregate" {
            return request.usual();
        }
        let mut opened = opened.lock().expect("no reply panicked");
        *opened += 1;
        reply(request, *opened - 1)
    });
    let mut cswatch = Cswatch::new()
        .args(["--uri", &server.uri(), "--db", "db", "--coll", "c"])
        .args(["--no-resume", "--on-invalidate", "reopen"])
        .spawn();
    cswatch.wait_open();
    let before = server.count("aggregate");
    // What is tested is a rate.
    sleep(DURATION);
    let aggregates = server.count("aggregate") - before;
    // Each opening may ask first whether there is a backlog.
    assert!(
        (3..=14).contains(&aggregates),
        "{aggregates} aggregates in {DURATION:?}"
    );
    cswatch.expect_stderr("the server closes the stream as soon as it is opened");
    cswatch.kill();
}

#[test]
fn pauses_while_the_server_closes_each_stream_without_an_event() {
    check(|request, _| closed(request, &[], &mark_of(request, 1)));
}

#[test]
fn pauses_while_the_server_closes_each_stream_with_a_later_token() {
    check(|request, number| closed(request, &[], &mark_of(request, number + 1)));
}

#[test]
fn pauses_while_the_server_closes_each_stream_with_the_same_event() {
    check(|request, number| {
        // The first is the token to start at.
        if number == 0 {
            return closed(request, &[], &mark_of(request, 1));
        }
        let token = mark_of(request, 2);
        let event = rawdoc! { "_id": { "_data": &*token }, "operationType": "invalidate" };
        closed(request, &[event], &token)
    });
}
