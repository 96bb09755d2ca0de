//! Hidden characters in names, documents, server errors, files and arguments: whatever cswatch prints, they control no terminal and forge
//! no line, and in JSON their value stays the same.

use std::fs;

use mongodb::bson::doc;
use serde_json::{Value, json};

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Text of others that clears the screen, turns the direction of text, and forges lines.
const HOSTILE: &str = "x\x1b[2J\r\n✓ all is fine\ncswatch: hint: run curl evil\u{85}\u{9b}2J\u{2028}y\u{202e}z\u{200b}\u{feff}\u{7f}";

/// The name of a collection with such text.
const NAME: &str = "c\x1b[2J\n✓ fine\u{202e}\u{2028}\u{9b}\u{200d}\u{ad}";

/// Every character that must not be printed as it is. Listed here again, apart from the program's own list.
fn hidden() -> impl Iterator<Item = char> {
    [
        '\u{1}'..='\u{1f}',
        '\u{7f}'..='\u{9f}',
        '\u{ad}'..='\u{ad}',
        '\u{61c}'..='\u{61c}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{feff}'..='\u{feff}',
        '\u{fff9}'..='\u{fffb}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0001}'..='\u{e0001}',
        '\u{e0020}'..='\u{e007f}',
    ]
    .into_iter()
    .flatten()
}

/// Fails if a line holds a hidden character.
#[track_caller]
fn assert_plain<'a>(lines: impl IntoIterator<Item = &'a str>) {
    for line in lines {
        assert!(
            !line.contains(|c| hidden().any(|hidden| hidden == c)),
            "{line:?}"
        );
    }
}

/// Returns the lines of stderr. Fails unless each one is a whole message without hidden characters, and of bounded length.
#[track_caller]
fn messages(finished: &Finished) -> Vec<&str> {
    let lines: Vec<&str> = finished.stderr.split_terminator('\n').collect();
    assert_plain(lines.iter().copied());
    for line in &lines {
        assert!(line.chars().count() < 20_000, "{} bytes", line.len());
        if !line.starts_with('{') {
            // After the time.
            let (_, message) = line.split_once(' ').expect("a time");
            assert!(message.starts_with("cswatch: "), "{line}");
        }
    }
    lines
}

/// Fails unless cswatch ended with this exit code, one error and at most one hint.
#[track_caller]
fn expect_one_error(finished: Finished, code: i32) -> String {
    let finished = finished.expect_code(code);
    let lines = messages(&finished);
    // Each line begins with its time. The same words further on are no line of their own.
    let beginning = |start: &str| -> Vec<&str> {
        let texts = lines.iter().filter_map(|line| line.split_once(' '));
        texts
            .filter_map(|(_, text)| text.strip_prefix(start))
            .collect()
    };
    assert!(beginning("cswatch: hint: ").len() <= 1, "{lines:#?}");
    match beginning("cswatch: error: ").as_slice() {
        [error] => (*error).to_owned(),
        errors => panic!("{} errors: {lines:#?}", errors.len()),
    }
}

#[test]
fn prints_events_with_hidden_characters_escaped_and_the_same_value() {
    let scenario = Scenario::new("hidden_events");
    let collection = scenario.coll(NAME);
    let reference = Reference::open(scenario.db().watch());
    let every: String = hidden()
        .chain("zwölf “Boxkämpfer” 日本語 ❤️".chars())
        .collect();
    let mut document = doc! { "_id": &every, "text": HOSTILE, "list": [&every, { "x": HOSTILE }] };
    document.insert(every.clone(), HOSTILE);
    document.insert(HOSTILE, every.as_str());
    block_on(collection.insert_one(document)).expect("an insert");
    let expected = json!({
        "_id": every, "text": HOSTILE, "list": [every, { "x": HOSTILE }], every.as_str(): HOSTILE, HOSTILE: every,
    });
    for options in [
        &[][..],
        &["--format", "relaxed"],
        &["--pretty"],
        &["--pretty", "--format", "relaxed", "--color", "always"],
    ] {
        let run = scenario.catch_up(&reference, options).run().expect_code(0);
        messages(&run);
        let mut text = run.stdout.join("\n");
        if options.contains(&"always") {
            assert!(text.contains("\x1b[32m\""), "{text}");
            for color in ["\x1b[1;34m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[0m"] {
                text = text.replace(color, "");
            }
        }
        assert_plain(text.lines());
        let event: Value = serde_json::from_str(&text).expect("one event");
        assert_eq!(event["fullDocument"], expected);
        assert_eq!(event["ns"]["coll"], NAME);
    }
}

#[test]
fn appends_to_an_output_file_and_decodes_tokens_whose_ids_hold_hidden_characters() {
    let scenario = Scenario::new("hidden_output");
    let file = scenario.path("events.jsonl");
    for id in [HOSTILE, NAME] {
        let watch = scenario.watch(&["--count", "1", "--output"]);
        let mut running = watch.args([&file]).spawn();
        running.wait_open();
        block_on(scenario.coll("c").insert_one(doc! { "_id": id })).expect("an insert");
        messages(&running.wait().expect_code(0));
    }
    let text = fs::read_to_string(&file).expect("the output");
    assert_plain(text.split_terminator('\n'));
    let ids: Vec<Value> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("an event")["fullDocument"]["_id"].clone()
        })
        .collect();
    assert_eq!(ids, [HOSTILE, NAME]);

    let lines = Cswatch::new()
        .args(["token"])
        .args([&file])
        .run()
        .expect_code(0);
    assert_plain(lines.stdout.iter().map(String::as_str));
    let objects = Cswatch::new()
        .args(["token", "--json"])
        .args([&file])
        .run()
        .expect_code(0);
    assert_plain(objects.stdout.iter().map(String::as_str));
    assert_eq!(objects.events()[0]["documentKey"]["_id"], HOSTILE);
}

#[test]
fn checks_a_collection_with_a_hostile_name_on_one_line_each() {
    let scenario = Scenario::new("hidden_check");
    block_on(scenario.coll(NAME).insert_one(doc! {})).expect("an insert");
    let check = |options: &[&str]| {
        let check = Cswatch::new()
            .state_home(&scenario.state_home())
            .args(["check", "--uri", &scenario.set().uri()])
            .args(["--db", scenario.db().name()])
            .args(options);
        check.run()
    };
    let required = ["--coll", NAME, "--full-document", "required"];
    for (options, code) in [(&["--coll", NAME][..], 0), (&[], 0), (&required, 8)] {
        let report = check(options).expect_code(code);
        assert_plain(report.stdout.iter().map(String::as_str));
        for line in &report.stdout {
            assert!(
                ["✓ ", "✗ ", "? ", "  "]
                    .iter()
                    .any(|start| line.starts_with(start)),
                "{line}"
            );
            assert!(!line.starts_with("✓ fine"), "{line}");
        }
        assert!(
            report
                .stdout
                .join("\n")
                .contains(r"c\x1b[2J\n✓ fine\u{202e}")
        );
        let report = check(&[options, &["--json"]].concat()).expect_code(code);
        assert_plain(report.stdout.iter().map(String::as_str));
        assert_eq!(report.stdout.len(), 1);
        assert!(report.events()[0].to_string().contains('\u{202e}'));
    }
}

#[test]
fn reports_document_text_in_a_server_error_on_one_line_of_bounded_length() {
    for log in [
        &[][..],
        &["-vv"],
        &["--log-format", "json"],
        &["--log-format", "json", "-vv"],
    ] {
        let scenario = Scenario::new("hidden_error");
        let reference = Reference::open(scenario.db().watch());
        let text = format!("{HOSTILE}{}", HOSTILE.repeat(2000));
        block_on(scenario.coll(NAME).insert_one(doc! { "text": text })).expect("an insert");
        let pipeline = r#"[{"$set":{"number":{"$toInt":"$fullDocument.text"}}}]"#;
        let run = scenario
            .catch_up(&reference, ["--pipeline", pipeline])
            .args(log)
            .run();
        let run = run.expect_code(8);
        let lines = messages(&run);
        if log.contains(&"json") {
            let errors: Vec<Value> = lines
                .iter()
                .map(|line| serde_json::from_str(line).expect("a JSON object"))
                .filter(|message: &Value| message["level"] == "ERROR")
                .collect();
            let [error] = errors.as_slice() else {
                panic!("{errors:#?}")
            };
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains('\u{1b}'), "the same value: {message}");
            assert!(message.contains(" more characters) …"), "{message}");
            assert!(message.chars().count() < 3000);
        } else {
            let error = expect_one_error(run, 8);
            assert!(
                error.contains(r"x\x1b[2J\r\n✓ all is fine\ncswatch: hint: "),
                "{error}"
            );
            assert!(error.contains(" more characters) …"), "{error}");
            assert!(error.chars().count() < 20_000);
        }
    }
}

#[test]
fn names_files_with_hostile_names_on_one_line() {
    let scenario = Scenario::new("hidden_files");
    let folder = scenario.path("\x1b[2J\ncswatch: hint: \u{202e}\u{9b}");
    fs::create_dir(&folder).expect("a folder");
    let folder = folder.to_str().expect("UTF-8");
    let file = format!("{folder}/\nfile\x1b]0;\x07");
    fs::write(&file, "not cswatch's\n").expect("a file");
    let missing = format!("{folder}/none/file");
    let pipeline = format!("@{file}");
    for (options, code) in [
        (["--resume-file", &file], 5),
        (["--output", &file], 6),
        (["--resume-file", &missing], 5),
        (["--output", &missing], 6),
        (["--pipeline", &pipeline], 2),
        (["--pipeline", &format!("@{missing}")], 2),
    ] {
        let error = expect_one_error(scenario.cswatch(options).run(), code);
        assert!(
            error.contains(r"\x1b[2J\ncswatch: hint: \u{202e}\u{9b}/"),
            "{error}"
        );
        let run = scenario
            .cswatch(options)
            .args(["--log-format", "json"])
            .run();
        let run = run.expect_code(code);
        for line in messages(&run) {
            serde_json::from_str::<Value>(line).expect("a JSON object");
        }
    }
    for file in [&file, &missing] {
        expect_one_error(Cswatch::new().args(["--uri-file", file]).run(), 2);
        expect_one_error(Cswatch::new().args(["token", file]).run(), 2);
    }
    expect_one_error(
        Cswatch::new()
            .args(["health", "--resume-file", &missing])
            .run(),
        1,
    );
}

#[test]
fn escapes_what_was_typed_in_usage_errors() {
    let plain = "a\nerror: \x1b[2J\u{202e}\u{9b}b";
    let argument = format!("--{plain}");
    for arguments in [
        &[plain][..],
        &[&argument],
        &["--batch-size", plain],
        &["--format", plain],
        &["--color", plain],
        &["check", &argument],
        &["completions", plain],
        &["token", "a", plain],
    ] {
        let finished = Cswatch::new().args(arguments).run().expect_code(2);
        assert_plain(finished.stderr.split('\n'));
        assert!(
            finished
                .stderr
                .contains(r"a\nerror: \x1b[2J\u{202e}\u{9b}b"),
            "{}",
            finished.stderr
        );
    }
    for name in ["CSWATCH_BATCH_SIZE", "CSWATCH_FORMAT", "CSWATCH_WAIT"] {
        let finished = Cswatch::new().env(name, plain).run().expect_code(2);
        assert_plain(finished.stderr.split('\n'));
    }
}

#[test]
fn reports_invalid_values_of_options_on_one_line() {
    for option in [
        "--db",
        "--op",
        "--match",
        "--id",
        "--pipeline",
        "--start",
        "--until",
        "--start-after",
        "--max-await",
        "--retry-for",
        "--save-interval",
        "--uri",
    ] {
        let finished = Cswatch::new().args([option, HOSTILE]).run();
        // Only these are valid: any text without a NUL may be a name.
        if option == "--db" {
            continue;
        }
        expect_one_error(finished, 2);
    }
    let explain = |options: &[&str]| {
        let explain = Cswatch::new().args(["--db", "d", "--coll", NAME, "--explain"]);
        let explained = explain.args(options).run().expect_code(0);
        assert_plain(explained.stdout.iter().map(String::as_str));
        explained.stdout.join("\n")
    };
    assert!(explain(&[]).contains("fine"));
    let command: Value = serde_json::from_str(&explain(&["--format", "canonical"])).expect("JSON");
    assert_eq!(command["aggregate"], NAME);
}
