//! Invalid command lines: exit code 2, one error that names the input, a hint, and no connection, no resume file, no line on stdout.

use std::fs;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::forbidden_server::ForbiddenServer;
use testkit::guard;

/// Hint about a `--pipeline` that is not an array of stages.
const STAGES: &str = r#"write '[{"$match":{...}},{"$unset":...}]'"#;

/// Hint about a stage that a change stream does not allow.
const ALLOWED_STAGES: &str = "use only $match, $project, $addFields, $set, $unset, $replaceRoot, \
                              $replaceWith, $redact";

/// Hint about a duration.
const DURATION: &str = "use a number and a unit, as in 500ms, 30s, 10m, 1h, 2d";

/// Hint about a duration of `--max-await` that is out of range.
const MAX_AWAIT: &str = "use a duration from 1ms to 10m";

/// Hint about a point in time.
const TIME: &str = r#"use now, earliest, 2026-01-31 (its midnight in UTC), 2026-01-31T12:00:00Z, -1h, seconds since 1970, or {"$timestamp":{"t":1769860800,"i":1}}"#;

/// Hint about a connection string.
const URI: &str = "write mongodb://[user:password@]host[:port][,...]/[?options] \
                   and percent-encode special characters in user and password";

/// Hint about a database name.
const DATABASE_NAME: &str =
    r#"a database name must not be empty or contain a space or any of / \ . " $"#;

/// Hint about a collection name.
const COLLECTION_NAME: &str = "a collection name must not be empty or contain $";

/// Runs `cswatch` and returns how it ended. Fails unless it refuses its command line without connecting to the server, whose connection
/// string `configure` gets.
#[track_caller]
fn refused(configure: impl FnOnce(Cswatch, &str) -> Cswatch) -> Finished {
    let server = ForbiddenServer::listen();
    let folder = guard::temp_dir("refused-");
    let state_home = folder.path().join("state");
    let cswatch = Cswatch::new().state_home(&state_home);
    let finished = configure(cswatch, &server.uri()).run().expect_code(2);
    server.assert_no_connection();
    assert_eq!(finished.stdout, [""; 0]);
    assert!(!state_home.exists(), "a checkpoint was saved");
    finished
}

/// Fails unless `cswatch` refuses these arguments with exactly this error and this hint.
#[track_caller]
fn expect_refused(arguments: &[&str], message: &str, hint: &str) {
    let finished = refused(|cswatch, uri| cswatch.args(["--uri", uri]).args(arguments));
    assert_eq!(error(&finished), (message.to_owned(), hint.to_owned()));
}

/// Returns the message and the hint of the one error on stderr, without their times.
#[track_caller]
fn error(finished: &Finished) -> (String, String) {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let [message, hint] = lines[..] else {
        panic!("not one error and its hint:\n{}", finished.stderr);
    };
    let after = |line: &str, label: &str| {
        let (_, text) = line.split_once(label).expect(label);
        text.to_owned()
    };
    (
        after(message, " cswatch: error: "),
        after(hint, " cswatch: hint: "),
    )
}

/// Returns the usage error that clap prints for these arguments.
#[track_caller]
fn usage(arguments: &[&str]) -> String {
    refused(|cswatch, uri| cswatch.args(["--uri", uri]).args(arguments)).stderr
}

#[test]
fn refuses_a_query_that_is_not_an_object() {
    for value in [
        "[1]",
        "7",
        "\"a\"",
        r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#,
    ] {
        expect_refused(
            &["--match", value],
            &format!("--match: must be an object, not {value}"),
            r#"write an object in single quotes, as in '{operationType: "insert"}'"#,
        );
    }
}

#[test]
fn refuses_a_regular_expression_as_an_id() {
    expect_refused(
        &[
            "--id",
            r#"{"$regularExpression":{"pattern":"^a","options":""}}"#,
        ],
        "--id: /^a/ is a regular expression, not an _id",
        r#"use --match '{"documentKey._id":...}' to match a regular expression"#,
    );
}

#[test]
fn names_a_stage_that_a_change_stream_does_not_allow() {
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
        expect_refused(
            &["--pipeline", &pipeline],
            &format!("--pipeline: stage 2 of 3 ({stage}) is not allowed in a change stream"),
            ALLOWED_STAGES,
        );
    }
    for (written, meant) in [("match", "$match"), ("$addfields", "$addFields")] {
        let pipeline = format!(r#"[{{"{written}":{{}}}}]"#);
        expect_refused(
            &["--pipeline", &pipeline],
            &format!("--pipeline: stage 1 of 1 ({written}) is not a stage"),
            &format!("write {meant}"),
        );
    }
    let split = "$changeStreamSplitLargeEvent";
    expect_refused(
        &["--pipeline", &format!(r#"[{{"{split}":{{}}}}]"#)],
        &format!("--pipeline: stage 1 of 1 ({split}) is added by cswatch when an event needs it"),
        "remove the stage",
    );
}

#[test]
fn refuses_a_pipeline_that_is_not_an_array_of_stages() {
    for (pipeline, message) in [
        (r#"{"$match":{}}"#, "--pipeline: must be an array of stages"),
        ("[7]", "--pipeline: stage 1 of 1 is not an object"),
        (
            r#"[{"$match":{}},{}]"#,
            "--pipeline: stage 2 of 2 has 0 keys instead of one, the name of the stage",
        ),
        (
            r#"[{"$match":{},"$set":{"a":1}}]"#,
            "--pipeline: stage 1 of 1 has 2 keys instead of one, the name of the stage",
        ),
        (
            r#"[{"$oid":"65a1b2c3d4e5f60718293a4b"}]"#,
            "--pipeline: stage 1 of 1 is not an object",
        ),
    ] {
        expect_refused(&["--pipeline", pipeline], message, STAGES);
    }
}

#[test]
fn refuses_a_pipeline_that_drops_or_changes_the_id() {
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
        expect_refused(
            &["--pipeline", &pipeline],
            &format!(
                "--pipeline: stage 2 of 2 ({name}) drops or changes _id, which is the event's \
                 resume token"
            ),
            "keep _id as the server sent it",
        );
    }
}

#[test]
fn names_the_file_of_an_invalid_pipeline() {
    let folder = guard::temp_dir("pipelines-");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = path("stages.json");
    let argument = format!("@{file}");
    fs::write(&file, r#"[{"$group":{"_id":1}}]"#).expect("a file can be written");
    expect_refused(
        &["--pipeline", &argument],
        &format!("--pipeline @{file}: stage 1 of 1 ($group) is not allowed in a change stream"),
        ALLOWED_STAGES,
    );
    let missing = path("missing.json");
    expect_refused(
        &["--pipeline", &format!("@{missing}")],
        &format!("--pipeline: cannot read {missing}: No such file or directory (os error 2)"),
        "name a text file that this user can read",
    );
}

#[test]
fn suggests_a_known_operation_type_for_an_unknown_one() {
    let unknown = |kind: &str| format!("--op: '{kind}' is not an operation type");
    for (kind, hint) in [
        ("inserts", "use --op insert"),
        ("Delete", "use --op delete"),
        ("updated", "use --op update"),
        ("dropped", "use --op drop"),
        ("dropdatabase", "use --op dropDatabase"),
    ] {
        expect_refused(&["--op", kind], &unknown(kind), hint);
    }
    expect_refused(
        &["--op", "insert,"],
        "--op: empty operation type",
        "separate the types with commas, as in --op insert,delete",
    );
    expect_refused(
        &["--op", "nonsense"],
        &unknown("nonsense"),
        "use one of insert, update, replace, delete, drop, rename, dropDatabase, invalidate, \
         create, createIndexes, startIndexBuild, abortIndexBuild, dropIndexes, modify, \
         shardCollection, reshardCollection, refineCollectionShardKey, reshardBlockingWrites, \
         endOfTransaction; for any other type use --match '{\"operationType\":\"nonsense\"}'",
    );
    expect_refused(
        &["--op", "create"],
        "--op create: the server sends this type only with --expanded-events",
        "add --expanded-events",
    );
}

#[test]
fn refuses_invalid_names() {
    for (arguments, message, hint) in [
        (
            &["--db", "a b"][..],
            "--db: 'a b' is not a valid MongoDB name",
            DATABASE_NAME,
        ),
        (
            &["--db", ""],
            "--db: '' is not a valid MongoDB name",
            DATABASE_NAME,
        ),
        (
            &["--db", "a."],
            "--db: 'a.' is not a valid MongoDB name",
            DATABASE_NAME,
        ),
        (
            &["--db", "a.b.c"],
            "--db: 'a.b.c' is not a valid MongoDB name",
            "use --db a --coll b.c for a collection",
        ),
        (
            &["--db", "mongodb://host/"],
            "--db: 'mongodb://...' is not a valid MongoDB name",
            "use --uri for a connection string",
        ),
        (
            &["--db", "a", "--coll", "x,,y"],
            "--coll: '' is not a valid MongoDB name",
            COLLECTION_NAME,
        ),
        (
            &["--db", "a", "--coll", "$x"],
            "--coll: '$x' is not a valid MongoDB name",
            COLLECTION_NAME,
        ),
        (
            &["--db", "a", "--coll", "system.views"],
            "--coll system.views: system collections have no change stream",
            "name another collection, or omit --coll to watch the whole database",
        ),
        (
            &["--db", "local"],
            "--db local: this database has no change stream",
            "name another database, or omit --db to watch the whole deployment",
        ),
    ] {
        expect_refused(arguments, message, hint);
    }
}

#[test]
fn refuses_invalid_durations_and_times_with_the_valid_forms() {
    for (arguments, message, hint) in [
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
            MAX_AWAIT,
        ),
        (
            ["--max-await", "1h"],
            "--max-await: '1h' is out of range",
            MAX_AWAIT,
        ),
        (
            ["--start", "tomorrow"],
            "--start: 'tomorrow' is not a time",
            TIME,
        ),
        (
            ["--start", "2026-02-30"],
            "--start: '2026-02-30' is not a time",
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
            "--until earliest: no event precedes the earliest one",
            "use --until now to catch up and stop",
        ),
    ] {
        expect_refused(&arguments, message, hint);
    }
}

#[test]
fn refuses_an_invalid_connection_string_without_printing_its_password() {
    let uri = |uri: &str| {
        let finished = refused(|cswatch, _| cswatch.args(["--uri", uri]));
        assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
        let (message, hint) = error(&finished);
        assert_eq!(hint, URI);
        let reason = message.strip_prefix("--uri: ");
        reason.expect("the flag").to_owned()
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
}

#[test]
fn does_not_repeat_a_connection_string_given_as_a_command() {
    for arguments in [
        &["mongodb://user:s3cret@host/"][..],
        &["--db", "a", "mongodb+srv://user:s3cret@host/"],
    ] {
        let error = usage(arguments);
        assert!(!error.contains("s3cret"), "{error}");
        assert!(
            error.contains("give the connection string as --uri mongodb"),
            "{error}"
        );
    }
}

#[test]
fn refuses_numbers_out_of_range() {
    for (arguments, part) in [
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
        let error = usage(&arguments);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn refuses_conflicting_incomplete_and_unknown_flags() {
    for (arguments, part) in [
        (
            &["--uri-file", "x"][..],
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
        let error = usage(arguments);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn names_the_environment_variables_that_may_hold_an_invalid_value() {
    let finished =
        refused(|cswatch, uri| cswatch.env("CSWATCH_URI", uri).env("CSWATCH_COUNT", "many"));
    let error = &finished.stderr;
    assert!(
        error.contains("invalid value 'many' for '--count <N>'"),
        "{error}"
    );
    let tip = "set in the environment: CSWATCH_URI, CSWATCH_COUNT";
    assert!(error.contains(tip), "{error}");
}
