//! Arguments that other tools take: refused with what cswatch takes in their place. Every usage error is one line and a hint, code 2.

use serde_json::Value;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;

/// Runs `cswatch` and expects one error of two lines, without a connection.
#[track_caller]
fn refused(arguments: &[&str]) -> Finished {
    let finished = Cswatch::new().args(arguments).run().expect_code(2);
    assert_eq!(finished.stderr.lines().count(), 2, "{}", finished.stderr);
    assert_eq!(finished.stdout, [""; 0]);
    let (message, hint) = finished.error();
    assert!(
        !message.is_empty() && !hint.is_empty(),
        "{}",
        finished.stderr
    );
    finished
}

#[track_caller]
fn expect_hint(arguments: &[&str], hint: &str) {
    let finished = refused(arguments);
    assert_eq!(finished.error().1, hint, "{arguments:?}");
}

#[test]
fn names_the_option_for_options_of_other_tools() {
    const HOST: &str = "give host and port in the connection string: --uri mongodb://HOST:PORT";
    const LOGIN: &str = "give user and password in the connection string, with --uri-file or CSWATCH_URI: mongodb://USER:PASSWORD@HOST:PORT";
    const MATCH: &str = "use --match '{...}'";
    const FOLLOW: &str =
        "omit it: cswatch follows the stream until it is stopped, and --until now stops it";
    for (arguments, hint) in [
        (&["--host", "db"][..], HOST),
        (&["--port=27018"], HOST),
        (&["--username", "me"], LOGIN),
        (&["--password=x"], LOGIN),
        (&["-u", "me"], LOGIN),
        (&["--query", "{a: 1}"], MATCH),
        (&["--filter={a: 1}"], MATCH),
        (
            &["--ns", "shop.orders"],
            "use --db DB --coll COLL, or --ns-include 'DB.COLL' for a pattern",
        ),
        (&["--collection", "orders"], "use --coll COLL"),
        (&["--database", "shop"], "use --db DB"),
        (&["--relaxed"], "use --format relaxed"),
        (&["--follow"], FOLLOW),
        (&["-f"], FOLLOW),
        (&["--since", "1h"], "use --start WHEN"),
        (&["--from", "1h"], "use --start WHEN"),
        (&["--startAtOperationTime", "1"], "use --start WHEN"),
        (&["--operation", "insert"], "use --op TYPE,..."),
        (&["--ops", "insert"], "use --op TYPE,..."),
        (
            &["--json"],
            "each event is printed as one line of JSON already; --format relaxed makes it easier to read",
        ),
        (&["--file", "x"], "use --output FILE"),
        (&["--limit", "1"], "use --count N"),
        (
            &["--fullDocument", "updateLookup"],
            "use --full-document updateLookup",
        ),
        (&["check", "--host", "db"], HOST),
        (&["check", "--query", "{a: 1}"], MATCH),
    ] {
        expect_hint(arguments, hint);
    }
}

#[test]
fn names_the_option_for_words_without_one() {
    const WATCH: &str = "cswatch watches without a subcommand: cswatch --db DB --coll COLL";
    for (arguments, hint) in [
        (&["watch"][..], WATCH),
        (&["watch", "--db", "shop"], WATCH),
        (&["tail"], WATCH),
        (&["version"], "use --version"),
        (&["shop.orders"], "use --db shop --coll orders"),
        (
            &["check", "shop.order.items"],
            "use --db shop --coll order.items",
        ),
        (
            &["shop"],
            "name a database with --db, a collection with --coll; cswatch --help lists the subcommands",
        ),
        (&["insert"], "use --op insert"),
        (
            &["localhost:27017"],
            "give the server as --uri mongodb://localhost:27017",
        ),
        (
            &["mongodb://localhost"],
            "give the connection string as --uri mongodb://...",
        ),
        (
            &["-d", "shop", "mongodb://localhost"],
            "give the connection string as --uri mongodb://...",
        ),
        (
            &["-q", "{a: 1}"],
            "give a filter as --match '{...}'; -q is --quiet",
        ),
        (
            &["-d", "shop", "{a: 1}"],
            "give a filter as --match '{...}'",
        ),
        (&["[{$match: {}}]"], "give stages as --pipeline '[...]'"),
        (
            &["events.jsonl"],
            "name files with --output FILE, --resume-file FILE or --pipeline @FILE",
        ),
        (
            &["--op", "insert", "delete"],
            "separate the types with commas: --op insert,delete",
        ),
        (
            &["--op=insert,", "delete", "update", "-v"],
            "separate the types with commas: --op insert,delete,update",
        ),
        (
            &["-d", "shop", "-c", "a", "b"],
            "separate the collections with commas: -c a,b",
        ),
        (
            &["-d", "shop", "check"],
            "write the subcommand first: cswatch check ...",
        ),
    ] {
        expect_hint(arguments, hint);
    }
}

#[test]
fn reports_each_usage_error_on_one_line_with_a_hint() {
    for (arguments, message) in [
        (
            &["--nonsense"][..],
            "unexpected argument '--nonsense' found",
        ),
        (
            &["--op", "insert", "delete"],
            "unexpected argument 'delete' found",
        ),
        (
            &["--format", "nice"],
            "invalid value 'nice' for '--format <canonical|relaxed>'",
        ),
        (
            &["--count", "x"],
            "invalid value 'x' for '--count <N>': invalid digit found in string",
        ),
        (
            &["--output"],
            "a value is required for '--output <FILE>' but none was supplied",
        ),
        (
            &["-v", "-q"],
            "the argument '--verbose...' cannot be used with '--quiet'",
        ),
        (
            &["-d", "a", "-d", "b"],
            "the argument '--db <DB>' cannot be used multiple times",
        ),
        (
            &["--status=maybe"],
            "unexpected value 'maybe' for '--status' found; no more were expected",
        ),
        (
            &["health"],
            "the following required arguments were not provided: --resume-file <FILE>",
        ),
        (
            &["completions"],
            "the following required arguments were not provided: <SHELL>",
        ),
        (
            &["completions", "tcsh"],
            "invalid value 'tcsh' for '<SHELL>'",
        ),
        (&["token", "a", "b"], "unexpected argument 'b' found"),
        (
            &["man", "--nonsense"],
            "unexpected argument '--nonsense' found",
        ),
        (
            &["check", "--nonsense"],
            "unexpected argument '--nonsense' found",
        ),
    ] {
        let finished = refused(arguments);
        assert_eq!(finished.error().0, message, "{arguments:?}");
    }
    expect_hint(&["chek"], "a similar subcommand exists: 'check'");
    expect_hint(&["--format", "nice"], "use one of canonical, relaxed");
    expect_hint(
        &["health", "--nonsense"],
        "cswatch health --help lists the options",
    );
}

#[test]
fn reports_usage_errors_as_json_with_json_messages() {
    for arguments in [
        &["--log-format", "json", "--nonsense"][..],
        &["--nonsense", "--log-format=json"],
    ] {
        let finished = Cswatch::new().args(arguments).run().expect_code(2);
        let json: Value = serde_json::from_str(&finished.stderr).expect("one object");
        assert_eq!(json["level"], "ERROR");
        assert_eq!(json["hint"], "cswatch --help lists the options");
    }
}

#[test]
fn accepts_a_date_as_its_midnight_in_utc() {
    for flag in ["--start", "--until"] {
        Cswatch::new()
            .args([flag, "2026-11-25", "--explain"])
            .run_unconnected()
            .expect_code(0);
    }
    for (value, hint) in [
        ("1h", "use -1h for that time ago"),
        ("30m ago", "use -30m for that time ago"),
        (
            "2026-11-25T10:00:00",
            "use 2026-11-25T10:00:00Z for UTC, or add an offset such as +01:00",
        ),
    ] {
        expect_hint(&["--start", value, "--explain"], hint);
    }
}

#[test]
fn names_the_namespace_options_for_a_namespace_as_a_collection_and_a_pattern_as_a_database() {
    let hint = "use --db shop --coll order.items";
    expect_hint(&["--coll", "shop.order.items", "--explain"], hint);
    for (arguments, hint) in [
        (
            &["--db", "shop*"][..],
            "for a pattern, use --ns-include 'shop*.*'",
        ),
        (
            &["--db", "*", "-c", "orders"],
            "for a pattern, use --ns-include '*.orders'",
        ),
    ] {
        let finished = Cswatch::new()
            .args(arguments)
            .args(["--explain"])
            .run_unconnected()
            .expect_code(0);
        assert!(finished.stderr.contains(hint), "{}", finished.stderr);
    }
}
