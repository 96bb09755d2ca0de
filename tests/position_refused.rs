//! Position files that are in use, damaged or of something else: refused before anything is
//! connected wherever that can be, never written to, never taken for a reason to start at now.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert, position, saved_time};
use testkit::port::free_listener;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::Finished;
use testkit::scenario::Scenario;

/// Where no connection may come in.
struct Untouched(TcpListener);

impl Untouched {
    fn new() -> Untouched {
        let listener = free_listener();
        listener
            .set_nonblocking(true)
            .expect("a listener can be made non-blocking");
        Untouched(listener)
    }

    /// A watch of `db.c` on it.
    fn cswatch(&self, file: &Path) -> Cswatch {
        let address = self.0.local_addr().expect("a listener has an address");
        let uri = format!("mongodb://{address}/?directConnection=true");
        Cswatch::new()
            .args(["--uri", &uri, "--db", "db", "--coll", "c"])
            .args([Path::new("--resume-file"), file])
    }

    #[track_caller]
    fn ensure(&self) {
        let connection = self.0.accept().map(|_| ());
        assert_eq!(
            connection.map_err(|error| error.kind()),
            Err(ErrorKind::WouldBlock)
        );
    }
}

/// Runs it on `file`, which is refused with code 5 for this reason and with this way out, and is not
/// touched; nothing is connected.
#[track_caller]
fn ensure_refused(file: &Path, why: &str, way_out: &str) {
    let before = fs::read(file).ok();
    let server = Untouched::new();
    let run = server.cswatch(file).run();
    ensure_said(run, file, why, way_out);
    server.ensure();
    assert_eq!(fs::read(file).ok(), before);
}

/// It ended with code 5, and said so in one line.
#[track_caller]
fn ensure_said(run: Finished, file: &Path, why: &str, way_out: &str) {
    let run = run.expect_code(5);
    let said = format!("cswatch: error: position file {} {why}", file.display());
    let lines: Vec<_> = run.stderr.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains(&said) && lines[0].contains(way_out),
        "{said} .. {way_out}\n{}",
        run.stderr
    );
    assert_eq!(run.stdout, [""; 0]);
}

/// A position file of `db.c` as it is saved, on the shared set.
#[track_caller]
fn saved(scenario: &Scenario) -> PathBuf {
    let file = scenario.path("position.json");
    Cswatch::new()
        .args([
            "--uri",
            &scenario.set().uri(),
            "--until",
            "now",
            "--max-await",
            "50ms",
        ])
        .args(["--db", "db", "--coll", "c"])
        .args([Path::new("--resume-file"), &file])
        .run()
        .expect_code(0);
    file
}

/// Changes a field, and makes the checksum fit again: SHA-256 of all that stands before it.
fn forge(file: &Path, field: &str, value: Value) {
    let mut content = position(file);
    content
        .as_object_mut()
        .expect("an object")
        .shift_remove("checksum");
    content[field] = value;
    let body = content.to_string();
    let body = body.strip_suffix('}').expect("an object");
    let checksum = const_hex::encode(Sha256::digest(body));
    fs::write(file, format!("{body},\"checksum\":\"{checksum}\"}}\n")).expect("a file");
}

/// Without the rights that root has over everybody's files.
const UNPRIVILEGED: [&str; 2] = ["unshare", "--user"];

#[test]
fn second_instance_is_refused_at_once_and_told_who_the_first_is() {
    let scenario = Scenario::new("second_instance");
    let file = scenario.path("position.json");
    let watch = || {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--resume-file"), &file])
    };
    let mut first = watch().spawn();
    first.wait_open();
    ensure_refused(
        &file,
        &format!("is in use by pid {} on host ", first.pid()),
        "stop that one, or give this one another --resume-file, or --no-resume",
    );
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&first.next_line()), "insert 1");
    first.kill();
    let mut second = watch().spawn();
    second.wait_open();
    insert(&scenario.coll("c"), 2..=2);
    second.lines_until(|line| brief(line) == "insert 2");
    second.kill();
}

#[test]
fn damaged_file_is_refused_and_left_as_it_is() {
    let scenario = Scenario::new("damaged");
    let file = saved(&scenario);
    let whole = fs::read_to_string(&file).expect("a position file");
    let digit = whole.find("\"_data\":\"82").expect("a token") + "\"_data\":\"82".len();
    let other = if whole[digit..].starts_with('7') {
        "8"
    } else {
        "7"
    };
    let mut changed = whole.clone();
    changed.replace_range(digit..=digit, other);
    let twice = format!("{whole}{whole}");
    let foreign = "is not a position file of cswatch, or is damaged";
    let damaged = "is damaged: its checksum does not fit its content";
    let contents: [(&[u8], &str); 11] = [
        (b"", "is empty"),
        (b"\n", foreign),
        (&whole.as_bytes()[..whole.len() / 2], foreign),
        (&whole.as_bytes()[..whole.len() - 4], damaged),
        (changed.as_bytes(), damaged),
        (twice.as_bytes(), damaged),
        (b"{}", foreign),
        (b"{\"resumeToken\":{\"_data\":\"826B\"}}\n", foreign),
        (b"null", foreign),
        (b"826B0339AF000000052B0229296E04", foreign),
        (b"\xff\xfe{}", "is damaged: not text"),
    ];
    for (content, why) in contents {
        fs::write(&file, content).expect("a file");
        ensure_refused(
            &file,
            why,
            "put back a copy, or move it away and say where to start: --start-after TOKEN, --start WHEN",
        );
    }
    // Nor is it taken for no position when a start is given.
    for start in [
        ["--start", "earliest"],
        ["--start-after", "826B0339AF000000052B0229296E04"],
    ] {
        let server = Untouched::new();
        server.cswatch(&file).args(start).run().expect_code(5);
        server.ensure();
    }
    fs::write(&file, &whole).expect("a file");
    saved(&scenario);
}

#[test]
fn file_of_another_program_or_of_a_newer_one_is_refused() {
    let scenario = Scenario::new("foreign");
    let file = saved(&scenario);
    forge(&file, "program", "other".into());
    ensure_refused(
        &file,
        "is not a position file of cswatch, or is damaged",
        "",
    );
    forge(&file, "program", "cswatch".into());
    forge(&file, "version", 3.into());
    ensure_refused(
        &file,
        "is of a newer cswatch: format 3, this one reads 2",
        "put back a copy, or move it away and say where to start",
    );
    forge(&file, "version", 2.into());
    forge(&file, "token", serde_json::json!({ "_data": "zz" }));
    ensure_refused(&file, "holds no resume token", "");
}

#[test]
fn file_of_another_scope_is_refused() {
    let scenario = Scenario::new("other_scope");
    let file = saved(&scenario);
    let server = Untouched::new();
    let uri = format!("mongodb://{}", server.0.local_addr().expect("an address"));
    let scopes: [(&[&str], &str); 5] = [
        (&[], r#"{"db":null,"coll":null}"#),
        (&["--db", "db"], r#"{"db":"db","coll":null}"#),
        (
            &["--db", "db", "--coll", "d"],
            r#"{"db":"db","coll":["d"]}"#,
        ),
        (
            &["--db", "other", "--coll", "c"],
            r#"{"db":"other","coll":["c"]}"#,
        ),
        (
            &["--db", "db", "--coll", "c,d"],
            r#"{"db":"db","coll":["c","d"]}"#,
        ),
    ];
    let before = fs::read(&file).expect("a file");
    for (scope, id) in scopes {
        let run = Cswatch::new()
            .args(["--uri", &uri])
            .args(scope)
            .args([Path::new("--resume-file"), &file])
            .run();
        ensure_said(
            run,
            &file,
            &format!(r#"is of another stream: it holds {{"db":"db","coll":["c"]}}, this is {id}"#),
            "give another --resume-file, or watch what it was made for",
        );
    }
    server.ensure();
    assert_eq!(fs::read(&file).expect("a file"), before);
}

#[test]
fn folder_pipe_and_device_are_no_position_file() {
    let scenario = Scenario::new("no_file");
    let folder = scenario.path("folder");
    fs::create_dir(&folder).expect("a folder");
    ensure_refused(&folder, "is a folder", "name a file in it");
    let pipe = scenario.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    for file in [&pipe, Path::new("/dev/null")] {
        let server = Untouched::new();
        ensure_said(
            server.cswatch(file).run(),
            file,
            "is no regular file",
            "name a regular file",
        );
        server.ensure();
    }
}

#[test]
fn file_that_cannot_be_read_or_replaced_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let scenario = Scenario::new("unreadable");
    let file = saved(&scenario);
    let before = fs::read(&file).expect("a file");
    let ensure = |file: &Path, why: &str, way_out: &str| {
        let server = Untouched::new();
        let run = server.cswatch(file).through(UNPRIVILEGED).run();
        ensure_said(run, file, why, way_out);
        server.ensure();
    };
    set_mode(&file, 0o000);
    ensure(
        &file,
        "cannot be read: Permission denied",
        "mend its permissions, or give another --resume-file",
    );
    set_mode(&file, 0o600);
    let folder = file.parent().expect("a folder");
    set_mode(folder, 0o500);
    ensure(
        &file,
        "cannot be written: Permission denied",
        "make its folder writable, or give another --resume-file, or --no-resume",
    );
    let elsewhere = folder.join("elsewhere.json");
    let way_out =
        "make its folder exist and be writable, or give another --resume-file, or --no-resume";
    ensure(&elsewhere, "cannot be locked: ", way_out);
    set_mode(folder, 0o700);
    ensure(
        &folder.join("missing/position.json"),
        "cannot be locked: ",
        way_out,
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
}

/// Only a server can tell these; it is asked nothing else first.
#[test]
fn file_of_another_deployment_is_refused_right_after_connecting() {
    let scenario = Scenario::new("other_deployment");
    let file = saved(&scenario);
    let watch = |set: &ReplicaSet| {
        Cswatch::new()
            .args(["--uri", &set.uri(), "--db", "db", "--coll", "c"])
            .args([Path::new("--resume-file"), &file])
            .run()
    };
    let before = fs::read(&file).expect("a file");
    let other = ReplicaSet::start(Options {
        name: "other",
        ..Options::default()
    });
    ensure_said(
        watch(&other),
        &file,
        "is of replica set rs0, this one is other",
        "give another --resume-file, or connect to the other set",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);

    let Timestamp { time, increment } = saved_time(&file);
    let ahead = time + 3600;
    let data = format!("82{ahead:08X}{increment:08X}2B0229296E04");
    forge(&file, "token", serde_json::json!({ "_data": data }));
    let before = fs::read(&file).expect("a file");
    let ahead = jiff::Timestamp::from_second(ahead.into()).expect("a time");
    ensure_said(
        watch(scenario.set()),
        &file,
        &format!("is ahead of the server: its position is from {ahead}, the server is at "),
        "move the file away to start anew",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
}
