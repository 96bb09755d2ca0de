//! File systems without locks or synced directories, and a limit on the size of files.

use std::fs::{self, File};

use mongodb::bson::doc;

use testkit::cswatch::{Cswatch, Stdout};
use testkit::events::{briefs, insert, inserts};
use testkit::preload::Preload;
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

use super::{expect_error, watch, watch_until_now};

/// As NFS without a lock daemon, and as FUSE file systems that implement neither.
fn lacking(lock_error: &str, sync_error: &str) -> Preload {
    Preload::compile(&format!(
        "#define _GNU_SOURCE\n\
         #include <dlfcn.h>\n\
         #include <errno.h>\n\
         #include <sys/stat.h>\n\
         int flock(int fd, int operation) {{ errno = {lock_error}; return -1; }}\n\
         int fsync(int fd) {{\n\
             struct stat found;\n\
             if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) {{ errno = {sync_error}; return -1; }}\n\
             return ((int (*)(int)) dlsym(RTLD_NEXT, \"fsync\"))(fd);\n\
         }}\n"
    ))
}

#[test]
fn warns_once_and_continues_where_there_are_no_locks_and_no_synced_directories() {
    for (lock_error, sync_error) in [
        ("ENOLCK", "EINVAL"),
        ("ENOSYS", "ENOTSUP"),
        ("EOPNOTSUPP", "ENOSYS"),
        ("EINVAL", "EINVAL"),
    ] {
        let scenario = Scenario::new("lacking");
        let file = scenario.path("resume.json");
        let output = scenario.path("lines");
        let lacking = lacking(lock_error, sync_error);
        let run = || {
            let watch = watch(&scenario, &file)
                .args(["--until", "now", "--save-interval", "0", "--output"])
                .args([&output]);
            lacking.preloaded(watch).run().expect_code(0)
        };
        run();
        insert(&scenario.coll("c"), 1..=3);
        let stderr = run().stderr;
        let directory = file.parent().expect("a directory").display();
        for message in [
            format!(
                "cannot lock resume file {}: its file system has no locks",
                file.display()
            ),
            format!(
                "cannot lock output file {}: its file system has no locks",
                output.display()
            ),
            format!("cannot sync directory {directory}: "),
        ] {
            assert_eq!(stderr.matches(&message).count(), 1, "{message}\n{stderr}");
        }
        assert!(
            stderr.contains("make sure that no other cswatch uses this file"),
            "{stderr}"
        );
        let lines: Vec<_> = fs::read_to_string(&output)
            .expect("lines")
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(briefs(&lines), inserts(1..=3));
    }
}

#[test]
fn leaves_temporary_files_alone_that_another_watch_may_be_using() {
    let scenario = Scenario::new("no_locks");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let temporary = super::neighbor(&file, "tmp.aaaaaa");
    fs::copy(&file, &temporary).expect("a copy");
    let watch = watch(&scenario, &file).args(["--until", "now"]);
    lacking("ENOLCK", "EINVAL")
        .preloaded(watch)
        .run()
        .expect_code(0);
    assert!(temporary.exists());
}

#[test]
fn fails_where_a_lock_or_a_sync_fails_for_another_reason() {
    let scenario = Scenario::new("io_error");
    let file = scenario.path("resume.json");
    watch_until_now(&scenario, &file);
    let before = fs::read(&file).expect("a resume file");
    let run = lacking("EIO", "EINVAL")
        .preloaded(watch(&scenario, &file))
        .run();
    expect_error(
        run,
        5,
        &format!("cannot lock resume file {}", file.display()),
        "",
    );
    assert_eq!(fs::read(&file).expect("a resume file"), before);
    // Whether the disk has the new checkpoint is then unknown.
    let watch = watch(&scenario, &file);
    let sync = Preload::compile(
        "#include <errno.h>\n\
         #include <sys/stat.h>\n\
         int fsync(int fd) {\n\
             struct stat found;\n\
             if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) { errno = EIO; return -1; }\n\
             return 0;\n\
         }\n",
    );
    expect_error(
        sync.preloaded(watch).run(),
        5,
        &format!("cannot write resume file {}", file.display()),
        "",
    );
}

/// Makes a write beyond `blocks` of 512 bytes fail.
fn limited(cswatch: Cswatch, blocks: u32) -> Cswatch {
    let limit = format!(r#"ulimit -f {blocks} && exec "$@""#);
    cswatch.through(["sh", "-c", &limit, "sh"])
}

#[test]
fn ends_with_code_6_at_the_limit_on_the_size_of_files() {
    let scenario = Scenario::new("size_limit");
    let file = scenario.path("resume.json");
    let output = scenario.path("lines");
    watch_until_now(&scenario, &file);
    let text = "x".repeat(5_000);
    for id in 1..=10 {
        block_on(
            scenario
                .coll("c")
                .insert_one(doc! { "_id": id, "text": &text }),
        )
        .expect("an insert");
    }
    let lines = || -> Vec<String> {
        let text = fs::read_to_string(&output).expect("lines");
        text.lines().map(str::to_owned).collect()
    };
    let watch = |limit: Option<u32>| {
        let watch = watch(&scenario, &file)
            .args(["--until", "now", "--output"])
            .args([&output]);
        match limit {
            Some(limit) => limited(watch, limit),
            None => watch,
        }
    };
    let run = watch(Some(48)).run().expect_code(6);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    assert!((1..10).contains(&lines().len()), "{}", lines().len());
    watch(None).run().expect_code(0);
    assert_eq!(briefs(&lines()), inserts(1..=10));

    // Commands, too.
    let printed = File::create(scenario.path("printed")).expect("a file");
    let token = Cswatch::new()
        .args(["token"])
        .args([&output])
        .stdout(Stdout::File(printed));
    limited(token, 1).run().expect_code(6);
}

#[test]
fn ends_with_code_5_when_a_limit_on_the_size_of_files_leaves_no_room_for_the_checkpoint() {
    let scenario = Scenario::new("no_room");
    let file = scenario.path("resume.json");
    // One block is enough for the lock, but not for a checkpoint with this scope.
    let coll = "x".repeat(200);
    let watch = || watch(&scenario, &file).args(["--coll", &coll]);
    watch().args(["--until", "now"]).run().expect_code(0);
    let before = fs::read(&file).expect("a resume file");
    assert!(before.len() > 512, "{}", before.len());
    for blocks in [0, 1] {
        let run = limited(watch(), blocks).run();
        let stderr = run.expect_code(5).stderr;
        assert!(stderr.contains("File too large"), "{stderr}");
        assert_eq!(fs::read(&file).expect("a resume file"), before);
    }
}
