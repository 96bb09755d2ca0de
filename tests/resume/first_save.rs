//! The checkpoint that is saved at each start, and the one after the first lines.

use std::fs::{self, File};
use std::io::{Read as _, pipe};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mongodb::bson::doc;
use rustix::fd::OwnedFd;
use rustix::process::Signal;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, checkpoint, insert, saved_token};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{expect_error, watch, watch_nowhere, watch_until_now};

const MOUNT_HINT: &str = "mount the directory that holds the resume file, not the file";

/// Starts `cswatch` where `file` alone is a mount, as in a container that was given the file as a volume.
fn with_mounted_file(cswatch: Cswatch, file: &Path) -> Cswatch {
    let mount = r#"mount --bind "$0" "$0" && exec "$@""#;
    let file = file.to_str().expect("a path in UTF-8");
    cswatch.through([
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        mount,
        file,
    ])
}

#[test]
fn refuses_a_resume_file_that_is_mounted_alone_before_it_connects() {
    let scenario = Scenario::new("mounted_file");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let error = format!(
        "resume file {} is mounted as a single file, which cannot be replaced",
        file.display()
    );
    for content in [fs::read(&file).expect("a resume file"), Vec::new()] {
        fs::write(&file, &content).expect("a file");
        let run = with_mounted_file(watch_nowhere(&file), &file).run();
        expect_error(run, 5, &error, MOUNT_HINT);
        let check = Cswatch::new()
            .args([
                "check",
                "--uri",
                "mongodb://127.0.0.1:1",
                "--db",
                "db",
                "--resume-file",
            ])
            .args([&file]);
        let check = with_mounted_file(check, &file).run().expect_code(5);
        let printed = check.stdout.join("\n");
        assert!(
            printed.contains(&error) && printed.contains(MOUNT_HINT),
            "{printed}"
        );
        assert_eq!(fs::read(&file).expect("the file"), content);
    }
}

#[test]
fn ends_with_the_same_hint_when_the_resume_file_is_mounted_alone_while_it_runs() {
    let scenario = Scenario::new("mounted_meanwhile");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let mut running = watch(&scenario, &file)
        .args(["--save-interval", "0"])
        .through(["unshare", "--user", "--map-root-user", "--mount"])
        .spawn();
    running.wait_open();
    let pid = running.pid().to_string();
    let mounted = Command::new("nsenter")
        .args([
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &pid,
        ])
        .args(["mount", "--bind"])
        .args([&file, &file])
        .status();
    assert!(mounted.expect("nsenter").success());
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    running.expect_stderr("cannot write resume file");
    running.signal(Signal::TERM);
    let stderr = running.wait().expect_code(5).stderr;
    assert!(stderr.contains(MOUNT_HINT), "{stderr}");
    let rest = watch_until_now(&scenario, &file);
    assert_eq!(brief(&rest.stdout[0]), "insert 1");
}

#[test]
fn saves_the_checkpoint_at_each_start() {
    // Nothing is written to this server, so that no save moves the checkpoint.
    let set = ReplicaSet::start(Options {
        arguments: vec!["--setParameter=writePeriodicNoops=false".to_owned()],
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "saved_at_start");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let before = checkpoint(&file);
    let mut running = watch(&scenario, &file)
        .args([
            "--match",
            r#"{"operationType":"none"}"#,
            "--save-interval",
            "1h",
        ])
        .spawn();
    running.wait_open();
    running.kill();
    let after = checkpoint(&file);
    assert_eq!(after["token"], before["token"]);
    assert_ne!(after["saved"], before["saved"]);
    assert_ne!(after["fingerprint"], before["fingerprint"]);
}

/// Returns the `_id` of the insert on a line.
#[track_caller]
fn id(line: &str) -> i32 {
    let brief = brief(line);
    let id = brief.strip_prefix("insert ").expect("an insert");
    id.parse().expect("a number")
}

/// The reader accepts what fits into the pipe, which is less than one write of cswatch, and then stands still.
#[test]
fn gets_ahead_although_it_is_killed_soon_after_each_start() {
    const STARTS: i32 = 12;
    const EVENTS: i32 = 60;
    let scenario = Scenario::new("killed_at_start");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let text = "x".repeat(20_000);
    let documents = (1..=EVENTS).map(|id| doc! { "_id": id, "text": &text });
    block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
    // The first event that no run has printed whole, and the event after the one that the last run began at.
    let (mut unprinted, mut further) = (1, 1);
    for start in 1..=STARTS {
        let before = saved_token(&file);
        let (mut reader, writer) = pipe().expect("a pipe");
        let running = watch(&scenario, &file)
            .args(["--save-interval", "1h"])
            .stdout(Stdout::File(File::from(OwnedFd::from(writer))))
            .spawn();
        let saved = poll(DEADLINE, || (saved_token(&file) != before).then_some(()));
        let ended = running.kill();
        assert!(
            saved.is_some(),
            "start {start} saved nothing\n{}",
            ended.stderr
        );
        let mut printed = String::new();
        reader.read_to_string(&mut printed).expect("lines");
        let first = id(printed.lines().next().expect("a line"));
        assert!(
            (further..=unprinted).contains(&first),
            "start {start} begins at {first}, not within {further}..={unprinted}"
        );
        let whole = printed.matches('\n').count();
        unprinted = first + i32::try_from(whole).expect("few lines");
        further = first + 1;
    }
    let rest = watch_until_now(&scenario, &file);
    assert!((further..=unprinted).contains(&id(&rest.stdout[0])));
    assert_eq!(
        brief(rest.stdout.last().expect("lines")),
        format!("insert {EVENTS}")
    );
}

/// Nothing is printed, and yet a checkpoint that stays where it is ages out of the oplog.
#[test]
fn gets_ahead_although_nothing_matches_and_it_is_killed_soon_after_each_start() {
    let scenario = Scenario::new("killed_unmatched");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    for id in 1..=3 {
        insert(&scenario.coll("c"), id..=id);
        let before = saved_token(&file);
        let running = watch(&scenario, &file)
            .args(["--match", r#"{"operationType":"none"}"#])
            .spawn();
        // Sooner than a watch that was idle would save.
        let saved = poll(Duration::from_secs(4), || {
            (saved_token(&file) != before).then_some(())
        });
        let ended = running.kill();
        assert!(
            saved.is_some(),
            "start {id} saved nothing\n{}",
            ended.stderr
        );
    }
}

#[test]
fn saves_at_the_interval_while_a_slow_reader_takes_one_large_reply() {
    const EVENTS: i32 = 200;
    let scenario = Scenario::new("slow_reader");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let text = "x".repeat(20_000);
    let documents = (1..=EVENTS).map(|id| doc! { "_id": id, "text": &text });
    block_on(scenario.coll("c").insert_many(documents)).expect("inserts");
    let (mut reader, writer) = pipe().expect("a pipe");
    let running = watch(&scenario, &file)
        .args(["--save-interval", "0"])
        .stdout(Stdout::File(File::from(OwnedFd::from(writer))))
        .spawn();
    // All events are in one reply. It is read in part; what was saved must follow.
    let mut tokens = vec![saved_token(&file)];
    let mut chunk = vec![0; 256 * 1024];
    for _ in 0..6 {
        reader.read_exact(&mut chunk).expect("lines");
        let moved = poll(DEADLINE, || {
            let token = saved_token(&file);
            (Some(&token) != tokens.last()).then_some(token)
        });
        tokens.push(moved.unwrap_or_else(|| panic!("saved nothing more after {tokens:?}")));
    }
    running.kill();
}
