//! Connection strings in the wrong place, and passwords on the command line.

use std::collections::BTreeSet;
use std::fs;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::guard;
use testkit::replica_set::{Options, ReplicaSet};

/// Connection strings with a password, as people and tools write them.
const URIS: [&str; 3] = [
    "mongodb://user:zebra@host/quagga",
    "MongoDB+SRV://user:zebra,okapi@host/?tls=true",
    "mongodb%3A%2F%2Fuser%3Azebra%40host",
];

/// Returns the long names of all options of a command.
fn options(command: &[&str]) -> BTreeSet<String> {
    let help = Cswatch::new()
        .args(command)
        .args(["--help"])
        .run()
        .expect_code(0);
    let words = help.stdout.iter().filter_map(|line| {
        let line = line.trim_start();
        let line = line
            .get(4..)
            .filter(|_| line.get(1..4).is_some_and(|rest| rest.ends_with(", ")))
            .unwrap_or(line);
        line.strip_prefix("--")?.split([' ', '.', '<', '=']).next()
    });
    let options: BTreeSet<String> = words
        .filter(|name| !name.is_empty() && !matches!(*name, "uri" | "help" | "version"))
        .map(ToOwned::to_owned)
        .collect();
    assert!(!options.is_empty(), "{command:?}");
    options
}

#[track_caller]
fn expect_masked(finished: &Finished, context: &str) {
    let output = finished.stdout.join("\n") + &finished.stderr;
    for word in ["zebra", "okapi"] {
        assert!(
            !output.to_lowercase().contains(word),
            "{context}:\n{output}"
        );
    }
}

#[test]
fn never_repeats_a_connection_string_given_as_another_option() {
    let watch = options(&[]);
    assert!(watch.len() >= 25, "{watch:?}");
    let folder = guard::temp_dir("misplaced-");
    for (index, name) in watch.iter().enumerate() {
        let uri = URIS[index % URIS.len()];
        let variable = format!("CSWATCH_{}", name.to_uppercase().replace('-', "_"));
        let flag = format!("--{name}");
        let ways = [
            Cswatch::new().args([&format!("{flag}={uri}")]),
            Cswatch::new().args([&flag, uri]),
            Cswatch::new().args([&format!("{flag}{uri}")]),
            Cswatch::new().args(["--explain"]).env(&variable, uri),
        ];
        for (way, cswatch) in ways.into_iter().enumerate() {
            let run = cswatch
                .args(["--explain"].iter().filter(|_| way < 3))
                .state_home(folder.path())
                .run();
            expect_masked(&run, &format!("{name}, way {way}"));
        }
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "a file was written");
}

#[test]
fn never_repeats_a_connection_string_given_to_another_command_or_as_an_argument() {
    for uri in URIS {
        for arguments in [
            &[uri][..],
            &["token", uri],
            &["token", "--json", uri],
            &["health", "--resume-file", uri],
            &["health", "--max-silence", uri],
            &["completions", uri],
            &["man", uri],
            &["check", uri],
            &["check", "--json", "--db", "a", "--coll", uri],
            &["--urii", uri],
            &["-d", uri],
            &["-c", uri, "-d", "a", "--explain"],
            &["-x", uri],
            &["--", uri],
        ] {
            let run = Cswatch::new().args(arguments).run();
            assert_ne!(run.code, Some(0), "{arguments:?}");
            expect_masked(&run, &format!("{arguments:?}"));
        }
    }
}

#[test]
fn names_the_option_that_holds_a_connection_string() {
    let uri = URIS[0];
    for (arguments, place) in [
        (&["--db", uri][..], "--db"),
        (&["-d", "a", "-c", uri], "-c"),
        (&["token", uri], "token"),
    ] {
        let run = Cswatch::new().args(arguments).run().expect_code(2);
        let place = if place == "token" {
            "an argument"
        } else {
            place
        };
        run.expect_error(
            &format!("{place}: a connection string is not valid here"),
            "give the connection string as --uri mongodb://..., or with --uri-file or CSWATCH_URI",
        );
    }
}

#[test]
fn masks_a_login_without_a_scheme() {
    for arguments in [
        &["--uri", "user:zebra@host"][..],
        &["--count", "user:zebra@host"],
        &["--op", "user:zebra@host"],
        &["--urii=user:zebra@host"],
        &["--uri-file", "https://user:zebra@host/"],
    ] {
        let run = Cswatch::new().args(arguments).run().expect_code(2);
        expect_masked(&run, &format!("{arguments:?}"));
    }
}

#[test]
fn refuses_a_file_that_holds_more_than_a_connection_string_without_repeating_it() {
    let folder = guard::temp_dir("uri-");
    let file = folder.path().join("uri");
    let path = file.to_str().expect("a path of ASCII");
    for text in [
        "# production, password zebra\nmongodb://user:zebra@host/\n",
        "mongodb://user:zebra@host/\n# okapi\n",
        "MONGODB_URI=mongodb://user:zebra@host/",
    ] {
        fs::write(&file, text).expect("a file can be written");
        let run = Cswatch::new()
            .args(["--uri-file", path])
            .run()
            .expect_code(2);
        expect_masked(&run, text);
        assert!(
            run.stderr.contains("cswatch: error: --uri-file: "),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn warns_of_a_password_on_the_command_line_only() {
    const WARNING: &str =
        "warning: the password in --uri is visible to other users of this machine";
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let until_now = ["--no-resume", "--until", "now", "--db", "a"];
    let warnings = |cswatch: Cswatch| {
        let run = cswatch.args(until_now).run().expect_code(0);
        run.stderr.matches(WARNING).count()
    };
    let uri = set.uri();
    let folder = guard::temp_dir("uri-");
    let file = folder.path().join("uri");
    fs::write(&file, &uri).expect("a file can be written");
    assert_eq!(warnings(Cswatch::new().args(["--uri", &uri])), 1);
    assert_eq!(warnings(Cswatch::new().env("CSWATCH_URI", &uri)), 0);
    assert_eq!(
        warnings(Cswatch::new().args(["--uri-file"]).args([&file])),
        0
    );
    let open = ReplicaSet::shared().uri();
    assert_eq!(warnings(Cswatch::new().args(["--uri", &open])), 0);
}

#[test]
fn names_the_connection_string_for_options_of_other_tools() {
    for (arguments, tip) in [
        (&["--host", "db1"][..], "--uri mongodb://HOST:PORT"),
        (&["--port", "27018"], "--uri mongodb://HOST:PORT"),
        (&["--username", "me"], "mongodb://USER:PASSWORD@HOST:PORT"),
        (
            &["--password", "zebra"],
            "mongodb://USER:PASSWORD@HOST:PORT",
        ),
        (&["--password=zebra"], "mongodb://USER:PASSWORD@HOST:PORT"),
        (&["-u", "me"], "mongodb://USER:PASSWORD@HOST:PORT"),
        (&["-p", "zebra"], "mongodb://USER:PASSWORD@HOST:PORT"),
        (&["-pzebra"], "mongodb://USER:PASSWORD@HOST:PORT"),
        (&["--authenticationDatabase", "admin"], "?authSource=VALUE"),
        (&["--replicaSet", "rs0"], "?replicaSet=VALUE"),
        (
            &["mongodb://host"],
            "give the connection string as --uri mongodb://...",
        ),
    ] {
        let run = Cswatch::new().args(arguments).run().expect_code(2);
        assert!(run.stderr.contains(tip), "{arguments:?}: {}", run.stderr);
        expect_masked(&run, &format!("{arguments:?}"));
    }
}
