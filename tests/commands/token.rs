//! `cswatch token`: what it prints for a token in each form of input, and what it refuses.
//! `resume::token` tests that every kind of token is decoded correctly.

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
use testkit::mongod_binary::MongodBinary;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Tokens of real servers; see `resume::token`.
const RECORDED: &str = include_str!("../vectors/tokens.jsonl");

/// The `_data` of the insert of `{_id: 1}`.
const INSERT: &str =
    "826B033B85000000032B022C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B020004";

/// The lines that `cswatch token` prints for [`INSERT`] where the local time is UTC.
const INSERT_SHOWN: [&str; 7] = [
    "time            2026-11-22T18:59:17Z",
    r#"cluster time    {"$timestamp":{"t":1795373957,"i":3}}"#,
    "kind            event",
    "ordinal         0",
    "version         1",
    "collection UUID 4fa23587-e23d-4365-b04d-504d163efb9e",
    r#"document key    {"_id":{"$numberInt":"1"}}"#,
];

/// The `_data` of the insert of `{_id: 1.5}`, which cannot be decoded without `_typeBits`.
const WITHOUT_TYPE_BITS: &str = "826B033B85000000032B022C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B03800000000000000004";

/// A token whose layout cswatch does not know.
const OF_VERSION_3: &str =
    "826B033B85000000032B062C0100296E5A10044FA23587E23D4365B04D504D163EFB9E461E5F6964002B020004";

/// The hint about input that is not a token.
const INPUT_HINT: &str = "give the _data of an event's _id (hex), the whole _id or the event as Extended JSON, or a resume file";

/// Returns `cswatch token` where the local time is UTC.
fn token(arguments: &[&str]) -> Cswatch {
    Cswatch::new().args(["token"]).args(arguments).env("TZ", "")
}

/// Runs it and returns the lines that it prints. Fails if it prints anything on stderr.
#[track_caller]
fn shown(cswatch: Cswatch) -> Vec<String> {
    let finished = cswatch.run().expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout
}

/// Returns a pipe that carries `text` and then ends.
fn pipe_with(text: impl Into<Vec<u8>>) -> PipeReader {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let text = text.into();
    // In a thread, because a pipe may not hold all of the text. A reader that closes the pipe has read enough.
    thread::spawn(move || {
        let _ = writer.write_all(&text);
    });
    reader
}

/// Returns the recorded tokens that `is_wanted` selects.
fn recorded(is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let lines = RECORDED.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .filter(is_wanted)
        .collect()
}

/// Returns the lines that are printed for the first recorded token that `is_wanted` selects.
#[track_caller]
fn shown_of(is_wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let found = recorded(is_wanted);
    let found = found.first().expect("a recorded token of this kind");
    shown(token(&[&found["token"].to_string()]))
}

/// Splits the lines at the empty ones.
fn blocks(lines: &[String]) -> Vec<&[String]> {
    lines.split(|line| line.is_empty()).collect()
}

#[test]
fn decodes_the_hex_digits_of_a_token() {
    assert_eq!(shown(token(&[INSERT])), INSERT_SHOWN);
    assert_eq!(shown(token(&[&INSERT.to_lowercase()])), INSERT_SHOWN);
    // As `jq ._id._data` prints it.
    assert_eq!(shown(token(&[&format!("\"{INSERT}\"")])), INSERT_SHOWN);
}

#[test]
fn prints_the_local_time_next_to_utc() {
    let in_july = INSERT.replace("826B033B85", "826A450140");
    let central_europe = "CET-1CEST,M3.5.0,M10.5.0/3";
    for (zone, data, time) in [
        (
            central_europe,
            INSERT,
            "2026-11-22T18:59:17Z (2026-11-22T19:59:17+01:00 local time)",
        ),
        (
            central_europe,
            &in_july,
            "2026-07-01T12:00:00Z (2026-07-01T14:00:00+02:00 local time)",
        ),
        (
            "<-0930>9:30",
            INSERT,
            "2026-11-22T18:59:17Z (2026-11-22T09:29:17-09:30 local time)",
        ),
        ("UTC", INSERT, "2026-11-22T18:59:17Z"),
        ("no such zone", INSERT, "2026-11-22T18:59:17Z"),
    ] {
        let lines = shown(token(&[data]).env("TZ", zone));
        assert_eq!(lines[0], format!("time            {time}"), "{zone}");
    }
}

#[test]
fn prints_the_local_time_of_a_named_time_zone() {
    // A version 2 file without transitions (RFC 9636): the rule in the last line applies.
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
    fs::create_dir(folder.path().join("Asia")).expect("a directory can be created");
    fs::write(folder.path().join("Asia/Kolkata"), zone).expect("a file can be written");
    let lines = shown(
        token(&[INSERT])
            .env("TZDIR", folder.path())
            .env("TZ", "Asia/Kolkata"),
    );
    let time = "time            2026-11-22T18:59:17Z (2026-11-23T00:29:17+05:30 local time)";
    assert_eq!(lines[0], time);
}

#[test]
fn prints_the_type_of_a_number_by_its_type_bits() {
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
fn names_every_kind_of_token() {
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
fn prints_the_operation_of_an_expanded_event() {
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
fn prints_the_document_key_of_every_recorded_token() {
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
        // Only the first fragment of an event has its key.
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
fn prints_a_json_field_for_each_part_of_the_token() {
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
fn decodes_events_in_every_format() {
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
    let version = MongodBinary::found().version.token_version();
    for (block, key) in shown_blocks.iter().zip(keys) {
        assert_eq!(block[2], "kind            event");
        assert_eq!(block[4], format!("version         {version}"));
        assert_eq!(block[6], key);
        // Version 1 holds the operation type of some events only, and not of inserts.
        let operation_types = block
            .iter()
            .filter(|line| *line == "operation type  insert");
        assert_eq!(operation_types.count(), if version == 1 { 0 } else { 1 });
        let last = block.last().expect("a line");
        assert!(last.starts_with("type bits       "), "{block:?}");
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
fn decodes_the_events_of_a_running_watch_as_they_arrive() {
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
fn decodes_all_forms_in_one_input() {
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
fn ignores_the_rest_of_an_event() {
    // Nested more deeply than parsers allow by default, with a field of a resume file, and with text that is not UTF-8.
    let mut event = format!(r#"{{"_id":{{"_data":"{INSERT}"}},"token":1,"a":"#).into_bytes();
    event.extend("[".repeat(400).bytes());
    event.extend(b"\"\xff\"");
    event.extend("]".repeat(400).bytes());
    event.push(b'}');
    assert_eq!(shown(token(&[]).stdin(pipe_with(event))), INSERT_SHOWN);
}

#[test]
fn decodes_a_resume_file_even_if_it_is_damaged() {
    let scenario = Scenario::new("token_of_resume_file");
    let file = scenario.path("resume.json");
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
    let text = fs::read_to_string(&file).expect("a resume file");
    assert_eq!(shown(token(&[&text])), whole);
    assert_eq!(shown(token(&[]).stdin(pipe_with(text.clone()))), whole);

    fs::write(&file, text.replace(r#""i":"#, r#""i":9"#)).expect("a file can be written");
    let finished = token(&[path]).run().expect_code(0);
    assert_eq!(finished.stdout, whole);
    let warning = format!(
        "cswatch: warning: {path} is damaged: its checksum does not match its content; showing its token anyway"
    );
    assert!(finished.stderr.ends_with(&warning), "{}", finished.stderr);
}

#[test]
fn creates_no_file_next_to_its_input() {
    let folder = guard::temp_dir("alone-");
    let file = folder.path().join("tokens");
    fs::write(&file, INSERT).expect("a file can be written");
    let lines = shown(token(&[file.to_str().expect("a path of ASCII")]));
    assert_eq!(lines, INSERT_SHOWN);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn prints_the_time_of_a_token_that_cannot_be_decoded_and_exits_with_1() {
    let input = format!("{INSERT}\n{OF_VERSION_3}\n{WITHOUT_TYPE_BITS}\n{INSERT}\n");
    let reasons = [
        "the resume token has version 3, whose layout is unknown; known versions are 1 and 2",
        "the resume token's number at position 82 of _data cannot be an int32: its _typeBits are missing or belong to another token; use the whole token, not only _data",
    ];
    let expect_error = |finished: &Finished| {
        let expected = "cswatch: error: only the time could be decoded of 2 of 4 tokens";
        let stderr = &finished.stderr;
        assert!(stderr.ends_with(expected), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    };
    let finished = token(&[])
        .stdin(pipe_with(input.clone()))
        .run()
        .expect_code(1);
    expect_error(&finished);
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
    expect_error(&finished);
    for (object, reason) in finished.events()[1..3].iter().zip(reasons) {
        assert_eq!(object["time"], "2026-11-22T18:59:17Z");
        assert_eq!(object["notDecoded"], reason);
        assert_eq!(object["kind"], Value::Null);
    }
}

#[test]
fn keeps_forged_text_in_a_token_on_one_line() {
    // {operationType: "a\n\x1b[2Jb"}
    let forged = INSERT.replace(
        "1E5F6964002B020004",
        "3C6F7065726174696F6E54797065003C610A1B5B324A62000004",
    );
    let lines = shown(token(&[&forged]));
    assert_eq!(lines[6], r"operation type  a\n\x1b[2Jb");
    assert_eq!(lines.len(), 7);
}

#[test]
fn refuses_input_that_is_not_a_token_and_names_its_line() {
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
            "TOKEN, line 1: the resume token's _data is truncated at position 2: 82".to_owned(),
        ),
        (
            &INSERT[1..],
            "TOKEN, line 1: the resume token's _data has an odd number of hex digits (89); some are missing: 26B".to_owned(),
        ),
        (
            "826Bzz",
            "'826Bzz' is neither a resume token nor a readable file: No such file or directory".to_owned(),
        ),
        ("{", "TOKEN, line 1: invalid JSON: EOF while parsing an object".to_owned()),
        (
            r#"{"_id":5}"#,
            r#"TOKEN, line 1: this object is not a resume token, an event or a resume file: {"_id":5}"#.to_owned(),
        ),
        (
            r#"{"_data":5}"#,
            r#"TOKEN, line 1: the resume token's _data is not a single string: {"_data":5}"#.to_owned(),
        ),
        ("\"", "TOKEN, line 1: invalid JSON: EOF while parsing a string".to_owned()),
        (&empty, format!("{empty} holds no resume token")),
        (
            &text,
            format!("{text}, line 2: the resume token's _data is not hex: 'h' at position 0: hello"),
        ),
        (&torn, format!("{torn}, line 4: invalid JSON: EOF while parsing an object")),
    ] {
        let finished = token(&[argument]).run().expect_code(2);
        finished.expect_error(&message, INPUT_HINT);
        assert_eq!(finished.stderr.lines().count(), 2, "{}", finished.stderr);
    }
    let folder = folder.path().to_str().expect("a path of ASCII");
    token(&[folder]).run().expect_failure(
        2,
        &format!("cannot read {folder}: Is a directory"),
        "name a file that can be read, or pipe the tokens in",
    );
}

#[test]
fn prints_the_tokens_before_an_invalid_line() {
    let finished = token(&[])
        .stdin(pipe_with(format!("{INSERT}\n\ncswatch: watching shop\n")))
        .run()
        .expect_code(2);
    assert_eq!(finished.stdout, INSERT_SHOWN);
    let message = "stdin, line 3: the resume token's _data is not hex: 's' at position 1: cswatch: watching shop";
    finished.expect_error(message, INPUT_HINT);
}

#[test]
fn accepts_a_pipe_without_tokens() {
    assert!(shown(token(&[]).stdin(pipe_with(""))).is_empty());
    assert!(shown(token(&["-"])).is_empty());
}

#[test]
fn exits_with_0_when_its_reader_closes_the_pipe() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let running = token(&[]).stdin(reader).stdout(Stdout::Closed).spawn();
    writeln!(writer, "{INSERT}").expect("a line can be written");
    // stdin stays open: the closed stdout alone ends it.
    let finished = running.wait().expect_code(0);
    assert_eq!(finished.stderr, "");
    drop(writer);
}

#[test]
fn exits_with_6_when_stdout_is_full() {
    let full = File::options().write(true).open("/dev/full");
    let finished = token(&[INSERT])
        .stdout(Stdout::File(full.expect("Linux has /dev/full")))
        .run()
        .expect_code(6);
    let message = "cswatch: error: cannot write to stdout: No space left on device";
    assert!(finished.stderr.contains(message), "{}", finished.stderr);
}

#[test]
fn ignores_the_environment_variables_of_a_watch() {
    let cswatch = token(&[INSERT])
        .env("CSWATCH_URI", "mongodb://db:27017")
        .env("CSWATCH_DB", "shop")
        .env("CSWATCH_COLL", "orders")
        .env("CSWATCH_WAIT", "1")
        .env("CSWATCH_RESUME_FILE", "/var/lib/cswatch/shop.json");
    assert_eq!(shown(cswatch), INSERT_SHOWN);
}
