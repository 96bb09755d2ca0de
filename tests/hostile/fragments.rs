use mongodb::bson::raw::cstr;
use mongodb::bson::{RawDocumentBuf, Timestamp, rawdoc};

use testkit::fake_server::{FakeServer, fragment_token, mark};

use super::{Hostile, insert, later};

fn fragment(time: Timestamp, number: u8, of: i32) -> RawDocumentBuf {
    let mut fragment = rawdoc! {
        "_id": { "_data": fragment_token(time, number) },
        "splitEvent": { "fragment": i32::from(number), "of": of },
    };
    match number {
        1 => fragment.append(cstr!("first"), 1),
        _ => fragment.append(cstr!("second"), 2),
    }
    fragment
}

/// Starts after a fragment, which turns on the stage that splits events, on a server that sends `events`.
fn run(
    events: impl Fn(Timestamp) -> Vec<RawDocumentBuf> + Send + Sync + 'static,
) -> testkit::finished::Finished {
    let hostile = Hostile::new(FakeServer::start(move |request| match &*request.name {
        "getMore" => request.batch(&events(request.now()), &mark(request.now())),
        _ => request.usual(),
    }));
    let start = fragment_token(later(hostile.server.now(), -1), 1);
    let options = ["--start-after", &start, "--count", "2"];
    hostile.watch(&options).run()
}

#[test]
fn refuses_fragments_that_are_not_those_of_one_event_in_order() {
    for (numbers, message) in [
        (
            vec![(2, 3)],
            "the server sent fragment 2 before the first fragment of a large event",
        ),
        (
            vec![(1, 3), (3, 3)],
            "the server sent fragment 3 after fragment 1 of 3 of a large event",
        ),
        (
            vec![(1, 3), (1, 3)],
            "the server sent fragment 1 after fragment 1 of 3 of a large event",
        ),
        (
            vec![(1, 3), (2, 9)],
            "the server sent fragment 2 of 9 after fragment 1 of 3 of a large event",
        ),
        (
            vec![(1, 3)],
            "the server sent an event that is no fragment after fragment 1 of 3 of a large event",
        ),
    ] {
        let finished = run(move |now| {
            let fragments = numbers
                .iter()
                .map(|(number, of)| fragment(later(now, 1), *number, *of));
            let whole = [insert(now)].into_iter();
            whole
                .chain(fragments)
                .chain([insert(later(now, 2))])
                .collect()
        });
        let finished = finished.expect_code(8);
        assert_eq!(finished.stdout.len(), 1, "{}", finished.stderr);
        finished.expect_error(message, "the checkpoint is before the event, so a restart reads it again; if that fails too, look for a proxy or a fault of the server");
    }
}

#[test]
fn joins_fragments_and_prints_a_field_named_like_their_number() {
    let finished = run(|now| {
        let mut own = insert(now);
        own.append(cstr!("splitEvent"), rawdoc! { "fragment": 1, "of": 2 });
        let time = later(now, 1);
        vec![own, fragment(time, 1, 2), fragment(time, 2, 2)]
    });
    let events = finished.expect_code(0).events();
    assert_eq!(events[0]["splitEvent"]["of"]["$numberInt"], "2");
    assert_eq!(events[1].get("splitEvent"), None);
    assert_eq!(events[1]["first"]["$numberInt"], "1");
    assert_eq!(events[1]["second"]["$numberInt"], "2");
}
