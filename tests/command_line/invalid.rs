//! What the command line refuses: exit code 2, one message that names the input and the way out,
//! and no connection, no position file, no line on stdout.

use std::fs;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::forbidden_server::ForbiddenServer;
use testkit::guard;

/// Where the forms of Extended JSON are looked up.
const TYPES: &str = "see https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ \
                     for the form of each type";

/// How JSON is written in a shell.
const QUOTES: &str = "write Extended JSON with double quotes inside single ones, \
                      as in '{\"a\":1}' or '\"text\"'";

/// How `--pipeline` is written.
const STAGES: &str = r#"write '[{"$match":{...}},{"$unset":...}]'"#;

/// How a duration is written.
const DURATION: &str = "give a number and its unit, as in 500ms, 30s, 10m, 1h, 2d";

/// How a point in time is written.
const TIME: &str = r#"give now, earliest, 2026-01-31T12:00:00Z, -1h, seconds since 1970, or {"$timestamp":{"t":1769860800,"i":1}}"#;

/// How a connection string is written.
const URI: &str = "write mongodb://[user:password@]host[:port][,...]/[?options], \
                   special characters in user and password percent-encoded";

/// Runs `cswatch` beside a server that it must not connect to, and expects that it refuses.
#[track_caller]
fn refused(configure: impl FnOnce(Cswatch, &str) -> Cswatch) -> Finished {
    let server = ForbiddenServer::listen();
    let folder = guard::temp_dir("refused-");
    let state_home = folder.path().join("state");
    let cswatch = Cswatch::new().state_home(&state_home);
    let finished = configure(cswatch, &server.uri()).run().expect_code(2);
    server.assert_no_connection();
    assert_eq!(finished.stdout, [""; 0]);
    assert!(!state_home.exists(), "a position was saved");
    finished
}

/// The one message, without its time, of a `cswatch` with these arguments.
#[track_caller]
fn message(arguments: &[&str]) -> String {
    let finished = refused(|cswatch, uri| cswatch.args(["--uri", uri]).args(arguments));
    said(&finished)
}

/// The one message on stderr, without its time.
#[track_caller]
fn said(finished: &Finished) -> String {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("not one line:\n{}", finished.stderr);
    };
    let (_, message) = line
        .split_once(" cswatch: error: ")
        .expect("an error message");
    message.to_owned()
}

/// What clap says of these arguments.
#[track_caller]
fn usage(arguments: &[&str]) -> String {
    refused(|cswatch, uri| cswatch.args(["--uri", uri]).args(arguments)).stderr
}

#[test]
fn bad_json_is_named_with_its_flag_and_place() {
    for (arguments, what) in [
        (
            ["--match", "{a:1}"],
            "--match: not JSON: key must be a string at line 1 column 2: {a:1}",
        ),
        (
            ["--match", r#"{"a":1"#],
            r#"--match: not JSON: EOF while parsing an object at line 1 column 6: {"a":1"#,
        ),
        (
            ["--match", r#"{"a":1} {"b":2}"#],
            r#"--match: not JSON: trailing characters at line 1 column 9: {"a":1} {"b":2}"#,
        ),
        (
            ["--match", "{\"a\":1,\n \"b\":\n\t[1,}"],
            "--match: not JSON: expected value at line 3 column 5:  [1,}",
        ),
        (
            ["--match", ""],
            "--match: not JSON: EOF while parsing a value at line 1 column 0: ",
        ),
        (
            ["--id", "abc"],
            "--id: not JSON: expected value at line 1 column 1: abc",
        ),
        (
            ["--pipeline", r#"[{"$match":{}}"#],
            r#"--pipeline: not JSON: EOF while parsing a list at line 1 column 14: [{"$match":{}}"#,
        ),
    ] {
        assert_eq!(message(&arguments), format!("{what}; {QUOTES}"));
    }
}

#[test]
fn long_bad_json_is_shown_around_the_place() {
    let text = format!(
        "{{\"a\":\"{}\",\"b\":x,\"c\":\"{}\"}}",
        "é".repeat(100),
        "z".repeat(100)
    );
    let message = message(&["--match", &text]);
    let shown = format!(
        "...{}\",\"b\":x,\"c\":\"{}...; {QUOTES}",
        "é".repeat(26),
        "z".repeat(54)
    );
    let place = "--match: not JSON: expected value at line 1 column 213: ";
    assert_eq!(message, format!("{place}{shown}"));
}

#[test]
fn what_is_not_extended_json_is_named_with_the_path_to_it() {
    for (arguments, what) in [
        (
            ["--match", r#"{"a":{"$oid":"65a"}}"#],
            r#"--match: not Extended JSON at a: invalid hex string length 3: {"$oid":"65a"}"#,
        ),
        (
            [
                "--match",
                r#"{"$or":[{"a":1},{"a":{"$date":"yesterday"}}]}"#,
            ],
            concat!(
                r#"--match: not Extended JSON at $or.1.a: invalid value: string "yesterday", "#,
                r#"expected rfc3339 formatted utc datetime: {"$date":"yesterday"}"#,
            ),
        ),
        (
            ["--id", r#"{"$numberInt":"99999999999"}"#],
            concat!(
                r#"--id: not Extended JSON: invalid value: string "99999999999", "#,
                r#"expected i32 as a string: {"$numberInt":"99999999999"}"#,
            ),
        ),
        (
            ["--match", r#"{"a":{"b\u0000c":1}}"#],
            concat!(
                r#"--match: not Extended JSON at a: cstring with interior null: "b\0c": "#,
                r#"{"b\u0000c":1}"#,
            ),
        ),
        (
            [
                "--pipeline",
                r#"[{"$match":{}},{"$match":{"a":{"$oid":"zz"}}}]"#,
            ],
            concat!(
                "--pipeline: stage 2 of 2: not Extended JSON at $match.a: ",
                r#"invalid character 'z' encountered at index 0: {"$oid":"zz"}"#,
            ),
        ),
        (
            ["--start", r#"{"$timestamp":{"t":1}}"#],
            r#"--start: not Extended JSON: missing field `i`: {"$timestamp":{"t":1}}"#,
        ),
    ] {
        assert_eq!(message(&arguments), format!("{what}; {TYPES}"));
    }
}

#[test]
fn query_that_is_no_object_is_refused() {
    for value in [
        "[1]",
        "7",
        "\"a\"",
        r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#,
    ] {
        let expected = r#"--match: must be an object such as {"operationType":"insert"}, not "#;
        assert_eq!(message(&["--match", value]), format!("{expected}{value}"));
    }
}

#[test]
fn pattern_is_no_id() {
    assert_eq!(
        message(&[
            "--id",
            r#"{"$regularExpression":{"pattern":"^a","options":""}}"#
        ]),
        "--id: /^a/ is a pattern, not an _id; \
         use --match '{\"documentKey._id\":...}' to match a pattern"
    );
}

#[test]
fn stage_that_a_change_stream_does_not_allow_is_named_with_its_place() {
    let allowed = "allowed are $match, $project, $addFields, $set, $unset, $replaceRoot, \
                   $replaceWith, $redact";
    for stage in [
        "$group",
        "$sort",
        "$limit",
        "$skip",
        "$lookup",
        "$unwind",
        "$facet",
        "$out",
        "$merge",
        "$sample",
        "$unionWith",
        "$count",
        "$bucket",
        "$geoNear",
        "$changeStream",
        "$search",
        "nonsense",
    ] {
        let pipeline = format!(r#"[{{"$match":{{}}}},{{"{stage}":{{}}}},{{"$set":{{"a":1}}}}]"#);
        assert_eq!(
            message(&["--pipeline", &pipeline]),
            format!(
                "--pipeline: stage 2 of 3 ({stage}) is not allowed in a change stream; {allowed}"
            )
        );
    }
    for (written, meant) in [("match", "$match"), ("$addfields", "$addFields")] {
        let pipeline = format!(r#"[{{"{written}":{{}}}}]"#);
        assert_eq!(
            message(&["--pipeline", &pipeline]),
            format!("--pipeline: stage 1 of 1 ({written}) is not a stage; write {meant}")
        );
    }
    let split = "$changeStreamSplitLargeEvent";
    assert_eq!(
        message(&["--pipeline", &format!(r#"[{{"{split}":{{}}}}]"#)]),
        format!(
            "--pipeline: stage 1 of 1 ({split}) is added by cswatch itself when an event needs it"
        )
    );
}

#[test]
fn pipeline_that_is_no_list_of_stages_is_refused() {
    for (pipeline, what) in [
        (r#"{"$match":{}}"#, "--pipeline: must be an array of stages"),
        ("[7]", "--pipeline: stage 1 of 1 is not an object"),
        (
            r#"[{"$match":{}},{}]"#,
            "--pipeline: stage 2 of 2 must have one key, the stage's name, not 0",
        ),
        (
            r#"[{"$match":{},"$set":{"a":1}}]"#,
            "--pipeline: stage 1 of 1 must have one key, the stage's name, not 2",
        ),
        (
            r#"[{"$oid":"65a1b2c3d4e5f60718293a4b"}]"#,
            "--pipeline: stage 1 of 1 is not an object",
        ),
    ] {
        assert_eq!(
            message(&["--pipeline", pipeline]),
            format!("{what}; {STAGES}")
        );
    }
}

#[test]
fn pipeline_that_drops_or_changes_the_id_is_refused() {
    for (stage, name) in [
        (r#"{"$project":{"_id":0}}"#, "$project"),
        (r#"{"$project":{"_id._data":0}}"#, "$project"),
        (r#"{"$unset":"_id"}"#, "$unset"),
        (r#"{"$unset":["ns","_id._data"]}"#, "$unset"),
        (r#"{"$set":{"_id":"$documentKey._id"}}"#, "$set"),
        (r#"{"$addFields":{"_id.x":1}}"#, "$addFields"),
        (
            r#"{"$replaceRoot":{"newRoot":"$fullDocument"}}"#,
            "$replaceRoot",
        ),
        (r#"{"$replaceWith":{"ns":"$ns"}}"#, "$replaceWith"),
    ] {
        let pipeline = format!(r#"[{{"$match":{{}}}},{stage}]"#);
        assert_eq!(
            message(&["--pipeline", &pipeline]),
            format!(
                "--pipeline: stage 2 of 2 ({name}) drops or changes _id, which is the event's \
                 resume token; keep _id as the server sent it"
            )
        );
    }
}

#[test]
fn bad_pipeline_file_is_named() {
    let folder = guard::temp_dir("pipelines-");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = path("stages.json");
    let argument = format!("@{file}");
    let refused = |text: &str| {
        fs::write(&file, text).expect("a file can be written");
        message(&["--pipeline", &argument])
    };
    assert_eq!(
        refused("[\n  {\"$match\": {}},\n  {\"$set\": {\"a\": }}\n]\n"),
        format!(
            "--pipeline @{file}: not JSON: expected value at line 3 column 18:   \
             {{\"$set\": {{\"a\": }}}}; {QUOTES}"
        )
    );
    assert_eq!(
        refused(r#"[{"$group":{"_id":1}}]"#),
        format!(
            "--pipeline @{file}: stage 1 of 1 ($group) is not allowed in a change stream; \
             allowed are $match, $project, $addFields, $set, $unset, $replaceRoot, \
             $replaceWith, $redact"
        )
    );
    let missing = path("missing.json");
    assert_eq!(
        message(&["--pipeline", &format!("@{missing}")]),
        format!("--pipeline: cannot read {missing}: No such file or directory (os error 2)")
    );
}

#[test]
fn unknown_operation_type_is_refused_with_the_one_that_was_meant() {
    for (kind, way_out) in [
        ("inserts", "use --op insert"),
        ("Delete", "use --op delete"),
        ("updated", "use --op update"),
        ("dropped", "use --op drop"),
        ("dropdatabase", "use --op dropDatabase"),
    ] {
        let expected = format!("--op '{kind}': not an operation type; {way_out}");
        assert_eq!(message(&["--op", kind]), expected);
    }
    assert_eq!(
        message(&["--op", "insert, delete"]),
        "--op ' delete': not an operation type; use --op delete"
    );
    assert_eq!(
        message(&["--op", "insert,"]),
        "--op: an operation type is empty; \
         give names with a comma between, as in --op insert,delete"
    );
    assert_eq!(
        message(&["--op", "nonsense"]),
        "--op 'nonsense': not an operation type; known are insert, update, replace, delete, drop, \
         rename, dropDatabase, invalidate, create, createIndexes, dropIndexes, modify, \
         shardCollection, reshardCollection, refineCollectionShardKey; \
         for any other use --match '{\"operationType\":\"nonsense\"}'"
    );
    assert_eq!(
        message(&["--op", "create"]),
        "--op create: the server sends this type only on request; add --expanded-events"
    );
}

#[test]
fn names_that_cannot_be_are_refused() {
    for (arguments, expected) in [
        (
            &["--db", "a.b"][..],
            "--db: 'a.b' is not a name that MongoDB allows",
        ),
        (&["--db", ""], "--db: '' is not a name that MongoDB allows"),
        (
            &["--db", "a", "--coll", "x,,y"],
            "--coll: '' is not a name that MongoDB allows",
        ),
        (
            &["--db", "a", "--coll", "$x"],
            "--coll: '$x' is not a name that MongoDB allows",
        ),
        (
            &["--db", "a", "--coll", "system.views"],
            "--coll system.views: system collections have no change stream",
        ),
        (
            &["--db", "local"],
            "--db local: this database has no change stream; \
             name a database of your own, or leave --db out to watch them all",
        ),
    ] {
        assert_eq!(message(arguments), expected);
    }
}

#[test]
fn bad_durations_and_times_are_refused_with_their_forms() {
    for (arguments, what, way_out) in [
        (
            ["--retry-for", "30"],
            "--retry-for: '30' is not a duration",
            DURATION,
        ),
        (
            ["--retry-for", "soon"],
            "--retry-for: 'soon' is not a duration",
            DURATION,
        ),
        (
            ["--max-await", "5"],
            "--max-await: '5' is not a duration",
            DURATION,
        ),
        (
            ["--save-interval", "1x"],
            "--save-interval: '1x' is not a duration",
            DURATION,
        ),
        (
            ["--max-await", "0"],
            "--max-await: '0' is out of range",
            "give at least 1ms and at most 10m",
        ),
        (
            ["--max-await", "1h"],
            "--max-await: '1h' is out of range",
            "give at least 1ms and at most 10m",
        ),
        (
            ["--start", "tomorrow"],
            "--start: 'tomorrow' is not a time",
            TIME,
        ),
        (
            ["--start", "2026-01-31"],
            "--start: '2026-01-31' is not a time",
            TIME,
        ),
        (["--start", "-5"], "--start: '-5' is not a time", TIME),
        (
            ["--start", "99999999999"],
            "--start: '99999999999' is not a time",
            TIME,
        ),
        (
            ["--until", r#"{"t":1}"#],
            r#"--until: '{"t":1}' is not a time"#,
            TIME,
        ),
        (
            ["--until", "earliest"],
            "--until earliest: nothing comes before it",
            "use --until now to catch up and stop",
        ),
    ] {
        assert_eq!(message(&arguments), format!("{what}; {way_out}"));
    }
}

#[test]
fn bad_connection_string_is_refused_and_its_password_not_shown() {
    let uri = |uri: &str| {
        let finished = refused(|cswatch, _| cswatch.args(["--uri", uri]));
        let said = said(&finished);
        assert!(!said.contains("s3cret"), "{said}");
        let way_out = format!("; {URI}");
        let what = said
            .strip_prefix("--uri: ")
            .and_then(|said| said.strip_suffix(&way_out));
        what.expect("flag and way out").to_owned()
    };
    assert_eq!(uri("localhost"), "connection string contains no scheme");
    assert_eq!(uri(""), "connection string contains no scheme");
    let port = "the port must be an integer between 1 and 65535, got";
    assert_eq!(
        uri("mongodb://user:s3cret@host:99999/"),
        format!("invalid server address host:99999: {port} 99999")
    );
    assert_eq!(
        uri("mongodb://user:s3cret/db"),
        format!("invalid server address user:***: {port} ***")
    );
    assert_eq!(
        uri("mongodb://user:s3cret@host:99x/?appName=a@b"),
        format!("invalid server address host:99x: {port} 99x")
    );
    let encode = "password must be URL encoded";
    assert_eq!(uri("mongodb://user:s3cret/x@host/"), encode);
    assert_eq!(uri("mongodb://user:s3cret@x@host/"), encode);
    assert_eq!(uri("mongodb://user:s3cret:x@host/"), encode);
    assert_eq!(
        uri("mongodb://user:s3cret%zz@host/"),
        "password cannot contain unescaped %"
    );
    assert_eq!(
        uri("mongodb://user:s3cret@host/?nonsense=1"),
        "nonsense is an invalid option"
    );
}

#[test]
fn connection_string_in_the_place_of_a_command_is_not_repeated() {
    for arguments in [
        &["mongodb://user:s3cret@host/"][..],
        &["--db", "a", "mongodb+srv://user:s3cret@host/"],
    ] {
        let said = usage(arguments);
        assert!(!said.contains("s3cret"), "{said}");
        assert!(
            said.contains("give the connection string as --uri mongodb"),
            "{said}"
        );
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (arguments, what) in [
        (["--count", "0"], "invalid value '0' for '--count <N>'"),
        (["--count", "ten"], "invalid value 'ten' for '--count <N>'"),
        (
            ["--batch-size", "0"],
            "invalid value '0' for '--batch-size <N>'",
        ),
        (["--batch-size", "1000001"], "1000001 is not in 1..=1000000"),
        (
            ["--catch-up-streams", "0"],
            "invalid value '0' for '--catch-up-streams <N>'",
        ),
    ] {
        let said = usage(&arguments);
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (arguments, what) in [
        (&["--coll", "a"][..], "were not provided:\n  --db <DB>"),
        (
            &["--uri-file", "x"],
            "'--uri <URI>' cannot be used with '--uri-file <FILE>'",
        ),
        (
            &["--no-resume", "--resume-file", "x"],
            "'--no-resume' cannot be used with '--resume-file <FILE>'",
        ),
        (
            &["--no-resume", "--output", "x"],
            "'--no-resume' cannot be used with '--output <FILE>'",
        ),
        (
            &["--output", "x", "--pretty"],
            "'--output <FILE>' cannot be used with '--pretty'",
        ),
        (
            &["--verbose", "--quiet"],
            "'--verbose...' cannot be used with '--quiet'",
        ),
        (
            &["--expanded"],
            "a similar argument exists: '--expanded-events'",
        ),
    ] {
        let said = usage(arguments);
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn bad_value_from_the_environment_is_traced_to_it() {
    let finished =
        refused(|cswatch, uri| cswatch.env("CSWATCH_URI", uri).env("CSWATCH_COUNT", "many"));
    let said = &finished.stderr;
    assert!(
        said.contains("invalid value 'many' for '--count <N>'"),
        "{said}"
    );
    let tip = "set in the environment: CSWATCH_URI, CSWATCH_COUNT";
    assert!(said.contains(tip), "{said}");
}
