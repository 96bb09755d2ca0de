//! Help, and options from environment variables and files.

use std::collections::BTreeSet;
use std::fs;

use mongodb::bson::doc;
use serde_json::Value;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::guard;
use testkit::reference::Reference;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::terminal::Terminal;

/// Returns the lines that `cswatch` prints on a terminal of this width.
#[track_caller]
pub(super) fn shown(columns: u16, arguments: &[&str]) -> Vec<String> {
    let (terminal, written) = Terminal::open(columns);
    let finished = Cswatch::new()
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdout(Stdout::File(written))
        .run()
        .expect_code(0);
    assert_eq!(finished.stderr, "");
    terminal.lines()
}

/// Returns the lines that `cswatch` prints into a pipe. Fails if it prints anything on stderr.
#[track_caller]
pub(super) fn printed(arguments: &[&str]) -> Vec<String> {
    let finished = Cswatch::new().args(arguments).run().expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout
}

/// Returns the long names of the options that a help text lists: those at the start of a line.
fn options(help: &[String]) -> BTreeSet<&str> {
    let listed = help.iter().filter_map(|line| {
        let line = line.trim_start();
        let after_short = match line.split_once(", --") {
            Some((short, _)) if short.len() == 2 && short.starts_with('-') => &line[4..],
            _ => line,
        };
        let name = after_short.strip_prefix("--")?;
        name.split([' ', '.', '<']).next()
    });
    listed.collect()
}

/// Returns the long names of all options from a help text that must list all of them.
#[track_caller]
pub(super) fn all_options(help: &[String]) -> BTreeSet<&str> {
    let options = options(help);
    assert!(options.len() >= 30, "{options:?}");
    options
}

/// Returns the headings: the lines without indentation that end in a colon.
fn headings(help: &[String]) -> Vec<&str> {
    let lines = help.iter().filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.strip_suffix(':')).collect()
}

/// Returns the lines below a heading, up to the next one.
fn section<'a>(help: &'a [String], heading: &str) -> Vec<&'a str> {
    let heading = format!("{heading}:");
    let lines = help.iter().skip_while(|line| **line != heading).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let lines = lines.map(String::as_str);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The headings of the options.
const HEADINGS: [&str; 9] = [
    "Options",
    "Connection",
    "Filter",
    "Start, resume and stop",
    "Output",
    "NATS JetStream",
    "Drops and lost history",
    "Tuning and monitoring",
    "Messages on stderr",
];

/// The commands that have a help of their own; `None` is the watch.
const COMMANDS: [Option<&str>; 6] = [
    None,
    Some("check"),
    Some("token"),
    Some("health"),
    Some("completions"),
    Some("man"),
];

/// Returns the help of a command on a terminal of 80 columns.
#[track_caller]
pub(super) fn help_of(command: Option<&str>, flag: &str) -> Vec<String> {
    let mut arguments: Vec<&str> = command.into_iter().collect();
    arguments.push(flag);
    shown(80, &arguments)
}

/// Returns the command lines in the examples of a help text.
pub(super) fn examples(help: &[String]) -> Vec<&str> {
    let lines = section(help, "Examples").into_iter().map(str::trim);
    lines.filter(|line| !line.ends_with(':')).collect()
}

/// Returns the examples in the texts of options: paragraphs of one line that begin with an option.
pub(super) fn option_examples(help: &[String]) -> Vec<&str> {
    let is_blank = |line: &str| line.trim().is_empty();
    let paragraphs = help.windows(3);
    let lines = paragraphs.filter(|lines| is_blank(&lines[0]) && is_blank(&lines[2]));
    let lines = lines.filter_map(|lines| lines[1].strip_prefix("          "));
    lines.filter(|line| line.starts_with("--")).collect()
}

#[test]
fn fits_the_short_help_into_three_screens_with_one_line_per_option() {
    for command in COMMANDS {
        let help = help_of(command, "-h");
        assert!(help.len() <= 72, "{command:?}: {} lines", help.len());
        for line in &help {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for heading in HEADINGS {
            for line in section(&help, heading) {
                let (option, text) = line.rsplit_once("  ").expect("an option and its text");
                assert!(option.trim_start().starts_with('-'), "{line}");
                let (text, _) = text.split_once(['[', '(']).unwrap_or((text, ""));
                assert!(text.split_whitespace().count() <= 8, "{line}");
            }
        }
    }
    let help = help_of(None, "-h");
    let mut expected = vec!["Commands"];
    expected.extend(HEADINGS);
    expected.push("Examples");
    assert_eq!(headings(&help), expected);
    assert_eq!(examples(&help).len(), 3);
}

#[test]
fn prints_examples_that_can_be_pasted() {
    for command in COMMANDS {
        let long = help_of(command, "--help");
        let short = help_of(command, "-h");
        let (long, short) = (examples(&long), examples(&short));
        assert_eq!(short, long[..short.len()], "{command:?}");
        for example in long {
            assert!(example.len() <= 76, "{example}");
            ensure_valid(example);
        }
    }
}

/// Checks that each `cswatch` in a command line is valid: the line is run with `--help` added to all of them but watches, which explain
/// their command instead. Other programs are replaced, because a machine need not have them.
#[track_caller]
fn ensure_valid(example: &str) {
    let is_watch = example.starts_with("cswatch -");
    let folder = guard::temp_dir("examples-");
    let ran = folder.path().join("ran");
    let script = format!(
        r#"cswatch() {{
            case $1 in
                -*) CSWATCH_EXPLAIN=1 CSWATCH_FORMAT=canonical "$program" "$@" ;;
                *) "$program" "$@" --help ;;
            esac && echo >> "$ran"
        }}
        jq() {{ cat; }}; man() {{ cat; }}; source() {{ cat "${{1:--}}"; }}
        program=$0; ran=$1; {example}"#
    );
    let finished = Cswatch::new()
        .through(["bash", "-c", &script])
        .args([&ran])
        .run()
        .expect_code(0);
    assert_eq!(finished.stderr, "", "{example}");
    let count = fs::read_to_string(&ran)
        .expect("cswatch ran")
        .lines()
        .count();
    assert_eq!(count, example.matches("cswatch ").count(), "{example}");
    if is_watch && !example.contains("| cswatch") {
        let explained: Value = serde_json::from_str(&finished.stdout.join("\n")).expect("JSON");
        assert_eq!(explained["$db"], "shop", "{example}");
    }
}

#[test]
fn prints_examples_of_options_on_a_line_of_their_own() {
    let help = help_of(None, "--help");
    let examples = option_examples(&help);
    assert!(examples.len() >= 12, "{examples:?}");
    for example in examples {
        let db = if example.contains("--ns-") {
            ""
        } else {
            "-d shop"
        };
        let script = format!(r#""$0" {db} --explain --format canonical {example}"#);
        let finished = Cswatch::new().through(["sh", "-c", &script]).run();
        finished.expect_code(0);
    }
}

/// Options that few users need: the short help leaves them out.
const ONLY_IN_LONG_HELP: [&str; 10] = [
    "nats-creds",
    "nats-ca",
    "nats-stream",
    "nats-subject",
    "nats-partitions",
    "nats-replicas",
    "nats-health-file",
    "batch-size",
    "max-await",
    "catch-up-streams",
];

#[test]
fn lists_all_options_examples_and_exit_codes_in_the_long_help() {
    let help = shown(80, &["--help"]);
    let mut expected = vec!["Commands"];
    expected.extend(HEADINGS);
    expected.extend(["Examples", "Exit codes"]);
    assert_eq!(headings(&help), expected);
    let short = shown(80, &["-h"]);
    let short = all_options(&short);
    let is_left_out = |option: &&str| !short.contains(option);
    let options = all_options(&help);
    let left_out: BTreeSet<&str> = options.iter().copied().filter(is_left_out).collect();
    assert_eq!(left_out, BTreeSet::from(ONLY_IN_LONG_HELP));
    assert_eq!(short.len() + left_out.len(), options.len());

    let codes = section(&help, "Exit codes");
    let codes: Vec<&str> = codes
        .iter()
        .filter_map(|line| line.trim_start().split_once("  "))
        .map(|(code, _)| code)
        .collect();
    let expected = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130, 143"];
    assert_eq!(codes, expected);
}

#[test]
fn explains_every_option_in_the_long_help() {
    let help = shown(80, &["--help"]);
    let mut options = 0;
    for heading in HEADINGS {
        let section = section(&help, heading);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut lines = section.iter().peekable();
        while let Some(line) = lines.next() {
            if indent(line) < 10 {
                let explained = lines.peek().is_some_and(|next| indent(next) == 10);
                assert!(explained, "{line}");
                options += 1;
            }
        }
    }
    assert_eq!(options, all_options(&help).len());
}

#[test]
fn prints_the_defaults_in_both_helps() {
    for flag in ["-h", "--help"] {
        // Joined, because a default may be wrapped onto the next line.
        let help = shown(80, &[flag]);
        let help: Vec<&str> = help.iter().map(|line| line.trim()).collect();
        let help = help.join(" ");
        for (option, default) in [
            ("--uri ", "mongodb://localhost:27017"),
            ("--retry-for ", "forever"),
            ("--full-document ", "default"),
            ("--full-document-before-change ", "off"),
            ("--start ", "now"),
            ("--format ", "canonical"),
            ("--on-invalidate ", "exit"),
            ("--on-history-lost ", "fail"),
            ("--batch-size ", "1000"),
            ("--max-await ", "1s"),
            ("--catch-up-streams ", "2"),
            ("--save-interval ", "1s"),
            ("--log-format ", "text"),
        ] {
            if flag == "-h" && ONLY_IN_LONG_HELP.contains(&option.trim().trim_start_matches('-')) {
                continue;
            }
            let (_, rest) = help.split_once(&format!(" {option}<")).expect(option);
            let (text, _) = rest.split_once(']').expect("a default");
            let expected = format!("[default: {default}");
            assert!(text.ends_with(&expected), "{flag}: {option}{text}");
        }
    }
}

#[test]
fn prints_its_version() {
    let expected = format!("cswatch {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), [expected.as_str()]);
    assert_eq!(printed(&["-V"]), [expected.as_str()]);
}

#[test]
fn exits_with_0_when_the_reader_of_a_text_closes_the_pipe() {
    for arguments in [
        &["man"][..],
        &["completions", "bash"],
        &["--explain"],
        &["--help"],
    ] {
        let finished = Cswatch::new()
            .args(arguments)
            .stdout(Stdout::Closed)
            .run()
            .expect_code(0);
        assert_eq!(finished.stderr, "", "{arguments:?}");
    }
}

#[test]
fn takes_options_from_the_environment_unless_they_are_given() {
    let scenario = Scenario::new("environment");
    let reference = Reference::open(scenario.db().watch());
    block_on(async {
        for (coll, id) in [("a", 1), ("b", 2), ("c", 3), ("b", 4)] {
            let insert = doc! { "_id": id, "keep": id != 2 };
            scenario.coll(coll).insert_one(insert).await?;
        }
        scenario.coll("a").delete_one(doc! { "_id": 1 }).await?;
        scenario
            .coll("a")
            .insert_one(doc! { "_id": 5, "keep": true })
            .await
    })
    .expect("writes");
    let [_, token] = reference.start();
    let uri = scenario.set().uri();
    let from_environment = || {
        Cswatch::new()
            .env("CSWATCH_URI", &uri)
            .env("CSWATCH_DB", scenario.db().name())
            .env("CSWATCH_COLL", "a,b")
            .env("CSWATCH_OP", "insert,update")
            .env("CSWATCH_MATCH", r#"{"fullDocument.keep":true}"#)
            .env("CSWATCH_PIPELINE", r#"[{"$project":{"documentKey":1}}]"#)
            .env("CSWATCH_START_AFTER", token)
            .env("CSWATCH_FORMAT", "relaxed")
            .env("CSWATCH_NO_RESUME", "yes")
            .env("CSWATCH_EXPANDED_EVENTS", "0")
            .env("CSWATCH_VERBOSE", "1")
            .env("CSWATCH_COUNT", "3")
    };
    let ids = |cswatch: Cswatch| -> Vec<Value> {
        let events = cswatch.run().expect_code(0).events().into_iter();
        events
            .map(|event| event["documentKey"]["_id"].clone())
            .collect()
    };
    assert_eq!(ids(from_environment()), [1, 4, 5]);
    assert_eq!(ids(from_environment().args(["--count", "1"])), [1]);
    let other = from_environment().args(["--coll", "c", "--count", "1"]);
    assert_eq!(ids(other), [3]);
}

#[test]
fn reads_the_connection_string_from_a_file() {
    let scenario = Scenario::new("uri_file");
    let reference = Reference::open(scenario.coll("c").watch());
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 })).expect("an insert");
    let file = scenario.path("uri");
    // With blanks around it, as editors and secret stores leave them.
    fs::write(&file, format!(" {}\n", scenario.set().uri())).expect("a file can be written");
    let uri_file = file.to_str().expect("a path of ASCII");
    let finished = Cswatch::new()
        .args(["--uri-file", uri_file, "--db", scenario.db().name()])
        .args(["--coll", "c", "--no-resume", "--count", "1"])
        .args(reference.start())
        .run()
        .expect_code(0);
    assert_eq!(finished.stdout.len(), 1);
}

#[test]
fn refuses_an_invalid_connection_string_in_a_file_without_printing_its_password() {
    let folder = guard::temp_dir("uri-");
    let file = folder.path().join("uri");
    fs::write(&file, "mongodb://user:s3cret/x@host/").expect("a file can be written");
    let uri_file = file.to_str().expect("a path of ASCII");
    let refused = |path: &str| {
        let finished = Cswatch::new().args(["--uri-file", path]).run();
        finished.expect_code(2)
    };
    let finished = refused(uri_file);
    finished.expect_error(
        "--uri-file: password must be URL encoded",
        "write mongodb://[user:password@]host[:port][,...]/[?options] and percent-encode special characters in user and password",
    );
    assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
    let missing = folder.path().join("missing");
    refused(missing.to_str().expect("a path of ASCII")).expect_error(
        &format!(
            "--uri-file: cannot read {}: No such file",
            missing.display()
        ),
        "name a text file that this user can read",
    );
}
