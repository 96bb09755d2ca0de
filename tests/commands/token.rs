//! `cswatch token`: what it shows of a token in each form it can be given, and what it refuses.
//! That every kind of token is decoded right is shown in `token`.

use std::fs::{self, File};
use std::io::{self, PipeReader, Write};
use std::os::fd::OwnedFd;
use std::thread;

use bson::RawDocumentBuf;
use cswatch::extjson::{self, Mode};
use mongodb::bson::doc;
use rustix::process::Signal;
use serde_json::Value;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{insert, saved_token};
use testkit::finished::Finished;
use testkit::guard;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// See `token`.
const RECORDED: &str = include_str!("../vectors/tokens.jsonl");

/// The `_data` of the insert of `{_id: 1}`, and what is shown of it where the time is UTC.
const INSERT: &str =
    "826B033B85000000032B022C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B020004";
const INSERT_SHOWN: [&str; 7] = [
    "time            2026-11-22T18:59:17Z",
    r#"cluster time    {"$timestamp":{"t":1795373957,"i":3}}"#,
    "kind            event",
    "ordinal         0",
    "version         1",
    "collection UUID 4fa23587-e23d-4365-b04d-504d163efb9e",
    r#"document key    {"_id":{"$numberInt":"1"}}"#,
];

/// The same of `{_id: 1.5}`, which cannot be read without `_typeBits`; and of a layout yet unknown.
const WITHOUT_TYPE_BITS: &str = "826B033B85000000032B022C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B03800000000000000004";
const OF_VERSION_3: &str =
    "826B033B85000000032B062C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B020004";

/// `cswatch token` where the local time is UTC.
fn token(arguments: &[&str]) -> Cswatch {
    Cswatch::new().args(["token"]).args(arguments).env("TZ", "")
}

/// What it shows, with nothing on stderr.
#[track_caller]
fn shown(cswatch: Cswatch) -> Vec<String> {
    let finished = cswatch.run().expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout
}

/// A pipe that carries this, and then ends.
fn pipe_with(text: impl Into<Vec<u8>>) -> PipeReader {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let text = text.into();
    // A thread, for text that no pipe holds at once. A reader that goes away has read enough.
    thread::spawn(move || {
        let _ = writer.write_all(&text);
    });
    reader
}

/// The recorded tokens that `wanted` picks.
fn recorded(wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let lines = RECORDED.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .filter(wanted)
        .collect()
}

/// What is shown of the first of them.
#[track_caller]
fn shown_of(wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let found = recorded(wanted);
    let found = found.first().expect("such a token was recorded");
    shown(token(&[&found["token"].to_string()]))
}

/// The lines between empty ones.
fn blocks(lines: &[String]) -> Vec<&[String]> {
    lines.split(|line| line.is_empty()).collect()
}

#[test]
fn digits_alone_are_a_token() {
    assert_eq!(shown(token(&[INSERT])), INSERT_SHOWN);
    assert_eq!(shown(token(&[&INSERT.to_lowercase()])), INSERT_SHOWN);
    // As `jq ._id._data` prints it.
    assert_eq!(shown(token(&[&format!("\"{INSERT}\"")])), INSERT_SHOWN);
}

#[test]
fn local_time_stands_beside_utc() {
    let in_july = INSERT.replace("826B033B85", "826A450140");
    let central_europe = "CET-1CEST,M3.5.0,M10.5.0/3";
    for (zone, data, time) in [
        (
            central_europe,
            INSERT,
            "2026-11-22T18:59:17Z (2026-11-22T19:59:17+01:00 here)",
        ),
        (
            central_europe,
            &in_july,
            "2026-07-01T12:00:00Z (2026-07-01T14:00:00+02:00 here)",
        ),
        (
            "<-0930>9:30",
            INSERT,
            "2026-11-22T18:59:17Z (2026-11-22T09:29:17-09:30 here)",
        ),
        ("UTC", INSERT, "2026-11-22T18:59:17Z"),
        ("no such zone", INSERT, "2026-11-22T18:59:17Z"),
    ] {
        let lines = shown(token(&[data]).env("TZ", zone));
        assert_eq!(lines[0], format!("time            {time}"), "{zone}");
    }
}

#[test]
fn local_time_is_that_of_a_zone_known_by_name() {
    // A version 2 file without transitions (RFC 9636): the rule in the last line counts.
    let mut part = b"TZif2".to_vec();
    part.extend([0; 15]);
    for count in [0u32, 0, 0, 0, 1, 4] {
        part.extend(count.to_be_bytes());
    }
    part.extend(19_800i32.to_be_bytes());
    part.extend([0, 0]);
    part.extend(b"IST\0");
    let zone = [&part[..], &part, b"\nIST-5:30\n"].concat();
    let folder = guard::temp_dir("zones-");
    fs::create_dir(folder.path().join("Asia")).expect("a folder can be made");
    fs::write(folder.path().join("Asia/Kolkata"), zone).expect("a file can be written");
    let lines = shown(
        token(&[INSERT])
            .env("TZDIR", folder.path())
            .env("TZ", "Asia/Kolkata"),
    );
    let time = "time            2026-11-22T18:59:17Z (2026-11-23T00:29:17+05:30 here)";
    assert_eq!(lines[0], time);
}

#[test]
fn type_bits_tell_the_type_of_a_number() {
    let lines = shown_of(|line| line["token"]["_typeBits"]["$binary"]["base64"] == "gYA=");
    assert_eq!(
        lines[4..],
        [
            "version         1",
            "collection UUID 2fb9a2dc-a2d1-41ad-8916-0fe31e21aba8",
            r#"document key    {"_id":{"$numberLong":"1"}}"#,
            "type bits       8180",
        ]
    );
}

#[test]
fn every_kind_of_token_is_named() {
    let high_water_mark = shown_of(|line| {
        line["operationType"].is_null() && line["fragment"].is_null() && line["server"] == "6.0.27"
    });
    assert_eq!(
        high_water_mark[2..],
        [
            "kind            high-water mark",
            "ordinal         0",
            "version         1"
        ]
    );
    let invalidate = shown_of(|line| line["operationType"] == "invalidate");
    assert_eq!(invalidate[2], "kind            invalidate");
    let fragment = shown_of(|line| line["fragment"] == 2);
    assert_eq!(fragment[2], "kind            fragment 2");
    let key = r#"document key    {"_id":{"$numberDouble":"2.25"}}"#;
    assert!(fragment.contains(&key.to_owned()), "{fragment:?}");
    let type_line = "operation type  update";
    assert!(fragment.contains(&type_line.to_owned()), "{fragment:?}");
    let in_transaction = shown_of(|line| line["ordinal"] == 64);
    assert_eq!(in_transaction[3], "ordinal         64");
}

#[test]
fn what_an_expanded_event_was_done_to_is_shown() {
    let lines =
        shown_of(|line| line["operationType"] == "modify" && line["stream"] == "events, expanded");
    assert_eq!(
        lines[6..],
        [
            "operation type  modify",
            r#"description     {"index":{"name":"y","hidden":true}}"#
        ]
    );
}

#[test]
fn every_recorded_token_is_shown_with_its_document_key() {
    let all = recorded(|_| true);
    let mut input = String::new();
    for line in &all {
        input += &format!("{}\n", line["token"]);
    }
    let lines = shown(token(&[]).stdin(pipe_with(input.clone())));
    let blocks = blocks(&lines);
    let objects = shown(token(&["--json"]).stdin(pipe_with(input)));
    assert_eq!((blocks.len(), objects.len()), (all.len(), all.len()));
    let mut keys = 0;
    for ((line, block), object) in all.iter().zip(blocks).zip(objects) {
        // Only the first fragment of an event tells its key.
        let Some(key) = line["documentKeyBson"].as_str() else {
            continue;
        };
        let key = const_hex::decode(key).expect("hex");
        let key = RawDocumentBuf::from_bytes(key).expect("BSON");
        let key = extjson::to_text(&key, Mode::Canonical).expect("a document");
        let expected = format!("document key    {key}");
        assert!(block.contains(&expected), "{line}: {block:?}");
        let expected = format!(r#","documentKey":{key}"#);
        assert!(object.contains(&expected), "{line}: {object}");
        keys += 1;
    }
    assert!(keys > 400, "{keys}");
}

#[test]
fn json_has_a_field_for_each_thing_that_is_known() {
    let of = |data: &str| shown(token(&["--json", data]).env("TZ", "CET-1"));
    let expected = r#"{"time":"2026-11-22T18:59:17Z","clusterTime":{"$timestamp":{"t":1795373957,"i":3}},"kind":"event","ordinal":0,"version":1,"collectionUUID":"4fa23587-e23d-4365-b04d-504d163efb9e","documentKey":{"_id":{"$numberInt":"1"}}}"#;
    assert_eq!(of(INSERT), [expected]);
    let fragment = recorded(|line| line["fragment"] == 2);
    let lines = of(&fragment[0]["token"].to_string());
    let object: Value = serde_json::from_str(&lines[0]).expect("JSON");
    let names: Vec<_> = object.as_object().expect("an object").keys().collect();
    let expected = [
        "time",
        "clusterTime",
        "kind",
        "fragment",
        "ordinal",
        "version",
        "collectionUUID",
        "documentKey",
        "operationType",
        "typeBits",
    ];
    assert_eq!(names, expected);
    assert_eq!(object["kind"], "fragment");
    assert_eq!(object["fragment"], 2);
    assert_eq!(object["typeBits"], "828000");
    let both = shown(token(&["--json"]).stdin(pipe_with(format!("{INSERT}\n{INSERT}"))));
    assert_eq!(both.len(), 2);
}

#[test]
fn events_are_taken_however_they_were_printed() {
    let scenario = Scenario::new("token_of_event");
    let reference = Reference::open(scenario.coll("c").watch());
    let ids = [doc! { "_id": 1.5 }, doc! { "_id": { "a": 5_i64 } }];
    block_on(scenario.coll("c").insert_many(ids)).expect("an insert");
    let events = |options: &[&str]| {
        let watch = scenario.catch_up(&reference, ["--coll", "c"]).args(options);
        watch.run().expect_code(0).stdout.join("\n")
    };
    let canonical = shown(token(&[]).stdin(pipe_with(events(&[]))));
    let shown_blocks = blocks(&canonical);
    assert_eq!(shown_blocks.len(), 2);
    let keys = [
        r#"document key    {"_id":{"$numberDouble":"1.5"}}"#,
        r#"document key    {"_id":{"a":{"$numberLong":"5"}}}"#,
    ];
    for (block, key) in shown_blocks.iter().zip(keys) {
        assert_eq!(block[2], "kind            event");
        assert_eq!(block[6], key);
        assert!(block[7].starts_with("type bits       "), "{block:?}");
    }
    for options in [&["--format", "relaxed"][..], &["--pretty"]] {
        let input = events(options);
        let lines = shown(token(&["-"]).stdin(pipe_with(input.clone())));
        assert_eq!(lines, canonical, "{options:?}");
        let file = scenario.path("events");
        fs::write(&file, input).expect("a file can be written");
        let lines = shown(token(&[file.to_str().expect("a path of ASCII")]));
        assert_eq!(lines, canonical, "{options:?}");
    }
}

#[test]
fn tokens_of_a_live_watch_are_shown_as_they_come() {
    let scenario = Scenario::new("token_of_live_watch");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut watch = scenario
        .cswatch(["--coll", "c", "--no-resume"])
        .stdout(Stdout::File(File::from(OwnedFd::from(writer))))
        .spawn();
    let mut decoder = token(&[]).stdin(reader).spawn();
    watch.wait_open();
    for id in 1..=2 {
        insert(&scenario.coll("c"), [id]);
        let key = format!(r#"document key    {{"_id":{{"$numberInt":"{id}"}}}}"#);
        decoder.lines_until(|line| line == key);
    }
    watch.signal(Signal::TERM);
    watch.wait().expect_code(0);
    decoder.wait().expect_code(0);
}

#[test]
fn all_forms_may_come_in_one_input() {
    let input = format!(
        "\n{INSERT}\r\n  \"{INSERT}\"{{\"_data\":\"{INSERT}\"}}{{\"_id\":\n{{\"_data\":\"{INSERT}\"\n}}\n,\"n\":1}}\n\n{INSERT}"
    );
    let lines = shown(token(&[]).stdin(pipe_with(input)));
    let blocks = blocks(&lines);
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        assert_eq!(block, INSERT_SHOWN);
    }
}

#[test]
fn rest_of_an_event_may_be_anything() {
    // Nested deeper than parsers like, with a field of a position file, and with text that is not UTF-8.
    let mut event = format!(r#"{{"_id":{{"_data":"{INSERT}"}},"token":1,"a":"#).into_bytes();
    event.extend("[".repeat(400).bytes());
    event.extend(b"\"\xff\"");
    event.extend("]".repeat(400).bytes());
    event.push(b'}');
    assert_eq!(shown(token(&[]).stdin(pipe_with(event))), INSERT_SHOWN);
}

#[test]
fn position_file_is_taken_whole_or_damaged() {
    let scenario = Scenario::new("token_of_position");
    let file = scenario.path("position.json");
    let path = file.to_str().expect("a path of ASCII");
    let reference = Reference::open(scenario.coll("c").watch());
    insert(&scenario.coll("c"), [7]);
    scenario
        .cswatch(["--coll", "c", "--resume-file", path, "--count", "1"])
        .args(reference.start())
        .run()
        .expect_code(0);
    let whole = shown(token(&[path]));
    assert_eq!(whole[6], r#"document key    {"_id":{"$numberInt":"7"}}"#);
    assert_eq!(shown(token(&[&saved_token(&file)])), whole);
    let text = fs::read_to_string(&file).expect("a position file");
    assert_eq!(shown(token(&[&text])), whole);
    assert_eq!(shown(token(&[]).stdin(pipe_with(text.clone()))), whole);

    fs::write(&file, text.replace(r#""i":"#, r#""i":9"#)).expect("a file can be written");
    let finished = token(&[path]).run().expect_code(0);
    assert_eq!(finished.stdout, whole);
    let warning = format!(
        "cswatch: warning: {path} is damaged: its checksum does not fit its content; its token is shown as it stands"
    );
    assert!(finished.stderr.contains(&warning), "{}", finished.stderr);
}

#[test]
fn nothing_is_made_beside_a_file() {
    let folder = guard::temp_dir("beside-");
    let file = folder.path().join("position.json");
    fs::write(&file, INSERT).expect("a file can be written");
    let lines = shown(token(&[file.to_str().expect("a path of ASCII")]));
    assert_eq!(lines, INSERT_SHOWN);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn time_is_shown_of_what_cannot_be_decoded() {
    let input = format!("{INSERT}\n{OF_VERSION_3}\n{WITHOUT_TYPE_BITS}\n{INSERT}\n");
    let reasons = [
        "the resume token is of version 3, whose layout is unknown; versions 1 and 2 are known",
        "the resume token's number at position 82 of _data cannot be an int32: its _typeBits are missing or not its own; the whole token is needed, not only _data",
    ];
    let said = |finished: &Finished| {
        let expected = "cswatch: error: not decoded beyond the time: 2 of 4 tokens";
        let stderr = &finished.stderr;
        assert!(stderr.ends_with(expected), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    };
    let finished = token(&[])
        .stdin(pipe_with(input.clone()))
        .run()
        .expect_code(1);
    said(&finished);
    let blocks = blocks(&finished.stdout);
    assert_eq!(blocks.len(), 4);
    assert_eq!(blocks[3], INSERT_SHOWN);
    for (block, reason) in blocks[1..3].iter().zip(reasons) {
        assert_eq!(block[..2], INSERT_SHOWN[..2]);
        assert_eq!(block[2..], [format!("not decoded     {reason}")]);
    }
    let finished = token(&["--json"])
        .stdin(pipe_with(input))
        .run()
        .expect_code(1);
    said(&finished);
    for (object, reason) in finished.events()[1..3].iter().zip(reasons) {
        assert_eq!(object["time"], "2026-11-22T18:59:17Z");
        assert_eq!(object["notDecoded"], reason);
        assert_eq!(object["kind"], Value::Null);
    }
}

#[test]
fn made_up_text_in_a_token_stays_on_its_line() {
    // {operationType: "a\n\x1b[2Jb"}
    let made_up = INSERT.replace(
        "1E5F6964002B020004",
        "3C6F7065726174696F6E54797065003C610A1B5B324A62000004",
    );
    let lines = shown(token(&[&made_up]));
    assert_eq!(lines[6], "operation type  a  [2Jb");
    assert_eq!(lines.len(), 7);
}

#[test]
fn what_is_no_token_is_refused_by_its_place() {
    let way_out = "; give the _data of an event's _id (hex), the whole _id or the event as Extended JSON, or a position file";
    let folder = guard::temp_dir("refused-");
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file can be written");
        path.to_str().expect("a path of ASCII").to_owned()
    };
    let empty = path("empty", "\n");
    let text = path("text", &format!("{INSERT}\nhello\n"));
    let torn = path(
        "torn",
        &format!("{INSERT}\n\n{{\n\"_id\":{{\"_data\":\"{INSERT}\""),
    );
    for (argument, message) in [
        (
            "82",
            "TOKEN, line 1: the resume token's _data breaks off at position 2: 82".to_owned(),
        ),
        (
            &INSERT[1..],
            "TOKEN, line 1: the resume token's _data has an odd number of hex digits, 89: some are missing: 26B".to_owned(),
        ),
        (
            "826Bzz",
            "'826Bzz' is no token, and cannot be read as a file: No such file or directory".to_owned(),
        ),
        ("{", "TOKEN, line 1: not JSON: EOF while parsing an object".to_owned()),
        (
            r#"{"_id":5}"#,
            r#"TOKEN, line 1: it is no token, and neither an event nor a position: {"_id":5}"#.to_owned(),
        ),
        (
            r#"{"_data":5}"#,
            r#"TOKEN, line 1: the resume token's _data is not one string: {"_data":5}"#.to_owned(),
        ),
        ("\"", "TOKEN, line 1: not JSON: EOF while parsing a string".to_owned()),
        (&empty, format!("{empty} holds no resume token")),
        (
            &text,
            format!("{text}, line 2: the resume token's _data is not hex: 'h' at position 0: hello"),
        ),
        (&torn, format!("{torn}, line 4: not JSON: EOF while parsing an object")),
    ] {
        let stderr = token(&[argument]).run().expect_code(2).stderr;
        assert!(stderr.contains(&format!("cswatch: error: {message}")), "{stderr}");
        assert!(stderr.contains(way_out), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let folder = folder.path().to_str().expect("a path of ASCII");
    let stderr = token(&[folder]).run().expect_code(2).stderr;
    let message = format!("{folder} cannot be read: Is a directory");
    assert!(stderr.contains(&message), "{stderr}");
}

#[test]
fn what_came_before_a_bad_line_is_shown() {
    let finished = token(&[])
        .stdin(pipe_with(format!("{INSERT}\n\ncswatch: watching shop\n")))
        .run()
        .expect_code(2);
    assert_eq!(finished.stdout, INSERT_SHOWN);
    let message = "stdin, line 3: the resume token's _data is not hex: 's' at position 1: cswatch: watching shop; give";
    assert!(finished.stderr.contains(message), "{}", finished.stderr);
}

#[test]
fn pipe_without_events_is_no_error() {
    assert!(shown(token(&[]).stdin(pipe_with(""))).is_empty());
    assert!(shown(token(&["-"])).is_empty());
}

#[test]
fn reader_of_tokens_may_go_away() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let running = token(&[]).stdin(reader).stdout(Stdout::Closed).spawn();
    writeln!(writer, "{INSERT}").expect("a line can be written");
    // stdin stays open.
    let finished = running.wait().expect_code(0);
    assert_eq!(finished.stderr, "");
    drop(writer);
}

#[test]
fn full_device_is_an_output_error() {
    let full = File::options().write(true).open("/dev/full");
    let finished = token(&[INSERT])
        .stdout(Stdout::File(full.expect("Linux has /dev/full")))
        .run()
        .expect_code(6);
    let message = "cswatch: error: stdout cannot be written: No space left on device";
    assert!(finished.stderr.contains(message), "{}", finished.stderr);
}

#[test]
fn environment_of_a_watch_does_not_matter() {
    let in_a_container = token(&[INSERT])
        .env("CSWATCH_URI", "mongodb://db:27017")
        .env("CSWATCH_DB", "shop")
        .env("CSWATCH_COLL", "orders")
        .env("CSWATCH_WAIT", "1")
        .env("CSWATCH_RESUME_FILE", "/var/lib/cswatch/shop.json");
    assert_eq!(shown(in_a_container), INSERT_SHOWN);
}
