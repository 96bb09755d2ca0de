//! Stdout that is appended to a regular file: a line that could not be written whole does not spoil the next one.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, insert, inserts};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

use super::target::{Target, lines};

/// Watches collection `c`; every watch of a scenario has the same resume file.
fn watch(scenario: &Scenario) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--max-await", "50ms", "--resume-file"])
        .args([scenario.path("resume.json")])
}

/// `>> path` of a shell.
fn appended(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).open(path);
    file.expect("a file")
}

/// `> path` of a shell.
fn truncated(path: &Path) -> File {
    File::create(path).expect("a file")
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
    for open in [appended, truncated] {
        let scenario = Scenario::new("torn_full");
        let disk = SmallDisk::new(64 * 1024);
        let file = disk.path_outside().join("events.jsonl");
        let filler = disk.path_outside().join("filler");
        fs::write(&filler, vec![0; 20 * 1024]).expect("a filler");
        let mut running = watch(&scenario).stdout(Stdout::File(open(&file))).spawn();
        running.wait_open();
        insert_large(&scenario, 1..=8, 10_000);
        running.wait().expect_code(6);
        let printed = lines(&file).len();
        assert!((1..8).contains(&printed), "{printed} lines");
        // As long as it is full, each start ends so, and changes nothing.
        let before = fs::read(&file).expect("lines");
        watch(&scenario)
            .stdout(Stdout::File(appended(&file)))
            .run()
            .expect_code(6);
        assert!(fs::read(&file).expect("lines") == before);

        // Where there is room, the next run continues the same content.
        let roomy = scenario.path("events.jsonl");
        fs::copy(&file, &roomy).expect("a copy");
        let watch = watch(&scenario).args(["--until", "now"]);
        watch
            .stdout(Stdout::File(appended(&roomy)))
            .run()
            .expect_code(0);
        assert_eq!(briefs(&lines(&roomy)), inserts(1..=8));
    }
}

/// Starts a program in a shell that ignores SIGXFSZ, with a limit of 32 KiB on the size of files: 64 blocks of POSIX.
const LIMITED: [&str; 3] = ["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""];

#[test]
fn is_cut_at_the_limit_on_the_size_of_files() {
    for open in [appended, truncated] {
        let scenario = Scenario::new("torn_limit");
        let file = scenario.path("events.jsonl");
        let catch_up = || watch(&scenario).args(["--until", "now"]);
        catch_up().run().expect_code(0);
        insert_large(&scenario, 1..=8, 10_000);
        // Two programs of one shell share the offset: (cswatch; cswatch) > FILE.
        let opened = open(&file);
        let stdout = || Stdout::File(opened.try_clone().expect("a descriptor"));
        let limited = watch(&scenario).stdout(stdout()).through(LIMITED);
        let run = limited.run().expect_code(6);
        assert!(run.stderr.contains("File too large"), "{}", run.stderr);
        let printed = lines(&file).len();
        assert!((1..8).contains(&printed), "{printed} lines");
        catch_up().stdout(stdout()).run().expect_code(0);
        assert_eq!(briefs(&lines(&file)), inserts(1..=8));
    }
}

#[test]
fn is_cut_from_an_output_file_at_the_limit_on_the_size_of_files() {
    let scenario = Scenario::new("torn_limit_output");
    let target = Target::new(&scenario.path(""), "events");
    target.catch_up(&scenario);
    insert_large(&scenario, 1..=8, 10_000);
    let limited = target.watch(&scenario).through(LIMITED);
    let run = limited.run().expect_code(6);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    assert!(run.stderr.contains("ulimit -f"), "{}", run.stderr);
    let printed = target.lines().len();
    assert!((1..8).contains(&printed), "{printed} lines");
    target.catch_up(&scenario);
    assert_eq!(briefs(&target.lines()), inserts(1..=8));
}

#[test]
fn is_ended_before_the_first_line_of_the_next_run() {
    let scenario = Scenario::new("torn_killed");
    let file = scenario.path("events.jsonl");
    let catch_up = || {
        let watch = watch(&scenario).args(["--until", "now"]);
        watch
            .stdout(Stdout::File(appended(&file)))
            .run()
            .expect_code(0);
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
