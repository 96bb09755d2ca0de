//! The resume file: its path, its content, when it is saved, and that the next run resumes exactly after its checkpoint.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, doc, oid::ObjectId};
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{
    brief, briefs, checkpoint, insert, inserts, saved_time, saved_token, time, token,
    wait_saved_from,
};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// Returns a watch of the scenario's collection `c` from its checkpoint up to now.
fn catch_up(scenario: &Scenario) -> Cswatch {
    scenario.cswatch(["--coll", "c", "--until", "now", "--max-await", "50ms"])
}

/// Catches up, and returns the events in short.
#[track_caller]
fn events_since_checkpoint(scenario: &Scenario) -> Vec<String> {
    briefs(&catch_up(scenario).run().expect_code(0).stdout)
}

/// Lists the names in a directory, sorted; none if there is no directory.
fn list_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns the only resume file in the scenario's state directory.
#[track_caller]
fn default_file(scenario: &Scenario) -> PathBuf {
    let directory = scenario.state_home().join("cswatch");
    let names = list_names(&directory);
    let json: Vec<_> = names
        .iter()
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(json.len(), 1, "{names:?}");
    directory.join(json[0])
}

#[test]
fn names_the_default_file_after_the_scope() {
    let scenario = Scenario::new("default_path");
    let db = scenario.db().name();
    let uri = scenario.set().uri();
    let scopes: [(&[&str], String); 4] = [
        (&[], "-.-".to_owned()),
        (&["--db", db], format!("{db}.-")),
        (&["--db", db, "--coll", "c"], format!("{db}.c")),
        (
            &["--db", db, "--coll", "b", "--coll", "a"],
            format!("{db}.a+b"),
        ),
    ];
    let homes = [
        ("XDG_STATE_HOME", "state", "state/cswatch"),
        // The XDG specification requires that relative paths are ignored.
        ("HOME", "home", "home/.local/state/cswatch"),
    ];
    for (variable, home, directory) in homes {
        for (scope, stem) in &scopes {
            let mut cswatch = Cswatch::new()
                .args(["--uri", &uri, "--until", "now", "--max-await", "50ms"])
                .args(*scope);
            if variable == "HOME" {
                cswatch = cswatch.env("XDG_STATE_HOME", "relative/path");
            }
            cswatch
                .env(variable, scenario.path(home))
                .run()
                .expect_code(0);
            let names = list_names(&scenario.path(directory));
            let fingerprint = |name: &str| {
                let fingerprint = name.strip_prefix(&format!("{stem}-"))?;
                let fingerprint = fingerprint.strip_suffix(".json")?;
                Some(fingerprint.to_owned())
            };
            let found: Vec<_> = names.iter().filter_map(|name| fingerprint(name)).collect();
            assert_eq!(found.len(), 1, "{stem} among {names:?}");
            assert_eq!(found[0].len(), 12, "{names:?}");
            assert!(
                found[0].bytes().all(|digit| digit.is_ascii_hexdigit()),
                "{names:?}"
            );
        }
    }
}

#[test]
fn uses_only_the_named_file() {
    let scenario = Scenario::new("named_file");
    let file = scenario.path("resume.json");
    let watch = || {
        catch_up(&scenario)
            .args([Path::new("--resume-file"), &file])
            .run()
            .expect_code(0)
    };
    watch();
    insert(&scenario.coll("c"), 1..=2);
    let second = watch();
    assert_eq!(briefs(&second.stdout), inserts(1..=2));
    assert_eq!(watch().stdout, [""; 0]);
    assert_eq!(
        list_names(file.parent().expect("a directory")),
        [".resume.json.cswatch-lock", "resume.json"]
    );
}

#[test]
fn writes_no_file_with_no_resume() {
    let scenario = Scenario::new("no_resume");
    let mut running = scenario.cswatch(["--coll", "c", "--no-resume"]).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    running.next_line();
    running.next_line();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    insert(&scenario.coll("c"), 3..=3);
    let second = catch_up(&scenario).args(["--no-resume"]).run();
    assert_eq!(second.expect_code(0).stdout, [""; 0]);
    assert!(!scenario.state_home().exists());
}

#[test]
fn saves_what_the_checkpoint_belongs_to_readable_by_its_owner_only() {
    let scenario = Scenario::new("content");
    catch_up(&scenario).run().expect_code(0);
    insert(&scenario.coll("c"), 1..=1);
    let first = scenario.cswatch(["--coll", "c", "--count", "1"]).run();
    let run = first.expect_code(0);
    let file = default_file(&scenario);
    let saved = checkpoint(&file);
    assert_eq!(saved["version"], 2);
    assert_eq!(saved["program"], "cswatch");
    assert_eq!(saved["set"], "rs0");
    let scope = serde_json::json!({ "db": scenario.db().name(), "coll": ["c"] });
    assert_eq!(saved["scope"], scope.to_string());
    assert_eq!(saved["token"].to_string(), token(&run.stdout[0]));
    assert_eq!(saved_time(&file), time(&run.stdout[0]));
    let name = file.file_name().expect("a name").to_string_lossy();
    for name in [name.to_string(), format!(".{name}.cswatch-lock")] {
        let path = file.with_file_name(&name);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn saves_a_checkpoint_at_once_on_the_first_run() {
    let scenario = Scenario::new("first_run");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    first.kill();
    insert(&scenario.coll("c"), 1..=3);
    assert_eq!(events_since_checkpoint(&scenario), inserts(1..=3));
}

#[test]
fn saves_a_checkpoint_at_once_with_start_after() {
    let scenario = Scenario::new("first_run_start_after");
    catch_up(&scenario).run().expect_code(0);
    insert(&scenario.coll("c"), 1..=3);
    let run = catch_up(&scenario).run().expect_code(0);
    let file = scenario.path("resume.json");
    let named = |cswatch: Cswatch| cswatch.args([Path::new("--resume-file"), &file]);
    let after_first = token(&run.stdout[0]);
    let mut first = named(scenario.cswatch(["--coll", "c", "--start-after", &after_first])).spawn();
    assert_eq!(brief(&first.next_line()), "insert 2");
    let printed = 1 + first.kill().stdout.len();
    insert(&scenario.coll("c"), 4..=4);
    let second = named(catch_up(&scenario)).run().expect_code(0);
    // The lines that were printed before may come again; none is missing.
    let lines = briefs(&second.stdout);
    assert!(inserts(2..=4).ends_with(&lines), "{lines:?}");
    assert!(lines.len() >= 3 - printed, "{lines:?}");
}

#[test]
fn resumes_after_a_clean_stop_and_reports_the_time() {
    let scenario = Scenario::new("clean_stop");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    assert_eq!(brief(&first.next_line()), "insert 1");
    assert_eq!(brief(&first.next_line()), "insert 2");
    first.signal(Signal::TERM);
    let first = first.wait().expect_code(0);
    assert!(!first.stderr.contains("resuming after"), "{}", first.stderr);
    let saved = saved_time(&default_file(&scenario));
    insert(&scenario.coll("c"), 3..=4);
    let second = catch_up(&scenario).run().expect_code(0);
    assert_eq!(briefs(&second.stdout), inserts(3..=4));
    let time = jiff::Timestamp::from_second(saved.time.into()).expect("a time");
    let file = default_file(&scenario);
    let report = format!("cswatch: resuming after {time} ({})\n", file.display());
    assert_eq!(
        second.stderr.matches(&report).count(),
        1,
        "{}",
        second.stderr
    );
}

#[test]
fn resumes_after_kill_9_without_loss() {
    let scenario = Scenario::new("kill_9");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    insert(&scenario.coll("c"), 1..=5);
    first.lines_until(|line| brief(line) == "insert 5");
    first.kill();
    insert(&scenario.coll("c"), 6..=7);
    let again = events_since_checkpoint(&scenario);
    // The events after the last save are printed again, without a gap.
    let all = inserts(1..=7);
    assert!(again.len() >= 2, "{again:?}");
    assert_eq!(again, all[all.len() - again.len()..]);
}

#[test]
fn saves_after_every_flush_with_a_save_interval_of_zero() {
    /// With the default interval of 1 s, their saves would take twice the limit.
    const EVENTS: i32 = 20;
    const LIMIT: Duration = Duration::from_secs(10);

    let scenario = Scenario::new("save_interval");
    let mut running = scenario
        .watch(&["--save-interval", "0", "--max-await", "10m"])
        .spawn();
    running.wait_open();
    let started = Instant::now();
    for id in 1..=EVENTS {
        insert(&scenario.coll("c"), [id]);
        wait_saved_from(&scenario.resume_file(), time(&running.next_line()));
    }
    let took = started.elapsed();
    assert!(took < LIMIT, "{took:?}");
    running.kill();
}

#[test]
fn saves_after_an_event_that_nothing_follows() {
    let scenario = Scenario::new("followed_by_nothing");
    let file = scenario.path("resume.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "50ms"])
        .args([Path::new("--resume-file"), &file])
        // No empty reply follows an event either.
        .args(["--max-await", "10m"])
        .spawn();
    running.wait_open();
    for last in 1..=5 {
        // The first event makes a save due; the others come before that save or during it.
        let mut line = String::new();
        for number in 1..=last {
            insert(&scenario.coll("c"), [10 * last + number]);
            line = running.next_line();
        }
        wait_saved_from(&file, time(&line));
    }
}

#[test]
fn advances_the_checkpoint_while_no_event_matches() {
    let scenario = Scenario::new("idle");
    let file = scenario.path("resume.json");
    let mut running = scenario
        .cswatch(["--coll", "c"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("other"), 1..=1);
    wait_saved_from(&file, scenario.set().operation_time());
    running.kill();
    insert(&scenario.coll("c"), 1..=1);
    let again = catch_up(&scenario)
        .args([Path::new("--resume-file"), &file])
        .run();
    assert_eq!(briefs(&again.expect_code(0).stdout), inserts(1..=1));
}

/// The tokens of these `_id`s have `_typeBits`, which are needed to resume: without them the server fails with error 50810 after the `_id`
/// 1.5 (measured on MongoDB 6.0.27).
#[test]
fn saves_whole_tokens_for_every_type_of_id() {
    let scenario = Scenario::new("whole_tokens");
    let coll = scenario.coll("c");
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    let with_type_bits = [
        Bson::Double(1.5),
        Bson::Double(-0.0),
        Bson::Int64(7),
        decimal("2.50"),
        decimal("1E+3"),
        Bson::Document(doc! { "a": 1.0 }),
        Bson::Document(doc! { "a": [] , "b": { "c": 2_i64 } }),
    ];
    let without = [
        Bson::ObjectId(ObjectId::new()),
        Bson::String("x".repeat(2000)),
        Bson::Int32(1),
    ];
    assert_eq!(scenario.remaining(), [""; 0]);
    let mut expected = Vec::new();
    for id in with_type_bits.iter().chain(&without) {
        let key = doc! { "_id": id };
        block_on(coll.insert_one(&key)).expect("an insert");
        block_on(coll.update_one(key.clone(), doc! { "$set": { "x": 1 } })).expect("an update");
        block_on(coll.delete_one(key)).expect("a delete");
        let id_text = id.clone().into_canonical_extjson();
        let has_type_bits = with_type_bits.contains(id);
        expected.extend(
            ["insert", "update", "delete"].map(|kind| (kind, id_text.clone(), has_type_bits)),
        );
    }
    let mut lines = Vec::new();
    for (kind, id, has_type_bits) in &expected {
        let run = scenario.watch(&["--count", "1"]).run().expect_code(0);
        assert_eq!(run.stdout.len(), 1);
        let event = run.events().remove(0);
        assert_eq!(event["operationType"], *kind);
        assert_eq!(event["documentKey"]["_id"], *id);
        let token = token(&run.stdout[0]);
        assert_eq!(token.contains("_typeBits"), *has_type_bits, "{token}");
        assert_eq!(saved_token(&scenario.resume_file()), token);
        lines.extend(run.stdout);
    }
    assert_eq!(scenario.remaining(), [""; 0]);
    // A token taken from a line resumes in the same way.
    for from in (0..lines.len()).step_by(3) {
        let run = scenario
            .cswatch(["--coll", "c", "--no-resume", "--until", "now"])
            .args(["--start-after", &token(&lines[from])])
            .run()
            .expect_code(0);
        assert_eq!(run.stdout, lines[from + 1..]);
    }
}

#[test]
fn replaces_the_target_of_a_symbolic_link() {
    let scenario = Scenario::new("symlink");
    let volume = scenario.path("volume");
    fs::create_dir(&volume).expect("a directory");
    let link = scenario.path("link.json");
    symlink("volume/resume.json", &link).expect("a link");
    for id in 1..=3 {
        let run = catch_up(&scenario)
            .args([Path::new("--resume-file"), &link])
            .run()
            .expect_code(0);
        assert_eq!(run.stdout.len(), usize::from(id > 1));
        insert(&scenario.coll("c"), [id]);
        let target = fs::read_link(&link).expect("still a link");
        assert_eq!(target, Path::new("volume/resume.json"));
    }
    assert_eq!(
        list_names(&volume),
        [".resume.json.cswatch-lock", "resume.json"],
        "the lock file is next to the file that it locks"
    );
}

#[test]
fn creates_the_file_again_after_it_was_removed() {
    let scenario = Scenario::new("removed");
    let file = scenario.path("resume.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "0"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    running.wait_open();
    fs::remove_file(&file).expect("a file");
    insert(&scenario.coll("c"), 1..=1);
    let line = running.next_line();
    let created = poll(DEADLINE, || file.exists().then_some(()));
    assert!(created.is_some(), "no {}", file.display());
    wait_saved_from(&file, time(&line));
    running.kill();
}

#[test]
fn keeps_the_last_checkpoint_while_the_disk_is_full() {
    let scenario = Scenario::new("full_disk");
    let disk = SmallDisk::new(64 * 1024);
    let inside = disk.path_inside().join("resume.json");
    let outside = disk.path_outside().join("resume.json");
    let coll = scenario.coll("c");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--save-interval", "0", "--resume-file"])
            .args([&inside])
            .through(disk.through())
    };
    let saved = || fs::read(&outside).expect("a resume file");
    let file = format!("resume file {}", inside.display());
    let warning = format!("warning: cannot write {file}, retrying: No space left on device");
    let recovered = format!("{file} can be written again");
    let error = format!("cannot write {file}: No space left on device");

    let mut running = watch().spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    wait_saved_from(&outside, time(&running.next_line()));
    disk.fill();
    let before = saved();
    insert(&coll, 2..=4);
    running.expect_inserts(2..=4);
    running.expect_stderr(&warning);
    assert_eq!(saved(), before);

    disk.free();
    running.expect_stderr(&recovered);
    insert(&coll, 5..=5);
    wait_saved_from(&outside, time(&running.next_line()));

    disk.fill();
    let before = saved();
    insert(&coll, 6..=7);
    running.expect_inserts(6..=7);
    running.signal(Signal::TERM);
    running.wait().expect_code(5).expect_error(
        &error,
        "free space on that disk; the next run prints the events after the last save again",
    );
    assert_eq!(saved(), before);

    // While the disk is full, also where the heartbeat file was, the next run does not open a stream.
    disk.fill();
    let refused = watch().run();
    assert!(!refused.stderr.contains("watching"), "{}", refused.stderr);
    refused.expect_code(5).expect_error(
        &error,
        "free space on that disk, give another --resume-file, or use --no-resume",
    );
    assert_eq!(saved(), before);

    disk.free();
    let mut running = watch().spawn();
    running.expect_inserts(6..=7);
    disk.fill();
    insert(&coll, 8..=8);
    running.expect_stderr(&warning);
    disk.free();
    running.expect_stderr(&recovered);
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(0);
    assert_eq!(briefs(&ended.stdout), inserts(6..=8));
    let next = watch().args(["--until", "now", "--max-await", "50ms"]);
    assert_eq!(next.run().expect_code(0).stdout, [""; 0]);
}

#[test]
fn saves_while_idle_despite_a_long_save_interval() {
    let scenario = Scenario::new("rarely_saved");
    let file = scenario.path("resume.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "1h"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    running.next_line();
    wait_saved_from(&file, scenario.set().operation_time());
    running.kill();
}
