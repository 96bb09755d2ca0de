//! Two uses of one file: refused before any file is opened or any server is contacted.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use testkit::certificates::Authority;
use testkit::cswatch::{Cswatch, Stdout};

/// A directory with a file of the user.
struct Directory(TempDir);

const CONTENT: &str = "[]";

impl Directory {
    fn new() -> Directory {
        let directory = Directory(tempfile::tempdir().expect("a directory"));
        fs::write(directory.path("taken"), CONTENT).expect("a file");
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Names and contents of all files.
    fn content(&self) -> Vec<(OsString, Vec<u8>)> {
        let mut content: Vec<_> = fs::read_dir(self.0.path())
            .expect("a directory")
            .map(|entry| {
                let entry = entry.expect("an entry");
                (
                    entry.file_name(),
                    fs::read(entry.path()).unwrap_or_default(),
                )
            })
            .collect();
        content.sort();
        content
    }
}

/// A watch that would fail with code 7 if it came to connect.
fn watch() -> Cswatch {
    Cswatch::new().args(["--retry-for", "0s"])
}

/// Runs a watch with these files, and expects that it is refused and that nothing changes.
#[track_caller]
fn refuses(directory: &Directory, watch: Cswatch, why: &str) {
    let before = directory.content();
    let run = watch.run().expect_code(2);
    assert!(run.stderr.contains(why), "{why}\n{}", run.stderr);
    assert!(
        run.stderr.contains("give each a file of its own"),
        "{}",
        run.stderr
    );
    assert_eq!(directory.content(), before);
}

#[track_caller]
fn refuses_pair(directory: &Directory, output: &Path, resume_file: &Path, why: &str) {
    let watch = watch()
        .args([Path::new("--output"), output])
        .args([Path::new("--resume-file"), resume_file]);
    refuses(directory, watch, why);
}

#[test]
fn refuses_an_output_file_that_is_the_resume_file() {
    for name in ["new", "taken"] {
        let directory = Directory::new();
        let path = directory.path(name);
        let detour = directory.path(&format!("./{name}"));
        fs::create_dir(directory.path("sub")).expect("a directory");
        let through_parent = directory.path(&format!("sub/../{name}"));
        symlink(&path, directory.path("link")).expect("a link");
        symlink("link", directory.path("link_to_link")).expect("a link");
        symlink(directory.0.path(), directory.path("same_directory")).expect("a link");
        let through_link = directory.path(&format!("same_directory/{name}"));
        for other in [
            &path,
            &detour,
            &through_parent,
            &directory.path("link"),
            &directory.path("link_to_link"),
            &through_link,
        ] {
            refuses_pair(&directory, other, &path, "are the same file");
            refuses_pair(&directory, &path, other, "are the same file");
        }
    }
}

#[test]
fn refuses_an_output_file_that_is_a_hard_link_to_the_resume_file() {
    let directory = Directory::new();
    let link = directory.path("hard_link");
    fs::hard_link(directory.path("taken"), &link).expect("a link");
    refuses_pair(
        &directory,
        &link,
        &directory.path("taken"),
        "are the same file",
    );
}

#[test]
fn refuses_relative_and_absolute_names_of_one_file() {
    let directory = Directory::new();
    let watch = watch()
        .args([Path::new("--output"), &directory.path("new")])
        .args(["--resume-file", "new"])
        .through([
            OsString::from("env"),
            "-C".into(),
            directory.0.path().into(),
        ]);
    refuses(&directory, watch, "are the same file");
}

#[test]
fn refuses_an_output_file_with_a_name_that_the_resume_file_needs() {
    let directory = Directory::new();
    let resume_file = directory.path("resume.json");
    for name in [
        "resume.json.lock",
        "resume.json.heartbeat",
        ".resume.json.cswatch-lock",
        ".resume.json.cswatch-heartbeat",
        ".resume.json.cswatch-tmp.abc123",
        ".resume.json.tmp.abc123",
    ] {
        let why = "has the name of a lock, heartbeat or temporary file";
        refuses_pair(&directory, &directory.path(name), &resume_file, why);
        // Another name of a file that is there already.
        fs::write(directory.path(name), "").expect("a file");
        let link = directory.path("hard_link");
        fs::hard_link(directory.path(name), &link).expect("a link");
        refuses_pair(&directory, &link, &resume_file, why);
        fs::remove_file(&link).expect("a link");
        fs::remove_file(directory.path(name)).expect("a file");
    }
}

#[test]
fn refuses_a_written_file_that_a_flag_reads() {
    let directory = Directory::new();
    let taken = directory.path("taken");
    let pipeline = format!("@{}", taken.display());
    for written in ["--output", "--resume-file"] {
        let watch = || watch().args([Path::new(written), &taken]);
        refuses(
            &directory,
            watch().args([Path::new("--uri-file"), &taken]),
            "are the same file",
        );
        refuses(
            &directory,
            watch().args(["--pipeline", &pipeline]),
            "are the same file",
        );
    }
}

#[test]
fn refuses_a_written_file_that_the_connection_string_names() {
    let directory = Directory::new();
    let authority = directory.path("ca.pem");
    fs::copy(Authority::new("same file").certificate(), &authority).expect("a copy");
    let uri = format!(
        "mongodb://127.0.0.1:1/?tls=true&tlsCAFile={}",
        authority.display()
    );
    for written in ["--output", "--resume-file"] {
        let watch = watch()
            .args(["--uri", &uri])
            .args([Path::new(written), &authority]);
        refuses(&directory, watch, "are the same file");
    }
}

#[test]
fn refuses_stdout_and_stderr_that_go_into_a_file_of_the_watch() {
    let directory = Directory::new();
    let taken = directory.path("taken");
    let open = || -> File {
        let file = OpenOptions::new().append(true).open(&taken);
        file.expect("a file")
    };
    let to_stdout = watch()
        .args([Path::new("--resume-file"), &taken])
        .stdout(Stdout::File(open()));
    refuses(&directory, to_stdout, "stdout and --resume-file");
    let to_output = watch().args(["--output", "/dev/stdout", "--resume-file"]);
    refuses(
        &directory,
        to_output.args([&taken]).stdout(Stdout::File(open())),
        "are the same file",
    );
    // What it says is in that file then.
    for flag in ["--resume-file", "--output"] {
        watch()
            .args([Path::new(flag), &taken])
            .stderr(open())
            .run()
            .expect_code(2);
        let content = fs::read_to_string(&taken).expect("a file");
        let message = content.strip_prefix(CONTENT).expect("what it held before");
        assert!(message.contains(&format!("stderr and {flag}")), "{message}");
        fs::write(&taken, CONTENT).expect("a file");
    }
}

#[test]
fn allows_one_file_that_is_only_read() {
    let directory = Directory::new();
    // Wrong as a connection string; that both flags name it is not the error.
    let pipeline = format!("@{}", directory.path("taken").display());
    let run = watch()
        .args([Path::new("--uri-file"), &directory.path("taken")])
        .args(["--pipeline", &pipeline])
        .run()
        .expect_code(2);
    assert!(!run.stderr.contains("same file"), "{}", run.stderr);
}
