use mongodb::bson::{RawDocumentBuf, Timestamp, rawdoc};
use rustix::process::Signal;

use testkit::fake_server::{FakeServer, mark, token};
use testkit::finished::Finished;

use super::{Hostile, insert, later, serving, with_id};

const HINT: &str = "no token of it was saved, so a restart resumes after the last valid one; look for a fault of the server, or of a proxy in front of it";

/// A time of the year 2106.
const FAR_AHEAD: Timestamp = Timestamp {
    time: u32::MAX - 1,
    increment: 1,
};

#[track_caller]
fn expect_refusal(finished: Finished, lines: usize, message: &str) {
    let finished = finished.expect_code(8);
    assert_eq!(finished.stdout.len(), lines, "{}", finished.stderr);
    finished.expect_error(message, HINT);
}

#[test]
fn prints_what_comes_before_an_event_without_a_token_and_refuses_the_rest() {
    for id in [
        rawdoc! {},
        rawdoc! { "_data": 5 },
        rawdoc! { "_data": "not hex" },
        rawdoc! { "_data": "82" },
    ] {
        let hostile = serving(move |now| {
            vec![vec![
                insert(later(now, 1)),
                with_id(&id),
                insert(later(now, 2)),
            ]]
        });
        let finished = hostile.watch(&[]).run();
        let message = "the server sent an event without a valid resume token, after ";
        expect_refusal(finished, 1, message);
        let saved = token(later(hostile.server.now(), 1));
        assert_eq!(hostile.saved_token(), saved);
    }
}

#[test]
fn refuses_events_without_any_id() {
    for count in [1, 100_000] {
        let empty = rawdoc! { "operationType": "insert" };
        let hostile = Hostile::new(FakeServer::start(move |request| match &*request.name {
            "getMore" => request.batch(&vec![empty.clone(); count], &mark(request.now())),
            _ => request.usual(),
        }));
        let finished = hostile.watch(&[]).run().expect_code(8);
        let hint = "a restart resumes after the last event with one; look for a fault of the server, or of a proxy in front of it";
        finished.expect_error("the server sent an event without a resume token", hint);
        assert_eq!(hostile.saved_token(), mark(hostile.server.now()));
    }
}

#[test]
fn refuses_an_event_of_a_time_far_ahead() {
    let hostile = serving(|now| vec![vec![insert(later(now, 1)), insert(FAR_AHEAD)]]);
    let finished = hostile.watch(&[]).run();
    expect_refusal(finished, 1, "the server sent an event whose time 2106-");
    assert_eq!(hostile.saved_token(), token(later(hostile.server.now(), 1)));
}

#[test]
fn ends_when_every_empty_reply_has_a_token_far_ahead() {
    let hostile = Hostile::new(FakeServer::start(|request| match &*request.name {
        "getMore" => request.batch(&[], &mark(FAR_AHEAD)),
        _ => request.usual(),
    }));
    let finished = hostile.watch(&[]).run();
    let warnings = finished.stderr.matches("does not become the checkpoint");
    assert_eq!(warnings.count(), 1, "{}", finished.stderr);
    let message = "the server sent 10 invalid resume tokens in a row, the last one with a resume token that lies ahead: 2106-";
    expect_refusal(finished, 0, message);
    assert_eq!(hostile.saved_token(), mark(hostile.server.now()));
}

#[test]
fn ignores_a_single_token_far_ahead() {
    let replies = std::sync::atomic::AtomicUsize::new(0);
    let hostile = Hostile::new(FakeServer::start(move |request| {
        let now = request.now();
        if request.name != "getMore" {
            return request.usual();
        }
        match replies.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => request.batch(&[], &mark(FAR_AHEAD)),
            1 => request.batch(&[insert(later(now, 1))], &mark(later(now, 1))),
            _ => request.usual(),
        }
    }));
    let mut running = hostile.watch(&[]).spawn();
    running.expect_stderr("the server sent a resume token that lies ahead: 2106-");
    running.next_line();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    assert_eq!(hostile.saved_token(), token(later(hostile.server.now(), 1)));
}

#[test]
fn does_not_start_at_a_token_far_ahead() {
    let hostile = Hostile::new(FakeServer::start(|request| match &*request.name {
        "aggregate" => request.batch(&[], &mark(FAR_AHEAD)),
        _ => request.usual(),
    }));
    let finished = hostile.watch(&[]).run().expect_code(8);
    finished.expect_error(
        "the server sent a resume token whose time 2106-",
        "look for a fault of the server, or of a proxy in front of it",
    );
    assert!(!hostile.resume_file().exists());
}

/// The clock of a new primary may be ahead, or set.
#[test]
fn accepts_a_token_ahead_of_the_first_time_if_the_server_has_that_time_now() {
    let jumped = std::sync::atomic::AtomicBool::new(false);
    let hostile = Hostile::new(FakeServer::start(move |request| {
        let new_time = later(request.now(), 1000);
        let has_jumped = || jumped.load(std::sync::atomic::Ordering::Relaxed);
        match &*request.name {
            "getMore" if !jumped.swap(true, std::sync::atomic::Ordering::Relaxed) => {
                request.batch(&[insert(new_time)], &mark(new_time))
            }
            "hello" if has_jumped() => {
                let hello = mongodb::bson::Document::try_from(request.hello());
                let mut hello = hello.expect("a document");
                hello.insert(
                    "$clusterTime",
                    mongodb::bson::doc! { "clusterTime": new_time, "signature": { "keyId": 0_i64 } },
                );
                request.reply(&RawDocumentBuf::try_from(&hello).expect("a document"))
            }
            _ => request.usual(),
        }
    }));
    let finished = hostile.watch(&["--count", "1"]).run().expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
    assert_eq!(
        hostile.saved_token(),
        token(later(hostile.server.now(), 1000))
    );
}

#[test]
fn prints_events_out_of_order_but_never_moves_the_checkpoint_back() {
    let hostile = serving(|now| {
        vec![
            vec![insert(later(now, 1)), insert(later(now, -100))],
            vec![insert(later(now, -50))],
        ]
    });
    let finished = hostile.watch(&["--count", "3"]).run().expect_code(0);
    assert!(
        finished
            .stderr
            .contains("after a later one; it does not become the checkpoint"),
        "{}",
        finished.stderr
    );
    assert!(hostile.saved_token() >= mark(hostile.server.now()));
}

#[test]
fn ends_after_many_events_out_of_order() {
    let hostile = serving(|now| {
        let back = (1..20).map(|seconds| insert(later(now, -seconds)));
        vec![[insert(now)].into_iter().chain(back).collect()]
    });
    let finished = hostile.watch(&[]).run();
    let message =
        "the server sent 10 invalid resume tokens in a row, the last one with an event of ";
    expect_refusal(finished, 10, message);
    assert!(hostile.saved_token() >= mark(hostile.server.now()));
}
