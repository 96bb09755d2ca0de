//! Lock, heartbeat and temporary files next to the resume file: what is not cswatch's is neither written nor removed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, insert, saved_token, time, wait_saved_from};
use testkit::scenario::Scenario;

use super::{expect_error, neighbor, watch, watch_nowhere, watch_until_now};

/// Some user who is not the one that runs the tests.
const OTHER_USER: u32 = 12345;

const FOREIGN: &str = "[[package]]\nname = \"cswatch\"\n";

/// Runs a watch and a check that must refuse the file at `path`, next to the resume file `file`, before they connect.
#[track_caller]
fn expect_refused(file: &Path, path: &Path, why: &str) {
    let error = format!("{} cannot be the ", path.display());
    let hint = "move that file away, or give another --resume-file";
    expect_error(
        watch_nowhere(file).run(),
        5,
        &format!("{error}lock file of cswatch: it {why}"),
        hint,
    );
}

#[test]
fn leaves_files_of_other_programs_with_similar_names_alone() {
    let scenario = Scenario::new("similar_names");
    let file = scenario.path("Cargo");
    let names = [
        "Cargo.lock",
        "Cargo.heartbeat",
        "Cargo.tmp",
        ".Cargo.tmp.aB3xYz",
        ".Cargo.cswatch-tmp.notes.txt",
        // The name of a temporary file, but not its content.
        ".Cargo.cswatch-tmp.aB3xYz",
    ];
    for name in names {
        fs::write(scenario.path(name), FOREIGN).expect("a file");
    }
    let mut running = watch(&scenario, &file).spawn();
    running.wait_open();
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    for name in names {
        let content = fs::read_to_string(scenario.path(name)).expect(name);
        assert_eq!(content, FOREIGN, "{name}");
    }
}

#[test]
fn refuses_a_link_in_place_of_its_lock_or_heartbeat_and_leaves_the_target_alone() {
    let scenario = Scenario::new("planted_links");
    for role in ["lock", "heartbeat"] {
        let file = scenario.path(&format!("{role}.json"));
        let planted = neighbor(&file, role);
        let target = scenario.path(&format!("{role}.target"));
        let refused = |why: &str| {
            let error = format!(
                "{} cannot be the {role} file of cswatch: it {why}",
                planted.display()
            );
            let hint = "move that file away, or give another --resume-file";
            expect_error(watch_nowhere(&file).run(), 5, &error, hint);
            assert!(!file.exists(), "nothing was saved");
            fs::remove_file(&planted).expect("the planted file");
        };

        symlink(&target, &planted).expect("a link");
        refused("is a symbolic link");
        assert!(!target.exists(), "the target of a link was created");

        // Also one that holds nothing, or what cswatch itself wrote: it belongs to another name.
        for content in [FOREIGN, "", "cswatch lock: pid 1 on host h\n"] {
            fs::write(&target, content).expect("a file");
            symlink(&target, &planted).expect("a link");
            refused("is a symbolic link");
            fs::hard_link(&target, &planted).expect("a hard link");
            refused("has another name (a hard link)");
            assert_eq!(fs::read_to_string(&target).expect("the target"), content);
        }
    }
}

#[test]
fn refuses_a_lock_or_heartbeat_that_cswatch_did_not_write() {
    let scenario = Scenario::new("planted_files");
    for role in ["lock", "heartbeat"] {
        let file = scenario.path(&format!("{role}.json"));
        let planted = neighbor(&file, role);
        let error = |why: &str| {
            format!(
                "{} cannot be the {role} file of cswatch: it {why}",
                planted.display()
            )
        };
        let hint = "move that file away, or give another --resume-file";

        for content in [FOREIGN, "{}", "pid 1 on host h\n"] {
            fs::write(&planted, content).expect("a file");
            for command in [&[][..], &["check"]] {
                let args = [
                    "--uri",
                    "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
                    "--db",
                    "db",
                    "--coll",
                    "c",
                    "--resume-file",
                ];
                let run = Cswatch::new()
                    .args(command)
                    .args(args)
                    .args([&file])
                    .run()
                    .expect_code(5);
                let printed = format!("{}{}", run.stderr, run.stdout.join("\n"));
                assert!(
                    printed.contains(&error("was not written by cswatch")),
                    "{printed}"
                );
                assert!(printed.contains(hint), "{printed}");
            }
            assert_eq!(fs::read_to_string(&planted).expect("the file"), content);
        }
        fs::remove_file(&planted).expect("the file");

        fs::create_dir(&planted).expect("a directory");
        expect_error(
            watch_nowhere(&file).run(),
            5,
            &error("is a directory"),
            hint,
        );
        fs::remove_dir(&planted).expect("the directory");

        let made = Command::new("mkfifo").arg(&planted).status();
        assert!(made.expect("mkfifo").success());
        expect_error(
            watch_nowhere(&file).run(),
            5,
            &error("is not a regular file"),
            hint,
        );
    }
}

#[test]
fn refuses_a_lock_file_and_a_resume_file_link_of_another_user() {
    let scenario = Scenario::new("other_user");
    let file = scenario.path("resume.json");
    let lock = neighbor(&file, "lock");
    let content = "cswatch lock: pid 1 on host h\n";
    fs::write(&lock, content).expect("a file");
    chown(&lock, Some(OTHER_USER), None).expect("root is needed to give a file to another user");
    expect_refused(&file, &lock, "belongs to another user");
    assert_eq!(fs::read_to_string(&lock).expect("the file"), content);
    fs::remove_file(&lock).expect("the file");

    let target = scenario.path("target.json");
    symlink(&target, &file).expect("a link");
    lchown(&file, Some(OTHER_USER), None).expect("root is needed to give a link to another user");
    let error = format!(
        "resume file {} is a symbolic link of another user",
        file.display()
    );
    let hint = format!(
        "give --resume-file {} if that is the file you mean",
        target.display()
    );
    expect_error(watch_nowhere(&file).run(), 5, &error, &hint);
    assert!(!target.exists());

    // Where the other user owns the directory, it is theirs to use.
    let directory = scenario.path("theirs");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("resume.json");
    fs::write(neighbor(&file, "lock"), content).expect("a file");
    for path in [&directory, &neighbor(&file, "lock")] {
        chown(path, Some(OTHER_USER), None).expect("root is needed to give a file to another user");
    }
    watch_until_now(&scenario, &file);
}

#[test]
fn removes_the_temporary_files_that_a_killed_watch_left_and_no_others() {
    let scenario = Scenario::new("leftovers");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let text = fs::read(&file).expect("a resume file");
    let whole = neighbor(&file, "tmp.aaaaaa");
    let torn = neighbor(&file, "tmp.BBBBBB");
    let empty = neighbor(&file, "tmp.000000");
    fs::write(&whole, &text).expect("a file");
    fs::write(&torn, &text[..text.len() / 2]).expect("a file");
    fs::write(&empty, "").expect("a file");
    // The same content under other names, and another name of the same file.
    let copy = neighbor(&file, "tmp.copy");
    let linked = neighbor(&file, "tmp.cccccc");
    let target = scenario.path("backup.json");
    fs::write(&copy, &text).expect("a file");
    fs::write(&target, &text).expect("a file");
    fs::hard_link(&target, &linked).expect("a hard link");
    watch_until_now(&scenario, &file);
    for path in [&whole, &torn, &empty] {
        assert!(!path.exists(), "{}", path.display());
    }
    for path in [&copy, &linked, &target] {
        assert_eq!(fs::read(path).expect("a file"), text, "{}", path.display());
    }
}

#[test]
fn removes_neither_a_file_put_in_place_of_its_heartbeat_nor_replaces_it() {
    let scenario = Scenario::new("swapped_heartbeat");
    let file = scenario.path("resume.json");
    let heartbeat = neighbor(&file, "heartbeat");
    let mut running = watch(&scenario, &file).spawn();
    running.wait_open();
    let written = poll(DEADLINE, || heartbeat.exists().then_some(()));
    assert!(written.is_some(), "no heartbeat");
    let foreign = scenario.path("foreign");
    fs::write(&foreign, FOREIGN).expect("a file");
    fs::rename(&foreign, &heartbeat).expect("the file is moved");
    running.expect_stderr("cannot write the heartbeat file");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    assert_eq!(fs::read_to_string(&heartbeat).expect("the file"), FOREIGN);
}

#[test]
fn does_not_replace_a_file_that_was_put_in_place_of_the_resume_file() {
    let scenario = Scenario::new("swapped_resume_file");
    let file = scenario.path("resume.json");
    let target = scenario.path("target");
    fs::write(&target, FOREIGN).expect("a file");
    let foreign = scenario.path("foreign");
    let coll = scenario.coll("c");
    for is_link in [false, true] {
        let mut running = watch(&scenario, &file)
            .args(["--save-interval", "0"])
            .spawn();
        running.wait_open();
        let id = 10 * i32::from(is_link);
        insert(&coll, [id]);
        let inserted = format!("insert {id}");
        let lines = running.lines_until(|line| brief(line) == inserted);
        // No save may be between its look at the file and its rename when the file is swapped.
        wait_saved_from(&file, time(&lines[lines.len() - 1]));
        let saved = fs::read(&file).expect("a resume file");
        if is_link {
            symlink(&target, &foreign).expect("a link");
        } else {
            fs::write(&foreign, FOREIGN).expect("a file");
        }
        fs::rename(&foreign, &file).expect("the file is moved");
        insert(&coll, [id + 1]);
        running.next_line();
        running.expect_stderr("cannot write resume file");
        running.signal(Signal::TERM);
        let error = format!("cannot replace resume file {}", file.display());
        let stderr = running.wait().expect_code(5).stderr;
        assert!(stderr.contains(&error), "{stderr}");
        assert_eq!(fs::read_to_string(&file).expect("the file"), FOREIGN);
        assert_eq!(file.is_symlink(), is_link);
        fs::remove_file(&file).expect("the file");
        fs::write(&file, saved).expect("a resume file");
    }
    // A copy that is put back is cswatch's.
    let mut running = watch(&scenario, &file).spawn();
    running.wait_open();
    let copy = fs::read(&file).expect("a resume file");
    fs::remove_file(&file).expect("the resume file");
    fs::write(&file, copy).expect("a copy");
    insert(&coll, [20]);
    running.lines_until(|line| brief(line) == "insert 20");
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
    assert_eq!(watch_until_now(&scenario, &file).stdout, [""; 0]);
}

#[test]
fn refuses_a_resume_file_with_a_name_of_its_own_temporary_files() {
    let scenario = Scenario::new("reserved_name");
    let file = neighbor(&scenario.path("other.json"), "tmp.aaaaaa");
    let error = format!(
        "resume file {} has a name that cswatch gives to its",
        file.display()
    );
    expect_error(
        watch_nowhere(&file).run(),
        5,
        &error,
        "give --resume-file a name without .cswatch-",
    );
    assert!(!file.exists());
}

#[test]
fn keeps_apart_resume_files_whose_names_differ_in_bytes_that_are_not_text() {
    let scenario = Scenario::new("odd_names");
    let directory = scenario.path("names");
    fs::create_dir(&directory).expect("a directory");
    let files = [b"a\xFE".as_slice(), b"a\xFF"].map(|name| directory.join(OsStr::from_bytes(name)));
    let mut running = files.each_ref().map(|file| watch(&scenario, file).spawn());
    for running in &mut running {
        running.wait_open();
    }
    assert_ne!(saved_token(&files[0]), "null");
    assert_ne!(saved_token(&files[1]), "null");
}
