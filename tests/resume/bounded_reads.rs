//! Reads of local files end at a limit, whatever the file is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use testkit::cswatch::Cswatch;
use testkit::finished::Finished;
use testkit::scenario::Scenario;

use super::{expect_error, neighbor, watch_nowhere};

/// A file of 1 GiB that takes no space.
fn sparse(path: PathBuf) -> PathBuf {
    let file = File::create(&path).expect("a file");
    file.set_len(1 << 30).expect("a sparse file");
    path
}

fn fifo(path: PathBuf) -> PathBuf {
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    path
}

/// Runs it with 400 MB of address space, above which an allocation ends it with a signal.
#[track_caller]
fn run_in_little_memory(cswatch: Cswatch) -> Finished {
    let limit = r#"ulimit -v 400000 && exec "$@""#;
    cswatch.through(["sh", "-c", limit, "sh"]).run()
}

fn explain(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cswatch {
    Cswatch::new()
        .without_env("MONGODB_URI")
        .args(["--explain", "--db", "db"])
        .args(arguments)
}

#[test]
fn refuses_a_resume_file_of_a_gigabyte_without_reading_it() {
    let scenario = Scenario::new("large_resume_file");
    let file = sparse(scenario.path("resume.json"));
    let run = run_in_little_memory(watch_nowhere(&file));
    let error = format!(
        "cannot read resume file {}: it is larger than 64 MiB",
        file.display()
    );
    expect_error(
        run,
        5,
        &error,
        "that is not a resume file: give another --resume-file",
    );
    assert_eq!(fs::metadata(&file).expect("the file").len(), 1 << 30);
}

#[test]
fn refuses_files_without_end_for_the_connection_string_and_the_pipeline() {
    let scenario = Scenario::new("endless_arguments");
    let sparse = sparse(scenario.path("sparse"));
    for path in [Path::new("/dev/zero"), &sparse] {
        let run = run_in_little_memory(explain([Path::new("--uri-file"), path]));
        let error = format!(
            "--uri-file: cannot read {}: it is larger than 64 KiB",
            path.display()
        );
        let stderr = run.expect_code(2).stderr;
        assert!(stderr.contains(&error), "{stderr}");
        let pipeline = format!("@{}", path.display());
        let run = run_in_little_memory(explain(["--pipeline", &pipeline]));
        let error = format!(
            "--pipeline: cannot read {}: it is larger than 16 MiB",
            path.display()
        );
        let stderr = run.expect_code(2).stderr;
        assert!(stderr.contains(&error), "{stderr}");
    }
}

#[test]
fn refuses_files_without_end_for_tls() {
    let scenario = Scenario::new("endless_pem");
    let sparse = sparse(scenario.path("sparse"));
    let pipe = fifo(scenario.path("pipe"));
    for option in ["tlsCAFile", "tlsCertificateKeyFile"] {
        for (path, why) in [
            (Path::new("/dev/zero"), "it is not a regular file"),
            (&sparse, "it is larger than 16 MiB"),
            // Nobody writes to it.
            (&pipe, "it is not a regular file"),
        ] {
            let uri = format!(
                "mongodb://127.0.0.1:1/?tls=true&{option}={}",
                path.display()
            );
            let run = run_in_little_memory(explain(["--uri", &uri]));
            let error = format!("--uri: {option}: cannot read {}: {why}", path.display());
            let stderr = run.expect_code(2).stderr;
            assert!(stderr.contains(&error), "{stderr}");
        }
    }
}

#[test]
fn reads_the_connection_string_and_the_pipeline_from_a_pipe() {
    let scenario = Scenario::new("arguments_from_pipes");
    let uri = fifo(scenario.path("uri"));
    let pipeline = fifo(scenario.path("pipeline"));
    let writers = [
        (uri.clone(), "mongodb://127.0.0.1:1\n"),
        (
            pipeline.clone(),
            r#"[{"$match":{"operationType":"insert"}}]"#,
        ),
    ]
    .map(|(path, text)| thread::spawn(move || fs::write(path, text).expect("a reader")));
    let run = explain([Path::new("--uri-file"), &uri])
        .args(["--pipeline", &format!("@{}", pipeline.display())])
        .run()
        .expect_code(0);
    assert!(
        run.stdout.join("\n").contains("operationType"),
        "{:?}",
        run.stdout
    );
    for writer in writers {
        writer.join().expect("it was read");
    }
}

#[test]
fn shows_no_token_of_a_file_without_end() {
    let scenario = Scenario::new("endless_token");
    let sparse = sparse(scenario.path("sparse"));
    // Zeros that follow something of a token, of JSON, and of a string.
    let mut paths = vec![sparse, PathBuf::from("/dev/zero")];
    for (index, start) in ["8264", "{\"_id\":", "\"8264"].into_iter().enumerate() {
        let path = scenario.path(&format!("start-{index}"));
        fs::write(&path, start).expect("a file");
        let file = File::options().write(true).open(&path).expect("the file");
        file.set_len(1 << 30).expect("a sparse file");
        paths.push(path);
    }
    for path in paths {
        let token = Cswatch::new().args(["token"]).args([&path]);
        let stderr = run_in_little_memory(token).expect_code(2).stderr;
        assert!(stderr.contains(&path.display().to_string()), "{stderr}");
        assert!(stderr.len() < 2_000, "{} bytes on stderr", stderr.len());
    }
}

#[test]
fn reports_a_heartbeat_or_lock_without_end_as_unhealthy() {
    let scenario = Scenario::new("endless_heartbeat");
    for (index, role) in ["heartbeat", "lock"].into_iter().enumerate() {
        for (kind, make) in [("sparse", sparse as fn(PathBuf) -> PathBuf), ("fifo", fifo)] {
            let file = scenario.path(&format!("{kind}-{index}.json"));
            make(neighbor(&file, role));
            let health = Cswatch::new()
                .args(["health", "--resume-file"])
                .args([&file]);
            let stderr = run_in_little_memory(health).expect_code(1).stderr;
            assert!(stderr.contains("cannot read the "), "{stderr}");
        }
    }
}
