//! The position file: where it is, what is in it, when it is written, and that a restart goes on
//! exactly there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mongodb::bson::{Bson, doc, oid::ObjectId};
use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{
    brief, briefs, insert, inserts, position, saved_time, saved_token, time, token, wait_saved_from,
};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// Catches up with the scenario's collection `c` from its saved position, and stops.
fn catch_up(scenario: &Scenario) -> Cswatch {
    scenario.cswatch(["--coll", "c", "--until", "now", "--max-await", "50ms"])
}

#[track_caller]
fn caught_up(scenario: &Scenario) -> Vec<String> {
    briefs(&catch_up(scenario).run().expect_code(0).stdout)
}

/// The names in a folder, sorted; none where there is no folder.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The one position file in the scenario's state folder.
#[track_caller]
fn default_file(scenario: &Scenario) -> PathBuf {
    let folder = scenario.state_home().join("cswatch");
    let names = names_in(&folder);
    let json: Vec<_> = names
        .iter()
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(json.len(), 1, "{names:?}");
    folder.join(json[0])
}

#[test]
fn is_named_after_what_is_watched_below_the_state_home() {
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
        // The XDG specification has relative paths ignored.
        ("HOME", "home", "home/.local/state/cswatch"),
    ];
    for (variable, home, folder) in homes {
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
            let folder = scenario.path(folder);
            let names = names_in(&folder);
            let digits = |name: &str| {
                let fingerprint = name.strip_prefix(&format!("{stem}-"))?;
                let fingerprint = fingerprint.strip_suffix(".json")?;
                Some(fingerprint.to_owned())
            };
            let found: Vec<_> = names.iter().filter_map(|name| digits(name)).collect();
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
fn is_the_file_that_is_named_and_no_other() {
    let scenario = Scenario::new("named_file");
    let file = scenario.path("position.json");
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
        names_in(file.parent().expect("a folder")),
        ["position.json", "position.json.lock"]
    );
}

#[test]
fn is_not_written_with_no_resume() {
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
fn says_what_it_is_of_and_is_for_its_owner_alone() {
    let scenario = Scenario::new("content");
    catch_up(&scenario).run().expect_code(0);
    insert(&scenario.coll("c"), 1..=1);
    let first = scenario.cswatch(["--coll", "c", "--count", "1"]).run();
    let run = first.expect_code(0);
    let file = default_file(&scenario);
    let saved = position(&file);
    assert_eq!(saved["version"], 2);
    assert_eq!(saved["program"], "cswatch");
    assert_eq!(saved["set"], "rs0");
    let scope = serde_json::json!({ "db": scenario.db().name(), "coll": ["c"] });
    assert_eq!(saved["scope"], scope.to_string());
    assert_eq!(saved["token"].to_string(), token(&run.stdout[0]));
    assert_eq!(saved_time(&file), time(&run.stdout[0]));
    for name in ["", ".lock"] {
        let path = format!("{}{name}", file.display());
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[test]
fn is_saved_at_once_on_a_first_run() {
    let scenario = Scenario::new("first_run");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    first.kill();
    insert(&scenario.coll("c"), 1..=3);
    assert_eq!(caught_up(&scenario), inserts(1..=3));
}

#[test]
fn is_saved_at_once_when_the_start_was_given_as_a_token() {
    let scenario = Scenario::new("first_run_start_after");
    catch_up(&scenario).run().expect_code(0);
    insert(&scenario.coll("c"), 1..=3);
    let run = catch_up(&scenario).run().expect_code(0);
    let file = scenario.path("position.json");
    let named = |cswatch: Cswatch| cswatch.args([Path::new("--resume-file"), &file]);
    let after_first = token(&run.stdout[0]);
    let mut first = named(scenario.cswatch(["--coll", "c", "--start-after", &after_first])).spawn();
    assert_eq!(brief(&first.next_line()), "insert 2");
    first.kill();
    insert(&scenario.coll("c"), 4..=4);
    let second = named(catch_up(&scenario)).run().expect_code(0);
    let lines = briefs(&second.stdout);
    assert_eq!(
        lines[lines.len().saturating_sub(2)..],
        inserts(3..=4),
        "{lines:?}"
    );
}

#[test]
fn goes_on_after_a_clean_stop_and_says_from_when() {
    let scenario = Scenario::new("clean_stop");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    insert(&scenario.coll("c"), 1..=2);
    assert_eq!(brief(&first.next_line()), "insert 1");
    assert_eq!(brief(&first.next_line()), "insert 2");
    first.signal(Signal::TERM);
    let first = first.wait().expect_code(0);
    assert!(!first.stderr.contains("resuming"), "{}", first.stderr);
    let saved = saved_time(&default_file(&scenario));
    insert(&scenario.coll("c"), 3..=4);
    let second = catch_up(&scenario).run().expect_code(0);
    assert_eq!(briefs(&second.stdout), inserts(3..=4));
    let time = jiff::Timestamp::from_second(saved.time.into()).expect("a time");
    let said = format!("cswatch: resuming after {time}");
    assert_eq!(second.stderr.matches(&said).count(), 1, "{}", second.stderr);
}

#[test]
fn goes_on_after_kill_9_with_all_that_was_not_printed() {
    let scenario = Scenario::new("kill_9");
    let mut first = scenario.cswatch(["--coll", "c"]).spawn();
    first.wait_open();
    insert(&scenario.coll("c"), 1..=5);
    first.lines_until(|line| brief(line) == "insert 5");
    first.kill();
    insert(&scenario.coll("c"), 6..=7);
    let again = caught_up(&scenario);
    // What came after the last save is printed again, without a gap.
    let all = inserts(1..=7);
    assert!(again.len() >= 2, "{again:?}");
    assert_eq!(again, all[all.len() - again.len()..]);
}

#[test]
fn is_saved_after_every_flush_when_the_interval_is_zero() {
    let scenario = Scenario::new("save_interval");
    let file = scenario.path("position.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "0"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    running.wait_open();
    for id in 1..=3 {
        insert(&scenario.coll("c"), [id]);
        wait_saved_from(&file, time(&running.next_line()));
    }
    running.kill();
}

#[test]
fn goes_on_behind_an_invalidate() {
    let scenario = Scenario::new("invalidate");
    catch_up(&scenario).run().expect_code(0);
    let coll = scenario.coll("c");
    insert(&coll, 1..=1);
    block_on(coll.drop()).expect("a drop");
    insert(&coll, 2..=2);
    let first = catch_up(&scenario).run().expect_code(4);
    assert_eq!(briefs(&first.stdout), ["insert 1", "drop", "invalidate"]);
    assert!(
        first.stderr.contains(&format!(
            "{}.c was dropped or renamed at ",
            scenario.db().name()
        )) && first
            .stderr
            .contains("start again to go on behind it, or use --on-invalidate reopen"),
        "{}",
        first.stderr
    );
    let file = default_file(&scenario);
    assert_eq!(saved_token(&file), token(&first.stdout[2]));
    assert_eq!(caught_up(&scenario), inserts(2..=2));
}

#[test]
fn goes_on_behind_an_invalidate_in_the_same_process_when_asked_to() {
    let scenario = Scenario::new("reopen");
    let mut running = scenario
        .cswatch(["--coll", "c", "--on-invalidate", "reopen"])
        .spawn();
    running.wait_open();
    let coll = scenario.coll("c");
    for round in 1..=2 {
        insert(&coll, [round]);
        block_on(coll.drop()).expect("a drop");
        let lines = running.lines_until(|line| brief(line) == "invalidate");
        assert_eq!(
            briefs(&lines),
            [&format!("insert {round}"), "drop", "invalidate"]
        );
    }
    insert(&coll, 3..=3);
    assert_eq!(brief(&running.next_line()), "insert 3");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    assert_eq!(caught_up(&scenario), [""; 0]);
}

#[test]
fn goes_on_behind_an_invalidate_that_the_filter_hides() {
    let scenario = Scenario::new("hidden_invalidate");
    let coll = scenario.coll("c");
    let watch = || scenario.cswatch(["--coll", "c", "--op", "insert"]);
    let mut first = watch().spawn();
    first.wait_open();
    insert(&coll, 1..=1);
    block_on(coll.drop()).expect("a drop");
    let first = first.wait().expect_code(4);
    assert_eq!(briefs(&first.stdout), inserts(1..=1));
    insert(&coll, 2..=2);
    let mut second = watch().args(["--on-invalidate", "reopen"]).spawn();
    assert_eq!(brief(&second.next_line()), "insert 2");
    block_on(coll.drop()).expect("a drop");
    second.expect_stderr("was dropped or renamed, going on behind it");
    insert(&coll, 3..=3);
    assert_eq!(brief(&second.next_line()), "insert 3");
    second.signal(Signal::TERM);
    second.wait().expect_code(0);
}

#[test]
fn moves_behind_each_event_that_nothing_follows() {
    let scenario = Scenario::new("followed_by_nothing");
    let file = scenario.path("position.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "50ms"])
        .args([Path::new("--resume-file"), &file])
        // Neither an empty reply.
        .args(["--max-await", "10m"])
        .spawn();
    running.wait_open();
    for last in 1..=5 {
        // The first one makes a save due, the others come before it or while it is under way.
        let mut line = String::new();
        for number in 1..=last {
            insert(&scenario.coll("c"), [10 * last + number]);
            line = running.next_line();
        }
        wait_saved_from(&file, time(&line));
    }
}

#[test]
fn moves_while_the_stream_is_idle() {
    let scenario = Scenario::new("idle");
    let file = scenario.path("position.json");
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

/// `_typeBits`, which tokens of such an `_id` have, is needed to resume: error 50810 without it for
/// 1.5 (measured on MongoDB 6.0.27).
#[test]
fn keeps_tokens_whole_whatever_the_type_of_an_id() {
    let scenario = Scenario::new("whole_tokens");
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    let ids = [
        Bson::Double(1.5),
        Bson::Double(-0.0),
        Bson::Int64(7),
        decimal("2.50"),
        decimal("1E+3"),
        Bson::Document(doc! { "a": 1.0 }),
        Bson::Document(doc! { "a": [] , "b": { "c": 2_i64 } }),
        Bson::ObjectId(ObjectId::new()),
        Bson::String("x".repeat(2000)),
        Bson::Int32(1),
    ];
    catch_up(&scenario).run().expect_code(0);
    for id in &ids {
        block_on(scenario.coll("c").insert_one(doc! { "_id": id })).expect("an insert");
    }
    let mut with_type_bits = 0;
    for id in &ids {
        let run = scenario
            .cswatch(["--coll", "c", "--count", "1"])
            .run()
            .expect_code(0);
        let line: serde_json::Value = serde_json::from_str(&run.stdout[0]).expect("JSON");
        assert_eq!(
            line["documentKey"]["_id"],
            id.clone().into_canonical_extjson()
        );
        let saved = saved_token(&default_file(&scenario));
        assert_eq!(saved, line["_id"].to_string());
        with_type_bits += usize::from(saved.contains("_typeBits"));
    }
    assert_eq!(with_type_bits, 7);
    assert_eq!(caught_up(&scenario), [""; 0]);
}

#[test]
fn stays_behind_a_symbolic_link() {
    let scenario = Scenario::new("symlink");
    let volume = scenario.path("volume");
    fs::create_dir(&volume).expect("a folder");
    let link = scenario.path("link.json");
    symlink("volume/position.json", &link).expect("a link");
    for id in 1..=3 {
        let run = catch_up(&scenario)
            .args([Path::new("--resume-file"), &link])
            .run()
            .expect_code(0);
        assert_eq!(run.stdout.len(), usize::from(id > 1));
        insert(&scenario.coll("c"), [id]);
        let target = fs::read_link(&link).expect("still a link");
        assert_eq!(target, Path::new("volume/position.json"));
    }
    assert_eq!(
        names_in(&volume),
        ["position.json", "position.json.lock"],
        "the lock is beside what it locks"
    );
}

#[test]
fn removes_what_a_killed_instance_left_beside_it_and_nothing_else() {
    let scenario = Scenario::new("left_overs");
    let file = scenario.path("position.json");
    for name in [".position.json.tmp.aB3xY9", ".other.json.tmp.aB3xY9"] {
        fs::write(scenario.path(name), "{").expect("a file");
    }
    catch_up(&scenario)
        .args([Path::new("--resume-file"), &file])
        .run()
        .expect_code(0);
    let names = names_in(file.parent().expect("a folder"));
    assert_eq!(
        names,
        [
            ".other.json.tmp.aB3xY9",
            "position.json",
            "position.json.lock"
        ]
    );
}

#[test]
fn is_made_again_when_it_was_removed_meanwhile() {
    let scenario = Scenario::new("removed");
    let file = scenario.path("position.json");
    let mut running = scenario
        .cswatch(["--coll", "c", "--save-interval", "0"])
        .args([Path::new("--resume-file"), &file])
        .spawn();
    running.wait_open();
    fs::remove_file(&file).expect("a file");
    insert(&scenario.coll("c"), 1..=1);
    let line = running.next_line();
    let made = poll(DEADLINE, || file.exists().then_some(()));
    assert!(made.is_some());
    wait_saved_from(&file, time(&line));
    running.kill();
}

#[test]
fn stays_whole_on_a_full_disk_while_events_go_on() {
    let scenario = Scenario::new("full_disk");
    let disk = SmallDisk::new(64 * 1024);
    let inside = disk.path_inside().join("position.json");
    let outside = disk.path_outside().join("position.json");
    let filler = disk.path_outside().join("filler");
    let watch = |more: &[&str]| {
        scenario
            .cswatch(["--coll", "c", "--save-interval", "0"])
            .args([Path::new("--resume-file"), &inside])
            .args(more)
            .through(disk.through())
    };
    let coll = scenario.coll("c");
    let mut running = watch(&[]).spawn();
    running.wait_open();
    insert(&coll, 1..=1);
    wait_saved_from(&outside, time(&running.next_line()));

    // Write errors are how a disk is filled to the last page.
    let _ = fs::write(&filler, vec![0; 1024 * 1024]);
    insert(&coll, 2..=4);
    let more = running.lines_until(|line| brief(line) == "insert 4");
    assert_eq!(briefs(&more), inserts(2..=4));
    running.expect_stderr("warning: position file");
    assert!(saved_time(&outside) < time(&more[0]));

    fs::remove_file(&filler).expect("the filler");
    insert(&coll, 5..=5);
    wait_saved_from(&outside, time(&running.next_line()));
    running.expect_stderr("can be written again");

    let _ = fs::write(&filler, vec![0; 1024 * 1024]);
    insert(&coll, 6..=6);
    let sixth = running.next_line();
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(5);
    assert!(
        ended.stderr.contains("error: position file")
            && ended
                .stderr
                .contains("make room there or mend its permissions"),
        "{}",
        ended.stderr
    );
    assert!(saved_time(&outside) < time(&sixth));
    fs::remove_file(&filler).expect("the filler");
    let again = watch(&["--until", "now", "--max-await", "50ms"])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&again.stdout), inserts(6..=6));
}

#[test]
fn follows_the_stream_while_idle_however_rarely_it_is_saved_while_events_flow() {
    let scenario = Scenario::new("rarely_saved");
    let file = scenario.path("position.json");
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
