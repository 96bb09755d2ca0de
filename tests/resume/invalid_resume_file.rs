//! Resume files that are in use, damaged or of something else: refused, before connecting wherever that is possible, never written
//! to, and never a reason to start at the present.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, insert, position, saved_time};
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// A watch of `db.c` with this resume file, without a connection string.
fn watch(file: &Path) -> Cswatch {
    Cswatch::new()
        .args(["--db", "db", "--coll", "c"])
        .args([Path::new("--resume-file"), file])
}

/// Runs it on `file`, which is refused for this reason and with this hint, and is not touched; it does not connect.
#[track_caller]
fn expect_refused(file: &Path, why: &str, hint: &str) {
    let before = fs::read(file).ok();
    expect_refusal(watch(file).run_unconnected(), file, why, hint);
    assert_eq!(fs::read(file).ok(), before);
}

/// It ended with code 5 and one error about the file.
#[track_caller]
fn expect_refusal(run: Finished, file: &Path, why: &str, hint: &str) {
    let message = format!("position file {} {why}", file.display());
    run.expect_failure(5, &message, hint);
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
    let watch = |options: &[&str]| {
        scenario
            .cswatch(["--coll", "c"])
            .args([Path::new("--resume-file"), &file])
            .args(options)
    };
    let mut first = watch(&[]).spawn();
    first.wait_open();
    expect_refused(
        &file,
        &format!("is in use by pid {} on host ", first.pid()),
        "stop that one, or give this one another --resume-file, or --no-resume",
    );
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&first.next_line()), "insert 1");
    first.kill();
    let mut second = watch(&[]).spawn();
    second.wait_open();
    insert(&scenario.coll("c"), 2..=2);
    let lines = briefs(&second.lines_until(|line| brief(line) == "insert 2"));
    // The kill came before the save after that line, or after it.
    assert!(
        lines == ["insert 2"] || lines == ["insert 1", "insert 2"],
        "{lines:?}"
    );
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
    let mut cut = whole.clone();
    cut.remove(digit);
    let twice = format!("{whole}{whole}");
    let foreign = "is not a position file of cswatch, or is damaged";
    let damaged = "is damaged: its checksum does not fit its content";
    let contents: [(&[u8], &str); 12] = [
        (b"", "is empty"),
        (b"\n", foreign),
        (&whole.as_bytes()[..whole.len() / 2], foreign),
        (&whole.as_bytes()[..whole.len() - 4], damaged),
        (changed.as_bytes(), damaged),
        (cut.as_bytes(), damaged),
        (twice.as_bytes(), damaged),
        (b"{}", foreign),
        (b"{\"resumeToken\":{\"_data\":\"826B\"}}\n", foreign),
        (b"null", foreign),
        (b"826B0339AF000000052B0229296E04", foreign),
        (b"\xff\xfe{}", "is damaged: not text"),
    ];
    for (content, why) in contents {
        fs::write(&file, content).expect("a file");
        expect_refused(
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
        let run = watch(&file).args(start).run_unconnected();
        expect_refusal(run, &file, "is damaged: not text", "");
    }
    fs::write(&file, &whole).expect("a file");
    saved(&scenario);
}

#[test]
fn file_of_another_program_or_of_a_newer_one_is_refused() {
    let scenario = Scenario::new("foreign");
    let file = saved(&scenario);
    forge(&file, "program", "other".into());
    expect_refused(
        &file,
        "is not a position file of cswatch, or is damaged",
        "",
    );
    forge(&file, "program", "cswatch".into());
    forge(&file, "version", 2.into());
    expect_refused(
        &file,
        "is of a newer cswatch: format 2, this one reads 1",
        "; put back a copy, or move it away and say where to start: --start-after TOKEN, --start WHEN",
    );
    forge(&file, "version", 1.into());
    forge(&file, "token", serde_json::json!({ "_data": "zz" }));
    expect_refused(&file, "holds no resume token", "");
}

#[test]
fn file_of_another_scope_is_refused() {
    let scenario = Scenario::new("other_scope");
    let file = saved(&scenario);
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
            .args(scope)
            .args([Path::new("--resume-file"), &file])
            .run_unconnected();
        expect_refusal(
            run,
            &file,
            &format!(r#"is of another stream: it holds {{"db":"db","coll":["c"]}}, this is {id}"#),
            "give another --resume-file, or watch what it was made for",
        );
    }
    assert_eq!(fs::read(&file).expect("a file"), before);
}

#[test]
fn folder_pipe_and_device_are_no_position_file() {
    let scenario = Scenario::new("no_file");
    let folder = scenario.path("folder");
    fs::create_dir(&folder).expect("a folder");
    expect_refused(&folder, "is a folder", "name a file in it");
    let pipe = scenario.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    for file in [&pipe, Path::new("/dev/null")] {
        let run = watch(file).run_unconnected();
        expect_refusal(run, file, "is no regular file", "name a regular file");
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
        let run = watch(file).through(UNPRIVILEGED).run_unconnected();
        expect_refusal(run, file, why, way_out);
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
    assert!(!elsewhere.exists());
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
    expect_refusal(
        watch(&other),
        &file,
        "is of replica set rs0, this one is other",
        "give another --resume-file, or connect to the other set",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);

    // And the other way around.
    let whole = before;
    forge(&file, "set", "rs9".into());
    let before = fs::read(&file).expect("a file");
    expect_refusal(
        watch(scenario.set()),
        &file,
        "is of replica set rs9, this one is rs0",
        "give another --resume-file, or connect to the other set",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
    fs::write(&file, &whole).expect("a file");

    let Timestamp { time, increment } = saved_time(&file);
    let ahead = time + 3600;
    let data = format!("82{ahead:08X}{increment:08X}2B0229296E04");
    forge(&file, "token", serde_json::json!({ "_data": data }));
    let before = fs::read(&file).expect("a file");
    let ahead = jiff::Timestamp::from_second(ahead.into()).expect("a time");
    expect_refusal(
        watch(scenario.set()),
        &file,
        &format!("is ahead of the server: its position is from {ahead}, the server is at "),
        "move the file away to start anew",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
}
