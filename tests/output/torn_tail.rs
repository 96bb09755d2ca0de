//! Stdout that is appended to a regular file: a line that could not be written whole does not spoil the next one.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, insert, inserts};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

use super::target::lines;

/// Watches collection `c`; every watch of a scenario has the same resume file.
fn watch(scenario: &Scenario) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "50ms", "--resume-file"])
        .args([scenario.path("resume.json")])
}

/// `>> path` of a shell.
fn appended(path: &Path) -> Stdout {
    let mut options = OpenOptions::new();
    Stdout::File(
        options
            .append(true)
            .create(true)
            .open(path)
            .expect("a file"),
    )
}

/// `> path` of a shell.
fn truncated(path: &Path) -> Stdout {
    Stdout::File(File::create(path).expect("a file"))
}

#[track_caller]
fn insert_large(scenario: &Scenario, ids: std::ops::RangeInclusive<i32>, bytes: usize) {
    for id in ids {
        let document = doc! { "_id": id, "text": "x".repeat(bytes) };
        block_on(scenario.coll("c").insert_one(document)).expect("an insert");
    }
}

#[test]
fn is_cut_when_the_disk_is_full_inside_a_line() {
    for stdout in [appended, truncated] {
        let scenario = Scenario::new("torn_full");
        let disk = SmallDisk::new(64 * 1024);
        let file = disk.path_outside().join("events.jsonl");
        let filler = disk.path_outside().join("filler");
        fs::write(&filler, vec![0; 20 * 1024]).expect("a filler");
        let mut running = watch(&scenario).stdout(stdout(&file)).spawn();
        running.wait_open();
        insert_large(&scenario, 1..=8, 10_000);
        running.wait().expect_code(6);
        let printed = lines(&file).len();
        assert!((1..8).contains(&printed), "{printed} lines");
        // As long as it is full, each start ends so, and changes nothing.
        let before = fs::read(&file).expect("lines");
        watch(&scenario)
            .stdout(appended(&file))
            .run()
            .expect_code(6);
        assert!(fs::read(&file).expect("lines") == before);

        // Where there is room, the next run continues the same content.
        let roomy = scenario.path("events.jsonl");
        fs::copy(&file, &roomy).expect("a copy");
        let watch = watch(&scenario).args(["--until", "now"]);
        watch.stdout(appended(&roomy)).run().expect_code(0);
        assert_eq!(briefs(&lines(&roomy)), inserts(1..=8));
    }
}

#[test]
fn is_cut_at_the_limit_on_the_size_of_files() {
    let scenario = Scenario::new("torn_limit");
    let file = scenario.path("events.jsonl");
    let output = scenario.path("output.jsonl");
    // In a shell that ignores SIGXFSZ; blocks of 512 bytes, as POSIX has them.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""];
    watch(&scenario)
        .args(["--until", "now"])
        .run()
        .expect_code(0);
    insert_large(&scenario, 1..=8, 10_000);
    let run = watch(&scenario)
        .stdout(appended(&file))
        .through(limited)
        .run()
        .expect_code(6);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    let printed = lines(&file).len();
    assert!((1..8).contains(&printed), "{printed} lines");
    watch(&scenario)
        .args(["--until", "now"])
        .stdout(appended(&file))
        .run()
        .expect_code(0);
    assert_eq!(briefs(&lines(&file)), inserts(1..=8));

    let into_file = || {
        scenario
            .cswatch(["--coll", "c", "--start", "earliest", "--until", "now"])
            .args([PathBuf::from("--output"), output.clone()])
            .args([PathBuf::from("--resume-file"), scenario.path("output.json")])
    };
    let run = into_file().through(limited).run().expect_code(6);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    let printed = lines(&output).len();
    assert!((1..8).contains(&printed), "{printed} lines");
    into_file().run().expect_code(0);
    assert_eq!(briefs(&lines(&output)), inserts(1..=8));
}

#[test]
fn is_ended_before_the_first_line_of_the_next_run() {
    let scenario = Scenario::new("torn_killed");
    let file = scenario.path("events.jsonl");
    let catch_up = || {
        let watch = watch(&scenario).args(["--until", "now"]);
        watch.stdout(appended(&file)).run().expect_code(0);
    };
    catch_up();
    insert(&scenario.coll("c"), 1..=2);
    catch_up();
    // Whole lines get no empty line between them.
    let whole = fs::read_to_string(&file).expect("lines");
    assert_eq!(briefs(&lines(&file)), inserts(1..=2));
    // As a kill in the middle of a write leaves it.
    let torn = &whole[..whole.len() - 10];
    fs::write(&file, torn).expect("a torn line");
    catch_up();
    // There was nothing to print.
    assert_eq!(fs::read_to_string(&file).expect("lines"), torn);
    insert(&scenario.coll("c"), 3..=4);
    catch_up();
    let text = fs::read_to_string(&file).expect("lines");
    let rest = text.strip_prefix(torn).expect("what was there before");
    let rest: Vec<_> = rest
        .strip_prefix('\n')
        .expect("an end of the torn line")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(briefs(&rest), inserts(3..=4));
    // The same for a file that the shell does not append to.
    fs::write(&file, torn).expect("a torn line");
    insert(&scenario.coll("c"), 5..=5);
    let shell = format!("exec \"$0\" \"$@\" 1<> {}", file.display());
    let watch = watch(&scenario).args(["--until", "now"]);
    watch.through(["sh", "-c", &shell]).run().expect_code(0);
    let text = fs::read_to_string(&file).expect("lines");
    let first = text.lines().next().expect("a line").to_owned();
    assert_eq!(briefs(&[first]), inserts(5..=5));
}
