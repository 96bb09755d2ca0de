//! The default resume file: found again whatever the connection string, the filter and the options are, and named by the first message.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mongodb::bson::doc;

use testkit::cswatch::Cswatch;
use testkit::events::{briefs, insert, inserts};
use testkit::finished::Finished;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

/// Watches collection `c` of the scenario's database through `uri` until now.
fn catch_up(scenario: &Scenario<'_>, uri: &str, options: &[&str]) -> Cswatch {
    Cswatch::new()
        .state_home(&scenario.state_home())
        .args(["--uri", uri, "--db", scenario.db().name(), "--coll", "c"])
        .args(["--until", "now", "--max-await", "50ms"])
        .args(options)
}

/// The resume files in the state folder, in the order of their names.
#[track_caller]
fn resume_files(scenario: &Scenario<'_>) -> Vec<PathBuf> {
    let folder = scenario.state_home().join("cswatch");
    let entries = fs::read_dir(folder).expect("a state folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
}

#[track_caller]
fn the_resume_file(scenario: &Scenario<'_>) -> PathBuf {
    match resume_files(scenario).as_slice() {
        [file] => file.clone(),
        files => panic!("not one resume file: {files:?}"),
    }
}

/// Checks that the first line on stderr is this message.
#[track_caller]
fn expect_first_message(run: &Finished, message: &str) {
    let first = run.messages()[0];
    assert!(
        first.ends_with(&format!("cswatch: {message}")),
        "{message}\n{}",
        run.stderr
    );
}

fn rfc3339(file: &Path) -> String {
    let time = testkit::events::saved_time(file).time;
    let time = jiff::Timestamp::from_second(time.into());
    time.expect("a time").to_string()
}

#[test]
fn resumes_from_the_same_file_however_the_command_line_is_written() {
    let scenario = Scenario::new("same_file");
    let coll = scenario.coll("c");
    let uri = scenario.set().uri();
    let first = catch_up(&scenario, &uri, &[]).run().expect_code(0);
    let file = the_resume_file(&scenario);
    let shown = file.display();
    expect_first_message(
        &first,
        &format!("no checkpoint yet, starting at now ({shown})"),
    );
    let address = scenario.set().primary().address();
    let port = scenario.set().primary().port();
    let spellings: [(String, &[&str], bool); 7] = [
        (uri.clone(), &[], true),
        (
            format!("mongodb://localhost:{port}/?directConnection=true"),
            &[],
            true,
        ),
        (
            format!("mongodb://{address},localhost:1/?replicaSet=rs0"),
            &[],
            true,
        ),
        (
            format!("mongodb://{address}/?replicaSet=rs0&appName=x&readPreference=nearest"),
            &[],
            true,
        ),
        (uri.clone(), &["--op", "insert"], false),
        (uri.clone(), &["--full-document", "updateLookup"], false),
        (
            uri.clone(),
            &["--match", r#"{"fullDocument._id":{"$gt":0}}"#],
            false,
        ),
    ];
    for (id, (uri, options, is_filter_of_first_run)) in (1..).zip(spellings) {
        insert(&coll, [id]);
        let saved = rfc3339(&file);
        let run = catch_up(&scenario, &uri, options).run().expect_code(0);
        assert_eq!(briefs(&run.stdout), inserts([id]), "{uri} {options:?}");
        // The filter is compared with that of the run before.
        let is_same = is_filter_of_first_run;
        let filter = if is_same {
            ""
        } else {
            ", saved with another filter or other options"
        };
        expect_first_message(&run, &format!("resuming after {saved} ({shown}){filter}"));
        assert_eq!(the_resume_file(&scenario), file);
    }
}

#[test]
fn names_the_file_and_the_start_of_a_first_run() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "first_message");
    insert(&scenario.coll("c"), [1]);
    let uri = scenario.set().uri();
    for (start, shown) in [
        ("now", "now"),
        ("earliest", "the beginning of the oplog"),
        ("1", "1970-01-01T00:00:01Z"),
    ] {
        let run = catch_up(&scenario, &uri, &["--start", start])
            .run()
            .expect_code(0);
        let file = the_resume_file(&scenario);
        let message = format!(
            "no checkpoint yet, starting at {shown} ({})",
            file.display()
        );
        expect_first_message(&run, &message);
        fs::remove_file(&file).expect("a resume file");
    }
    let run = catch_up(&scenario, &uri, &["--no-resume"])
        .run()
        .expect_code(0);
    expect_first_message(&run, &format!("watching {}.c", scenario.db().name()));
}

#[test]
fn reports_that_an_explicit_start_is_ignored_and_how_to_override_the_checkpoint() {
    let scenario = Scenario::new("start_given");
    let uri = scenario.set().uri();
    let ignored = "--start is ignored because there is a checkpoint";
    let hint = "cswatch: hint: use --start-after TOKEN, or another --resume-file";
    let first = catch_up(&scenario, &uri, &["--start", "now"])
        .run()
        .expect_code(0);
    assert!(!first.stderr.contains("ignored"), "{}", first.stderr);
    let by_default = catch_up(&scenario, &uri, &[]).run().expect_code(0);
    assert!(
        !by_default.stderr.contains("ignored"),
        "{}",
        by_default.stderr
    );
    let by_flag = catch_up(&scenario, &uri, &["--start", "now"]);
    let by_environment = catch_up(&scenario, &uri, &[]).env("CSWATCH_START", "now");
    for watch in [by_flag, by_environment] {
        let run = watch.run().expect_code(0);
        assert!(
            run.stderr.contains(ignored) && run.stderr.contains(hint),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn finds_the_same_file_with_another_user_who_may_read_more_or_less() {
    let set = ReplicaSet::start(Options {
        auth: true,
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "other_user");
    let role = doc! { "role": "read", "db": scenario.db().name() };
    let reader = set.create_user("reader", "password", &[role]);
    for (id, uri) in (0..).zip([&reader, &set.uri(), &reader, &set.uri()]) {
        let run = catch_up(&scenario, uri, &[]).run().expect_code(0);
        let expected = if id == 0 { Vec::new() } else { inserts([id]) };
        assert_eq!(briefs(&run.stdout), expected);
        insert(&scenario.coll("c"), [id + 1]);
        the_resume_file(&scenario);
    }
}

#[test]
fn takes_another_file_for_another_deployment_and_reports_the_one_that_it_leaves_alone() {
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "other_deployment");
    catch_up(&scenario, &set.uri(), &[]).run().expect_code(0);
    let old = the_resume_file(&scenario);
    let before = fs::read(&old).expect("a resume file");
    set.wipe();
    let run = catch_up(&scenario, &set.uri(), &[]).run().expect_code(0);
    let left_alone = format!(
        "resume file {} belongs to another deployment",
        old.display()
    );
    assert!(
        run.stderr.contains(&left_alone)
            && run.stderr.contains("no checkpoint yet, starting at now"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read(&old).expect("a resume file"), before);
    assert_eq!(resume_files(&scenario).len(), 2);
    insert(&scenario.coll("c"), [1]);
    let next = catch_up(&scenario, &set.uri(), &[]).run().expect_code(0);
    assert_eq!(briefs(&next.stdout), inserts([1]));
}

/// It may be the one that is looked for, and starting at now would lose what came since.
#[test]
fn refuses_to_start_anew_next_to_a_damaged_file_of_its_name() {
    let scenario = Scenario::new("damaged_default");
    let uri = scenario.set().uri();
    catch_up(&scenario, &uri, &[]).run().expect_code(0);
    let file = the_resume_file(&scenario);
    let renamed = file.with_file_name(format!("{}.c-0123456789ab.json", scenario.db().name()));
    fs::rename(&file, &renamed).expect("a resume file");
    fs::write(&renamed, "{").expect("a damaged file");
    let run = catch_up(&scenario, &uri, &[]).run().expect_code(5);
    let error = format!(
        "resume file {} was not written by cswatch, or is damaged",
        renamed.display()
    );
    assert!(run.stderr.contains(&error), "{}", run.stderr);
    assert_eq!(the_resume_file(&scenario), renamed);
}

#[test]
fn creates_a_folder_for_its_owner_alone_and_checks_it_before_connecting() {
    let scenario = Scenario::new("state_folder");
    let uri = scenario.set().uri();
    catch_up(&scenario, &uri, &[]).run().expect_code(0);
    let folder = scenario.state_home().join("cswatch");
    let mode = |path: &Path| {
        let metadata = fs::metadata(path).expect("a folder");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder), 0o700);
    fs::remove_dir_all(&folder).expect("a folder");
    fs::write(&folder, "").expect("a file");
    let run = catch_up(&scenario, "mongodb://127.0.0.1:1", &[])
        .run()
        .expect_code(5);
    assert!(
        run.stderr
            .contains("cannot create the folder of resume files"),
        "{}",
        run.stderr
    );
}

#[test]
fn is_chosen_by_check_as_by_the_watch() {
    let scenario = Scenario::new("check_default");
    let uri = scenario.set().uri();
    let check = |options: &[&str]| {
        let run = Cswatch::new()
            .state_home(&scenario.state_home())
            .args([
                "check",
                "--uri",
                &uri,
                "--db",
                scenario.db().name(),
                "--coll",
                "c",
            ])
            .args(options)
            .run();
        run.expect_code(0).stdout.join("\n")
    };
    let before = check(&[]);
    assert!(!scenario.state_home().exists());
    catch_up(&scenario, &uri, &[]).run().expect_code(0);
    let file = the_resume_file(&scenario);
    let file = file.display();
    assert!(
        before.contains(&format!("{file}, not created yet")),
        "{before}"
    );
    let after = check(&["--op", "insert"]);
    assert!(
        after.contains(&format!("{file}\n")) && after.contains("can be resumed"),
        "{after}"
    );
}
