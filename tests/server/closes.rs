//! A server that closes each stream in the reply that opens it, as none should: with `--on-invalidate reopen` it is opened again, with
//! pauses.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc};

use testkit::cswatch::Cswatch;
use testkit::port::free_listener;

/// How long the requests are counted.
const DURATION: Duration = Duration::from_secs(5);

/// The time in [`mark`].
const TIME: u32 = 0x6B03_2CA2;

/// The operation codes of the messages
/// (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>). The first message of a connection is an `OP_QUERY`.
const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

/// Returns a high-water mark; a later one for a larger number.
fn mark(number: u32) -> Document {
    doc! { "_data": format!("82{TIME:08X}{number:08X}2B0229296E04") }
}

/// Returns the `cursor` of the reply to the aggregate with this number.
type Cursor = fn(u32) -> Document;

/// Answers every connection of `listener`. Returns the counter of aggregates.
fn serve(listener: TcpListener, cursor: Cursor) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let shared = Arc::clone(&count);
    spawn(move || {
        for connection in listener.incoming().flatten() {
            let count = Arc::clone(&shared);
            // Ends with an error when the client closes the connection.
            spawn(move || answer(connection, &count, cursor));
        }
    });
    count
}

fn answer(mut connection: TcpStream, count: &AtomicU32, cursor: Cursor) -> io::Result<()> {
    loop {
        let mut header = [0; 16];
        connection.read_exact(&mut header)?;
        let number =
            |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let (length, request, code) = (number(0), number(4), number(12));
        let mut body = vec![0; usize::try_from(length).expect("a length") - 16];
        connection.read_exact(&mut body)?;
        let command = match code {
            // Flags and the kind of the section, or flags, `admin.$cmd` and two numbers.
            OP_MSG => &body[5..],
            OP_QUERY => &body[4 + 11 + 8..],
            _ => return Ok(()),
        };
        let command = Document::from_reader(command).expect("a command");
        let reply = reply(&command, count, cursor).to_vec().expect("a reply");
        let (code, head) = match code {
            OP_QUERY => (OP_REPLY, [8, 0, 0, 0, 1].map(i32::to_le_bytes).concat()),
            _ => (OP_MSG, vec![0; 5]),
        };
        let length = i32::try_from(16 + head.len() + reply.len()).expect("a short reply");
        let header = [length, request, request, code]
            .map(i32::to_le_bytes)
            .concat();
        connection.write_all(&[header, head, reply].concat())?;
    }
}

fn reply(command: &Document, count: &AtomicU32, cursor: Cursor) -> Document {
    let now = Timestamp {
        time: TIME,
        increment: 1,
    };
    match command.keys().next().map(String::as_str) {
        Some("hello" | "isMaster" | "ismaster") => doc! {
            "ok": 1, "helloOk": true, "ismaster": true, "isWritablePrimary": true,
            "setName": "rs0", "hosts": ["127.0.0.1:1"], "minWireVersion": 0, "maxWireVersion": 17,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30, "operationTime": now,
        },
        Some("aggregate") => {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let mut cursor = cursor(number);
            cursor.insert("id", 0_i64);
            cursor.insert("ns", "db.c");
            doc! { "ok": 1, "cursor": cursor, "operationTime": now }
        }
        _ => doc! { "ok": 1, "operationTime": now },
    }
}

#[track_caller]
fn check(cursor: Cursor) {
    let listener = free_listener();
    let address = listener.local_addr().expect("an address");
    let count = serve(listener, cursor);
    let uri = format!("mongodb://{address}/?directConnection=true");
    let mut cswatch = Cswatch::new()
        .args(["--uri", &uri, "--db", "db", "--coll", "c", "--no-resume"])
        .args(["--on-invalidate", "reopen"])
        .spawn();
    cswatch.wait_open();
    let before = count.load(Ordering::Relaxed);
    // What is tested is a rate.
    sleep(DURATION);
    let aggregates = count.load(Ordering::Relaxed) - before;
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
    check(|_| doc! { "firstBatch": [], "postBatchResumeToken": mark(1) });
}

#[test]
fn pauses_while_the_server_closes_each_stream_with_a_later_token() {
    check(|number| doc! { "firstBatch": [], "postBatchResumeToken": mark(number + 1) });
}

#[test]
fn pauses_while_the_server_closes_each_stream_with_the_same_event() {
    check(|number| match number {
        // The token to start at.
        0 => doc! { "firstBatch": [], "postBatchResumeToken": mark(1) },
        _ => doc! {
            "firstBatch": [{ "_id": mark(2), "operationType": "invalidate" }],
            "postBatchResumeToken": mark(2),
        },
    });
}
