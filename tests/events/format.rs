//! The format of events: canonical or relaxed, on one line or indented, with or without color; and that stdout holds nothing else.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Decimal128, RawDocumentBuf, Timestamp, doc};
use serde_json::Value;

use testkit::cswatch::Stdout;
use testkit::reference::{Reference, filled};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// The insert of a document with several types, and the driver's event for it.
struct Sample {
    scenario: Scenario<'static>,
    reference: Reference,
    event: RawDocumentBuf,
}

impl Sample {
    #[track_caller]
    fn new(name: &str) -> Sample {
        let scenario = Scenario::new(name);
        let mut reference = Reference::open(scenario.coll("c").watch());
        let oid = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").expect("an ObjectId");
        let decimal: Decimal128 = "1.10".parse().expect("a decimal");
        let document = doc! {
            "_id": oid,
            "int": 5,
            "long": 1_i64 << 40,
            "double": 2.0,
            "huge": 1e300,
            "infinite": f64::NEG_INFINITY,
            "decimal": decimal,
            "date": DateTime::from_millis(1_769_860_800_500),
            "whole": DateTime::from_millis(1_769_860_800_000),
            "early": DateTime::from_millis(-1),
            "late": DateTime::from_millis(253_402_300_800_000),
            "time": Timestamp { time: 7, increment: 8 },
            "list": [{}, [], null, true],
            "text": "a \"quoted\"\n\tline, é ☃ 𝄞",
        };
        block_on(scenario.coll("c").insert_one(document)).expect("an insert");
        let event = reference.next_event();
        Sample {
            scenario,
            reference,
            event,
        }
    }

    /// Returns the expected line, with `document` as the text of the document's other fields.
    fn line(&self, document: &str, relaxed: bool) -> String {
        let id = r#"{"$oid":"65a1b2c3d4e5f60718293a4b"}"#;
        let db = self.scenario.db().name();
        let wall = if relaxed {
            let millis = self.event.get_datetime("wallTime").expect("a date");
            format!(r#"{{"$date":"{}"}}"#, rfc3339(millis))
        } else {
            "<wallTime>".to_owned()
        };
        let template = format!(
            concat!(
                r#"{{"_id":<_id>,"operationType":"insert","clusterTime":<clusterTime>,"#,
                r#""wallTime":{wall},"fullDocument":{{"_id":{id},{document}}},"#,
                r#""ns":{{"db":"{db}","coll":"c"}},"documentKey":{{"_id":{id}}}}}"#,
            ),
            wall = wall,
            id = id,
            document = document,
            db = db,
        );
        filled(&template, &self.event)
    }

    /// Returns what `cswatch` prints into a pipe with these arguments.
    #[track_caller]
    fn printed(&self, arguments: &[&str]) -> String {
        let finished = self
            .scenario
            .catch_up(&self.reference, ["--coll", "c"])
            .args(arguments)
            .run()
            .expect_code(0);
        assert!(finished.torn.is_empty(), "{:?}", finished.torn);
        finished.stdout.join("\n")
    }

    /// Returns what `cswatch` prints on a terminal with these arguments.
    #[track_caller]
    fn shown(&self, arguments: &[&str], no_color: Option<&str>) -> String {
        let (terminal, written) = Terminal::open(80);
        let mut cswatch = self
            .scenario
            .catch_up(&self.reference, ["--coll", "c"])
            .args(arguments)
            .stdout(Stdout::File(written));
        cswatch = match no_color {
            Some(value) => cswatch.env("NO_COLOR", value),
            None => cswatch.without_env("NO_COLOR"),
        };
        cswatch.run().expect_code(0);
        terminal.lines().join("\n")
    }
}

/// Returns a date as relaxed Extended JSON writes it: with three digits below the second, or none.
fn rfc3339(date: DateTime) -> String {
    let millis = date.timestamp_millis();
    let whole = DateTime::from_millis(millis - millis % 1000);
    let text = whole.try_to_rfc3339_string().expect("a year before 10000");
    match millis % 1000 {
        0 => text,
        below => text.replace('Z', &format!(".{below:03}Z")),
    }
}

/// The document in canonical form.
const CANONICAL: &str = concat!(
    r#""int":{"$numberInt":"5"},"long":{"$numberLong":"1099511627776"},"#,
    r#""double":{"$numberDouble":"2.0"},"huge":{"$numberDouble":"1E+300"},"#,
    r#""infinite":{"$numberDouble":"-Infinity"},"decimal":{"$numberDecimal":"1.10"},"#,
    r#""date":{"$date":{"$numberLong":"1769860800500"}},"#,
    r#""whole":{"$date":{"$numberLong":"1769860800000"}},"#,
    r#""early":{"$date":{"$numberLong":"-1"}},"#,
    r#""late":{"$date":{"$numberLong":"253402300800000"}},"#,
    r#""time":{"$timestamp":{"t":7,"i":8}},"list":[{},[],null,true],"#,
    r#""text":"a \"quoted\"\n\tline, é ☃ 𝄞""#,
);

/// The document in relaxed form.
const RELAXED: &str = concat!(
    r#""int":5,"long":1099511627776,"double":2.0,"huge":1E+300,"#,
    r#""infinite":{"$numberDouble":"-Infinity"},"decimal":{"$numberDecimal":"1.10"},"#,
    r#""date":{"$date":"2026-01-31T12:00:00.500Z"},"whole":{"$date":"2026-01-31T12:00:00Z"},"#,
    r#""early":{"$date":{"$numberLong":"-1"}},"#,
    r#""late":{"$date":{"$numberLong":"253402300800000"}},"#,
    r#""time":{"$timestamp":{"t":7,"i":8}},"list":[{},[],null,true],"#,
    r#""text":"a \"quoted\"\n\tline, é ☃ 𝄞""#,
);

/// Returns a line as `jq .` indents it.
fn indented(line: &str) -> String {
    let value: Value = serde_json::from_str(line).expect("a line is JSON");
    let indented = serde_json::to_string_pretty(&value).expect("JSON");
    // serde_json writes doubles differently.
    indented.replace(": 1e+300", ": 1E+300")
}

/// Returns `text` without its color sequences.
fn without_color(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let (_, rest) = part.split_once('m').expect("a color sequence");
        shown + rest
    })
}

#[test]
fn prints_canonical_events_by_default() {
    let sample = Sample::new("format_canonical");
    let expected = sample.line(CANONICAL, false);
    assert_eq!(sample.printed(&[]), expected);
    assert_eq!(sample.printed(&["--format", "canonical"]), expected);
}

#[test]
fn prints_plain_numbers_and_readable_dates_in_relaxed_events() {
    let sample = Sample::new("format_relaxed");
    let expected = sample.line(RELAXED, true);
    assert_eq!(sample.printed(&["--format", "relaxed"]), expected);
}

#[test]
fn indents_pretty_events_without_color_in_a_pipe() {
    let sample = Sample::new("format_pretty");
    let expected = indented(&sample.line(CANONICAL, false));
    assert_eq!(sample.printed(&["--pretty"]), expected);
    let relaxed = sample.printed(&["--pretty", "--format", "relaxed"]);
    assert_eq!(relaxed, indented(&sample.line(RELAXED, true)));
}

#[test]
fn colors_pretty_events_on_a_terminal() {
    let sample = Sample::new("format_color");
    let expected = indented(&sample.line(CANONICAL, false));
    for no_color in [None, Some("")] {
        let shown = sample.shown(&["--pretty"], no_color);
        assert_eq!(without_color(&shown), expected);
        let lines: Vec<&str> = shown.lines().collect();
        let kind = "  \x1b[1;34m\"operationType\"\x1b[0m: \x1b[32m\"insert\"\x1b[0m,";
        assert!(lines.contains(&kind), "{shown:?}");
        assert!(lines.contains(&"      \x1b[35mtrue\x1b[0m"), "{shown:?}");
    }
}

#[test]
fn omits_color_with_no_color_or_without_pretty() {
    let sample = Sample::new("format_no_color");
    let line = sample.line(CANONICAL, false);
    assert_eq!(sample.shown(&["--pretty"], Some("1")), indented(&line));
    assert_eq!(sample.shown(&[], None), line);
}

#[test]
fn prints_messages_only_on_stderr_at_every_verbosity() {
    let sample = Sample::new("format_messages");
    let line = sample.line(CANONICAL, false);
    for arguments in [
        &["-v"][..],
        &["-vv"],
        &["-q"],
        &["--log-format", "json", "-v"],
    ] {
        let finished = sample
            .scenario
            .catch_up(&sample.reference, ["--coll", "c"])
            .args(arguments)
            .run()
            .expect_code(0);
        assert_eq!(finished.stdout, [line.as_str()]);
        let stderr = &finished.stderr;
        if arguments == ["-q"] {
            assert_eq!(stderr, "");
        } else {
            assert!(stderr.contains("watching"), "{stderr}");
        }
        if arguments.contains(&"json") {
            for message in stderr.lines() {
                let message: Value = serde_json::from_str(message).expect("a message is JSON");
                assert!(message["message"].is_string(), "{message}");
            }
        }
    }
}
