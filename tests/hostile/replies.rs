use std::time::{Duration, Instant};

use mongodb::bson::raw::cstr;
use mongodb::bson::{RawDocumentBuf, rawdoc};
use rustix::process::Signal;

use testkit::fake_server::{FakeServer, Request, mark};

use super::{Hostile, insert, later, serving};

/// Returns a document with so many documents in each other, of 7 bytes each.
fn nested(levels: i32) -> RawDocumentBuf {
    let length = |level: i32| (5 + 7 * level).to_le_bytes();
    let mut bytes: Vec<u8> = (1..=levels)
        .rev()
        .flat_map(|level| [&length(level)[..], &[3, 0]].concat())
        .collect();
    bytes.extend(length(0));
    bytes.resize(
        bytes.len() + usize::try_from(levels).expect("a number") + 1,
        0,
    );
    RawDocumentBuf::from_bytes(bytes).expect("a document")
}

#[test]
fn survives_a_hello_nested_10000_levels_deep() {
    let hostile = Hostile::new(FakeServer::start(|request| match &*request.name {
        "hello" | "isMaster" | "ismaster" => {
            let mut hello = request.hello();
            hello.append(cstr!("nested"), nested(10_000));
            request.reply(&hello)
        }
        "getMore" => request.batch(&[insert(later(request.now(), 1))], &mark(request.now())),
        _ => request.usual(),
    }));
    let finished = hostile.watch(&["--count", "1"]).run().expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
}

#[test]
fn prints_what_comes_before_an_event_nested_too_deeply_and_refuses_it() {
    for levels in [2_000, 100_000] {
        let hostile = serving(move |now| {
            let mut deep = insert(later(now, 2));
            deep.append(cstr!("fullDocument"), nested(levels));
            vec![vec![insert(later(now, 1)), deep]]
        });
        let finished = hostile.watch(&[]).run().expect_code(8);
        assert_eq!(finished.stdout.len(), 1, "{}", finished.stderr);
        let hint = "a restart reads it again; look for a fault of the server, or of a proxy in front of it";
        finished.expect_error(
            "cannot decode an event from the server: malformed BSON at byte ",
            hint,
        );
    }
}

/// Returns replies that are no replies to a `getMore` or `aggregate`.
fn broken(request: &Request<'_>) -> Vec<Vec<u8>> {
    let usual = request.batch(&[], &mark(request.now()));
    let with_length = |length: i32| [&length.to_le_bytes()[..], &usual[4..]].concat();
    let event = rawdoc! { "cursor": { "id": 77_i64, "ns": "d.c", "nextBatch": [5, "text"], "firstBatch": [5] }, "ok": 1 };
    vec![
        with_length(-1),
        with_length(0),
        with_length(15),
        with_length(i32::MAX),
        with_length(21),
        request.body(&[]),
        request.body(&[0; 64]),
        request.body(&[0xFF; 64]),
        request.compressed(99, 10, b"text"),
        request.compressed(3, 10, b"text"),
        request.reply(&rawdoc! {}),
        request.reply(&rawdoc! { "ok": 1 }),
        request.reply(&rawdoc! { "ok": 1, "cursor": 5 }),
        request.reply(&rawdoc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "d.c" } }),
        request.reply(&rawdoc! { "ok": 1, "cursor": { "id": "x", "ns": "", "firstBatch": {}, "nextBatch": {} } }),
        request.reply(&event),
        request.reply(&rawdoc! { "ok": "no", "code": -5, "errmsg": 7 }),
    ]
}

#[test]
fn ends_with_a_message_after_replies_that_are_none() {
    for name in ["getMore", "aggregate"] {
        let mut number = 0;
        loop {
            let server = FakeServer::start(move |request| match request.name == name {
                true => broken(request).swap_remove(number),
                false => request.usual(),
            });
            let hostile = Hostile::new(server);
            let finished = hostile.watch(&[]).run();
            let code = finished.code;
            assert!(
                code.is_some_and(|code| (1..=8).contains(&code)),
                "{name} {number}: {code:?} {:?}\n{}",
                finished.signal,
                finished.stderr
            );
            assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
            finished.error();
            number += 1;
            if number == 17 {
                break;
            }
        }
    }
}

#[test]
fn waits_itself_if_the_server_sends_empty_replies_without_waiting() {
    let hostile = Hostile::new(FakeServer::start(|request| match &*request.name {
        "getMore" => request.batch(&[], &mark(request.now())),
        _ => request.usual(),
    }));
    let running = hostile.watch_with("400ms", &[]).spawn();
    hostile.server.wait_for("getMore", 102);
    let started_at = Instant::now();
    hostile.server.wait_for("getMore", 105);
    assert!(started_at.elapsed() > Duration::from_millis(800));
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
}

/// A limit on the address space leaves no room for the large stack.
#[test]
fn works_without_the_large_stack() {
    let hostile = serving(|now| vec![vec![insert(later(now, 1))]]);
    let watch = hostile.watch(&["--count", "1"]);
    let limited = ["sh", "-c", "ulimit -v 450000; exec \"$0\" \"$@\""];
    let finished = watch.through(limited).run().expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
}
