//! Resume files that are in use, damaged or belong to another stream. cswatch refuses them before it connects where that is possible. It
//! never writes to them, and never starts at the current time instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, checkpoint, insert, saved_time};
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// The hint for a file without a usable checkpoint.
const RESTORE: &str = "restore a copy, or move the file away and choose a start with --start-after TOKEN or --start WHEN";

/// Returns a watch of `db.c` with this resume file, without a connection string.
fn watch(file: &Path) -> Cswatch {
    Cswatch::new()
        .args(["--db", "db", "--coll", "c"])
        .args([Path::new("--resume-file"), file])
}

/// Runs a watch with `file`. Fails unless the file is refused, with this message and hint and without a connection, and stays untouched.
#[track_caller]
fn expect_refused(file: &Path, message: &str, hint: &str) {
    let before = fs::read(file).ok();
    expect_refusal(watch(file).run_unconnected(), file, message, hint);
    assert_eq!(fs::read(file).ok(), before);
}

/// Fails unless the run ended with code 5 and this error. FILE in `message` stands for the path of the resume file.
#[track_caller]
fn expect_refusal(run: Finished, file: &Path, message: &str, hint: &str) {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let lock = file.with_file_name(format!(".{name}.cswatch-lock"));
    let message = message
        .replace("LOCK", &lock.display().to_string())
        .replace("FILE", &file.display().to_string());
    run.expect_failure(5, &message, hint);
}

/// Saves a resume file of `db.c` on the shared set, and returns its path.
#[track_caller]
fn save(scenario: &Scenario) -> PathBuf {
    let file = scenario.resume_file();
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

/// Changes a field, and updates the checksum: SHA-256 of everything before it.
fn forge(file: &Path, field: &str, value: Value) {
    let mut content = checkpoint(file);
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

/// Runs a program without the rights of root over all files.
const UNPRIVILEGED: [&str; 2] = ["unshare", "--user"];

#[test]
fn refuses_a_file_in_use_and_names_the_process() {
    let scenario = Scenario::new("second_instance");
    let coll = scenario.coll("c");
    let mut first = scenario.watch(&[]).spawn();
    first.wait_open();
    expect_refused(
        &scenario.resume_file(),
        &format!("resume file FILE is in use by pid {} on host ", first.pid()),
        "stop that process, give another --resume-file, or use --no-resume",
    );
    insert(&coll, 1..=1);
    assert_eq!(brief(&first.next_line()), "insert 1");
    first.kill();
    let mut second = scenario.watch(&[]).spawn();
    second.wait_open();
    insert(&coll, 2..=2);
    let lines = briefs(&second.lines_until(|line| brief(line) == "insert 2"));
    // The kill came either before or after the save of `insert 1`.
    assert!(
        lines == ["insert 2"] || lines == ["insert 1", "insert 2"],
        "{lines:?}"
    );
    second.kill();
}

#[test]
fn refuses_a_damaged_file_and_leaves_it_untouched() {
    let scenario = Scenario::new("damaged");
    let file = save(&scenario);
    let whole = fs::read_to_string(&file).expect("a resume file");
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
    let foreign = "was not written by cswatch, or is damaged";
    let damaged = "is damaged: its checksum does not match its content";
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
        (b"\xff\xfe{}", "is damaged: not UTF-8"),
    ];
    for (content, why) in contents {
        fs::write(&file, content).expect("a file");
        expect_refused(&file, &format!("resume file FILE {why}"), RESTORE);
    }
    // A start on the command line does not replace a damaged checkpoint either.
    for start in [
        ["--start", "earliest"],
        ["--start-after", "826B0339AF000000052B0229296E04"],
    ] {
        let run = watch(&file).args(start).run_unconnected();
        expect_refusal(
            run,
            &file,
            "resume file FILE is damaged: not UTF-8",
            RESTORE,
        );
    }
    fs::write(&file, &whole).expect("a file");
    save(&scenario);
}

#[test]
fn refuses_a_file_of_another_program_or_of_a_newer_version() {
    let scenario = Scenario::new("foreign");
    let file = save(&scenario);
    forge(&file, "program", "other".into());
    expect_refused(
        &file,
        "resume file FILE was not written by cswatch, or is damaged",
        RESTORE,
    );
    forge(&file, "program", "cswatch".into());
    forge(&file, "version", 4.into());
    expect_refused(
        &file,
        "resume file FILE was written by a newer cswatch: format 4, this version reads 3",
        RESTORE,
    );
    forge(&file, "version", 2.into());
    forge(&file, "token", serde_json::json!({ "_data": "zz" }));
    expect_refused(
        &file,
        "resume file FILE holds no valid resume token: the resume token's _data is not hex: ",
        RESTORE,
    );
}

#[test]
fn refuses_a_file_of_another_scope() {
    let scenario = Scenario::new("other_scope");
    let file = save(&scenario);
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
            &format!(
                r#"resume file FILE belongs to another stream: it was saved for {{"db":"db","coll":["c"]}}, this is {id}"#
            ),
            "give another --resume-file, or watch the stream that it was saved for",
        );
    }
    assert_eq!(fs::read(&file).expect("a file"), before);
}

#[test]
fn refuses_a_directory_a_pipe_and_a_device() {
    let scenario = Scenario::new("no_file");
    let directory = scenario.path("directory");
    fs::create_dir(&directory).expect("a directory");
    expect_refused(
        &directory,
        "resume file FILE is a directory",
        "name a file in it",
    );
    let pipe = scenario.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    for file in [&pipe, Path::new("/dev/null")] {
        let run = watch(file).run_unconnected();
        expect_refusal(
            run,
            file,
            "resume file FILE is not a regular file",
            "name a regular file",
        );
    }
}

#[test]
fn refuses_a_file_that_cannot_be_read_or_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let scenario = Scenario::new("unreadable");
    let file = save(&scenario);
    let before = fs::read(&file).expect("a file");
    let expect_refusal = |file: &Path, message: &str, hint: &str| {
        let run = watch(file).through(UNPRIVILEGED).run_unconnected();
        expect_refusal(run, file, message, hint);
    };
    set_mode(&file, 0o000);
    expect_refusal(
        &file,
        "cannot read resume file FILE: Permission denied",
        "fix its permissions, or give another --resume-file",
    );
    set_mode(&file, 0o600);
    let directory = file.parent().expect("a directory");
    set_mode(directory, 0o500);
    expect_refusal(
        &file,
        "cannot write resume file FILE: Permission denied",
        "make its directory writable, give another --resume-file, or use --no-resume",
    );
    let elsewhere = directory.join("elsewhere.json");
    let hint = "make sure that its directory exists and is writable, give another --resume-file, or use --no-resume";
    expect_refusal(
        &elsewhere,
        "cannot lock resume file FILE: LOCK: Permission denied",
        hint,
    );
    assert!(!elsewhere.exists());
    set_mode(directory, 0o700);
    expect_refusal(
        &directory.join("missing/resume.json"),
        "cannot lock resume file FILE: LOCK: No such file or directory",
        hint,
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
}

/// These are recognized only with the server's first reply, before a stream is opened.
#[test]
fn refuses_a_file_of_another_deployment() {
    let scenario = Scenario::new("other_deployment");
    let file = save(&scenario);
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
        "resume file FILE belongs to replica set rs0, this one is other",
        "give another --resume-file, or connect to replica set rs0",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);

    let whole = before;
    forge(&file, "set", "rs9".into());
    let before = fs::read(&file).expect("a file");
    expect_refusal(
        watch(scenario.set()),
        &file,
        "resume file FILE belongs to replica set rs9, this one is rs0",
        "give another --resume-file, or connect to replica set rs9",
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
        &format!(
            "resume file FILE belongs to another deployment or to a later state of this one: its checkpoint {ahead} is ahead of the server's time, "
        ),
        "connect to the deployment that it belongs to; if this one was restored from a backup, move the file away to start without it",
    );
    assert_eq!(fs::read(&file).expect("a file"), before);
}
