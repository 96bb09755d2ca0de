//! Filters that the server refuses: exit code 8 at once, with the flag that the refused stage came from.

use std::time::{Duration, Instant};

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::scenario::Scenario;

/// The hint of every refused filter.
const HINT: &str = "--explain prints the command that was sent";

/// Well below the time for which an error in doubt is retried.
const AT_ONCE: Duration = Duration::from_secs(10);

#[track_caller]
fn run(cswatch: Cswatch) -> Finished {
    let started = Instant::now();
    let finished = cswatch.run();
    let took = started.elapsed();
    assert!(took < AT_ONCE, "{took:?}\n{}", finished.stderr);
    finished
}

#[test]
fn refuses_an_invalid_pipeline_at_once_and_names_its_stage() {
    let scenario = Scenario::new("refused_pipeline");
    for (stage, code) in [
        (r#"{"$match":{"a":{"$foo":1}}}"#, 2),
        (r#"{"$match":{"$where":"1"}}"#, 2),
        (r#"{"$match":{"$jsonSchema":{"foo":1}}}"#, 9),
        (r#"{"$match":{"$jsonSchema":{"required":[]}}}"#, 9),
        (r#"{"$match":{"$expr":{"$foo":1}}}"#, 168),
        (r#"{"$match":{"$expr":{"$eq":[1]}}}"#, 16020),
        (r#"{"$match":"x"}"#, 15959),
        (r#"{"$match":{"a":{"$regex":"("}}}"#, 51091),
        (r#"{"$match":{"$text":{"$search":"x"}}}"#, 17313),
        (r#"{"$addFields":{"x":{"$nope":1}}}"#, 168),
        (r#"{"$addFields":{"x":"$$nope"}}"#, 17276),
        (r#"{"$addFields":{"x":"$a..b"}}"#, 15998),
        (r#"{"$addFields":{"x":{"$add":1,"$sub":1}}}"#, 40181),
        (r#"{"$addFields":{"x":{"$convert":{"input":1}}}}"#, 9),
        (r#"{"$addFields":{"x":{"$divide":[1,0]}}}"#, 2),
        (r#"{"$addFields":{"x":{"$toInt":"x"}}}"#, 241),
        (r#"{"$addFields":{"x":{"$cond":{"if":1}}}}"#, 17081),
        (r#"{"$set":{"x":{"$setField":{}}}}"#, 4_161_102),
        (r#"{"$set":1}"#, 40272),
        (r#"{"$unset":["a","a.b"]}"#, 31249),
        (r#"{"$project":{"a":1,"b":0}}"#, 31254),
        (r#"{"$redact":"$$FOO"}"#, 17276),
        (
            r#"{"$replaceRoot":{"newRoot":{"$mergeObjects":["$$ROOT"]},"x":1}}"#,
            40415,
        ),
    ] {
        let pipeline = format!(r#"[{{"$match":{{"a":1}}}},{stage},{{"$match":{{"b":1}}}}]"#);
        let finished = run(scenario.watch(&["--pipeline", &pipeline])).expect_code(8);
        let (message, hint) = finished.error();
        assert!(
            message.starts_with("the server refuses the stream: ")
                && message.ends_with(&format!(", code {code}) in stage 2 of --pipeline")),
            "{stage}\n{}",
            finished.stderr
        );
        assert!(hint.ends_with(HINT) || code == 40415, "{hint}");
        assert!(!scenario.resume_file().exists(), "{stage}");
    }
}

#[test]
fn names_the_flag_of_a_refused_stage() {
    let scenario = Scenario::new("refused_flag");
    let schema = r#"{"$jsonSchema":{"foo":1}}"#;
    let good = r#"{"operationType":"insert"}"#;
    for (arguments, origin) in [
        (&["--match", schema] as &[&str], "--match"),
        (&["--op", "insert", "--match", schema], "--match"),
        (&["--match", good, "--match", schema], "--match, 2 of 2"),
    ] {
        let message = format!(
            "the server refuses the stream: Unknown $jsonSchema keyword: foo (FailedToParse, code 9) in {origin}"
        );
        run(scenario.watch(arguments)).expect_failure(8, &message, HINT);
        let check = Cswatch::new()
            .args(["check", "--uri", &scenario.set().uri(), "--no-resume"])
            .args(["--db", scenario.db().name(), "--coll", "c"])
            .args(arguments);
        let finished = run(check).expect_code(8);
        let printed = finished.stdout.join("\n");
        assert!(printed.contains(&message), "{printed}{}", finished.stderr);
    }
}

#[test]
fn names_the_flag_of_a_filter_that_is_too_long_or_too_large() {
    let scenario = Scenario::new("refused_size");
    let stages: Vec<String> = (0..1200)
        .map(|number| format!(r#"{{"$match":{{"a":{number}}}}}"#))
        .collect();
    // The server returns the ids of a filter in an error that is then too large to be sent.
    let ids: Vec<String> = (0..300_000)
        .map(|number| format!(r#"{{"$oid":"{number:024x}"}}"#))
        .collect();
    let many_ids = format!(
        r#"[{{"$match":{{"documentKey._id":{{"$in":[{}]}}}}}}]"#,
        ids.join(",")
    );
    for (name, pipeline, error) in [
        (
            "stages.json",
            format!("[{}]", stages.join(",")),
            "Pipeline length must be no longer than 1000 stages (FailedToParse, code 9) in stage ",
        ),
        ("ids.json", many_ids, "BSONObj size: "),
    ] {
        let path = scenario.path(name);
        std::fs::write(&path, pipeline).expect("a pipeline");
        let argument = format!("@{}", path.display());
        let watch = scenario.watch(&["--pipeline", &argument]);
        let finished = watch
            .deadline(Duration::from_secs(120))
            .run()
            .expect_code(8);
        finished.expect_error(&format!("the server refuses the stream: {error}"), HINT);
        let (message, _) = finished.error();
        assert!(
            message.ends_with(&format!(" of --pipeline {argument}")),
            "{message}"
        );
    }
}
