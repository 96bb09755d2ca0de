//! The position file under faults: damaged, of something else, in use, on a full disk, and behind `kill -9`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::load::{Load, start_at};
use testkit::cswatch::Cswatch;
use testkit::events::{brief, briefs, insert, inserts, position, saved_token, token};
use testkit::port::free_listener;
use testkit::running::Finished;
use testkit::scenario::Scenario;
use testkit::small_disk::SmallDisk;

/// A watch of collection `c` with its position in `position.json`.
fn watch(scenario: &Scenario, arguments: &[&str]) -> Cswatch {
    scenario
        .cswatch(["--coll", "c", "--resume-file"])
        .args([position_file(scenario)])
        .args(arguments)
}

fn position_file(scenario: &Scenario) -> PathBuf {
    scenario.path("position.json")
}

/// It ended with code 5, printed nothing, and said this.
#[track_caller]
fn assert_refused(run: Finished, what: &str) {
    let run = run.expect_code(5);
    assert!(run.stderr.contains(what), "{what}\n{}", run.stderr);
    assert_eq!(run.stdout, [""; 0]);
}

/// A server that nobody may connect to.
struct Nobody(TcpListener);

impl Nobody {
    fn new() -> Nobody {
        let listener = free_listener();
        listener
            .set_nonblocking(true)
            .expect("a listener that does not wait");
        Nobody(listener)
    }

    fn watch(&self, file: &Path) -> Cswatch {
        let address = self.0.local_addr().expect("an address");
        Cswatch::new()
            .args([
                "--uri",
                &format!("mongodb://{address}"),
                "--db",
                "d",
                "--coll",
                "c",
            ])
            .args([Path::new("--resume-file"), file])
    }

    #[track_caller]
    fn assert_none(&self) {
        let connected = self.0.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(connected, Err(ErrorKind::WouldBlock));
    }
}

#[test]
fn f29_damaged_position_file_is_refused_unconnected_and_untouched() {
    use std::os::unix::fs::PermissionsExt as _;
    let scenario = Scenario::new("f29");
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let whole = fs::read_to_string(position_file(&scenario)).expect("a position");
    let at = whole.find("\"_data\":\"82").expect("a token") + "\"_data\":\"82".len();
    let mut cut = whole.clone();
    cut.remove(at);
    let mut flipped = whole.clone();
    let other = if whole[at..].starts_with('7') {
        "8"
    } else {
        "7"
    };
    flipped.replace_range(at..=at, other);
    let damaged = "is damaged: its checksum does not fit its content; put back a copy";
    let foreign = "is not a position file of cswatch, or is damaged; put back a copy";
    for (number, (content, what)) in [
        ("", "is empty; put back a copy"),
        (&whole[..whole.len() / 2], foreign),
        (&cut, damaged),
        (&flipped, damaged),
        ("{}", foreign),
        (r#"{"resumeToken":{"_data":"826B"}}"#, foreign),
    ]
    .into_iter()
    .enumerate()
    {
        let file = scenario.path(&format!("damaged-{number}.json"));
        fs::write(&file, content).expect("a file");
        let nobody = Nobody::new();
        assert_refused(nobody.watch(&file).run(), what);
        nobody.assert_none();
        assert_eq!(fs::read_to_string(&file).expect("a file"), content);
    }

    let folder = scenario.path("folder");
    fs::create_dir(&folder).expect("a folder");
    let unreadable = scenario.path("unreadable.json");
    fs::write(&unreadable, &whole).expect("a file");
    let in_folder = folder.join("position.json");
    let set_mode = |path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    set_mode(&unreadable, 0o000);
    set_mode(&folder, 0o500);
    for (file, what) in [
        (&folder, "is a folder; name a file in it"),
        (&unreadable, "cannot be read: Permission denied"),
        (&in_folder, "cannot be locked: "),
    ] {
        let nobody = Nobody::new();
        // Without the rights that root has over everybody's files.
        let watch = nobody.watch(file).through(["unshare", "--user"]);
        assert_refused(watch.run(), what);
        nobody.assert_none();
    }
    set_mode(&unreadable, 0o600);
    set_mode(&folder, 0o700);
    assert_eq!(fs::read_to_string(&unreadable).expect("a file"), whole);
    assert!(!in_folder.exists());
}

/// Changes a field, and the checksum with it: SHA-256 of all before it.
fn forge(file: &Path, field: &str, value: Value) {
    let mut content = position(file);
    let fields = content.as_object_mut().expect("an object");
    fields.shift_remove("checksum");
    fields.insert(field.to_owned(), value);
    let body = content.to_string();
    let body = body.strip_suffix('}').expect("an object");
    let checksum = const_hex::encode(Sha256::digest(body));
    fs::write(file, format!("{body},\"checksum\":\"{checksum}\"}}\n")).expect("a file");
}

#[test]
fn f30_position_of_something_else_is_refused_but_for_another_filter() {
    let scenario = Scenario::new("f30");
    let db = scenario.db().name();
    let file = position_file(&scenario);
    watch(&scenario, &["--until", "now"]).run().expect_code(0);
    let whole = fs::read(&file).expect("a position");
    let refused = |run: Cswatch, what: &str| {
        let before = fs::read(&file).expect("a position");
        assert_refused(run.run(), what);
        assert_eq!(fs::read(&file).expect("a position"), before);
        fs::write(&file, &whole).expect("a position");
    };

    let other = scenario
        .cswatch(["--coll", "other", "--resume-file"])
        .args([&file]);
    let both = format!(
        r#"is of another stream: it holds {{"db":"{db}","coll":["c"]}}, this is {{"db":"{db}","coll":["other"]}}; give another --resume-file"#
    );
    refused(other, &both);

    forge(&file, "set", "rs9".into());
    refused(
        watch(&scenario, &[]),
        "is of replica set rs9, this one is rs0; give another --resume-file",
    );

    let now = scenario.set().operation_time();
    let data = format!("82{:08X}{:08X}2B0229296E04", now.time + 3600, now.increment);
    forge(&file, "token", json!({ "_data": data }));
    let ahead = Timestamp::from_second((now.time + 3600).into()).expect("a time");
    let both = format!("is ahead of the server: its position is from {ahead}, the server is at ");
    refused(watch(&scenario, &[]), &both);

    // The same stream through another filter goes on, and says so.
    insert(&scenario.coll("c"), 1..=2);
    let filtered = watch(&scenario, &["--id", "2", "--count", "1"])
        .run()
        .expect_code(0);
    assert_eq!(briefs(&filtered.stdout), ["insert 2"]);
    let said = ", saved with another filter or other options";
    assert_eq!(
        filtered.stderr.matches(said).count(),
        1,
        "{}",
        filtered.stderr
    );
}

#[test]
fn f31_second_instance_is_refused_while_the_first_lives() {
    let scenario = Scenario::new("f31");
    let mut first = watch(&scenario, &[]).spawn();
    first.wait_open();
    let nobody = Nobody::new();
    let second = Cswatch::new()
        .args([
            "--uri",
            &format!("mongodb://{}", nobody.0.local_addr().expect("an address")),
        ])
        .args(["--db", scenario.db().name(), "--coll", "c", "--resume-file"])
        .args([position_file(&scenario)]);
    assert_refused(
        second.run(),
        &format!("is in use by pid {} on host ", first.pid()),
    );
    nobody.assert_none();
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&first.next_line()), "insert 1");
    first.kill();
    let second = watch(&scenario, &["--until", "now"]).run().expect_code(0);
    // The kill came before the save of that line, or behind it.
    assert!(second.stdout.len() <= 1, "{:?}", second.stdout);
}

#[test]
fn f32_full_disk_under_the_position_file_stops_no_event() {
    /// A few pages.
    const SIZE: u64 = 64 * 1024;
    let disk = SmallDisk::new(SIZE);
    let scenario = Scenario::new("f32");
    let outside = disk.path_outside();
    let file = outside.join("position.json");
    let coll = scenario.coll("c");
    let watch = || {
        scenario
            .cswatch(["--coll", "c", "--save-interval", "0", "--resume-file"])
            .args([disk.path_inside().join("position.json")])
            .through(disk.through())
    };
    let fill = || {
        let mut filler = File::create(outside.join("filler")).expect("a filler");
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 512]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    };
    let make_room = || fs::remove_file(outside.join("filler")).expect("a filler");
    let inside = disk.path_inside().join("position.json");
    let said = |what: &str| format!("position file {} {what}", inside.display());

    let mut running = watch().spawn();
    running.wait_open();
    fill();
    let before = fs::read(&file).expect("a position");
    insert(&coll, 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    running.expect_stderr(&said(
        "cannot be written, trying again: No space left on device",
    ));
    insert(&coll, 2..=2);
    assert_eq!(brief(&running.next_line()), "insert 2");
    running.signal(Signal::TERM);
    let ended = running.wait().expect_code(5);
    let last = ended.stderr.lines().last().expect("a line on stderr");
    assert!(
        last.contains(&said("cannot be written: No space left on device")),
        "{last}"
    );
    assert!(last.ends_with("; make room there or mend its permissions; the next run prints again what came after the last save"), "{last}");
    assert_eq!(fs::read(&file).expect("a position"), before);

    // While it is full, also of what the sign of life left free, the next run does not even connect.
    fill();
    assert_refused(
        watch().run(),
        &said("cannot be written: No space left on device"),
    );
    assert_eq!(fs::read(&file).expect("a position"), before);

    make_room();
    let mut running = watch().spawn();
    assert_eq!(brief(&running.next_line()), "insert 1");
    assert_eq!(brief(&running.next_line()), "insert 2");
    fill();
    insert(&coll, 3..=3);
    running.expect_stderr(&said("cannot be written, trying again: "));
    make_room();
    running.expect_stderr(&said("can be written again"));
    running.signal(Signal::TERM);
    assert_eq!(
        briefs(&running.wait().expect_code(0).stdout),
        inserts(1..=3)
    );
    let next = watch().args(["--until", "now"]).run().expect_code(0);
    assert_eq!(next.stdout, [""; 0]);
}

/// What came out of several runs.
#[derive(Default)]
struct Printed {
    /// The `_id` behind each token.
    ids: HashMap<String, i32>,
    /// The first `_id` that was never printed.
    next: i32,
}

impl Printed {
    /// Reads the lines of a run that began behind the insert of `saved`, or at some point before it that no line has.
    #[track_caller]
    fn read(&mut self, lines: &[String], saved: Option<i32>) {
        for (at, line) in lines.iter().enumerate() {
            let brief = brief(line);
            let id = brief.strip_prefix("insert ").and_then(|id| id.parse().ok());
            let id: i32 = id.expect("an insert");
            match (at, saved) {
                // All that was not saved comes again, and no more.
                (0, Some(saved)) => assert_eq!(id, saved + 1),
                (0, None) => assert!(id <= self.next, "lost: {}..{id}", self.next),
                _ => assert_eq!(id, self.next),
            }
            self.next = id + 1;
            self.ids.insert(token(line), id);
        }
    }
}

#[test]
fn f33_nothing_is_lost_in_50_kills_and_twice_comes_what_was_not_saved() {
    const KILLS: usize = 50;
    const SAVE_INTERVAL: Duration = Duration::from_millis(100);
    /// What a busy machine may take from the end of an interval to the save.
    const SLACK: Duration = Duration::from_secs(1);
    let scenario = Scenario::new("f33");
    let file = position_file(&scenario);
    let start = start_at(scenario.set().operation_time());
    let load = Load::start(scenario.coll("c"));
    let mut random = fastrand::Rng::with_seed(33);
    let mut printed = Printed::default();
    let mut saved = None;
    for kill in 0..KILLS {
        let mut running = watch(&scenario, &["--save-interval", "100ms"])
            .args(&start)
            .spawn();
        // Else somewhere in its beginning.
        if random.u8(..4) > 0 {
            running.wait_open();
        }
        // Some live longer than any delay of a save.
        let is_long = kill % 10 == 9;
        let longest = if is_long {
            2 * (SAVE_INTERVAL + SLACK)
        } else {
            4 * SAVE_INTERVAL
        };
        let shortest = if is_long {
            SAVE_INTERVAL + SLACK
        } else {
            Duration::ZERO
        };
        // The moment is the fault.
        thread::sleep(shortest + (longest - shortest).mul_f64(random.f64()));
        let killed = Timestamp::try_from(SystemTime::now()).expect("a time");
        let finished = running.kill();
        printed.read(&finished.stdout, saved);
        if !file.exists() {
            continue;
        }
        saved = printed.ids.get(&saved_token(&file)).copied();
        let at: Timestamp = position(&file)["saved"]
            .as_str()
            .expect("a time")
            .parse()
            .expect("a time");
        let age = killed.duration_since(at);
        if is_long {
            assert!(
                age <= (SAVE_INTERVAL + SLACK).try_into().expect("short"),
                "saved {age:?} before the kill"
            );
        }
    }
    let count = load.stop();
    let rest = watch(&scenario, &["--until", "now"])
        .args(&start)
        .run()
        .expect_code(0);
    printed.read(&rest.stdout, saved);
    assert_eq!(printed.next, count);
}
