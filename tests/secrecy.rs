//! Secrecy of passwords: `cswatch` neither prints them nor writes them to a file, with any command and however it ends. The tests search
//! all output and every file. A new feature with output of its own needs an entry in [`SURFACES`]; its files are found without one.

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mongodb::bson::doc;
use rustix::process::Signal;
use tempfile::TempDir;

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::endpoint::Endpoint;
use testkit::events::{brief, insert};
use testkit::finished::Finished;
use testkit::guard;
use testkit::port::free_port;
use testkit::proxy::{Mode, Proxy};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::running::Running;
use testkit::scenario::Scenario;

/// Options that make the driver give up an attempt within a second instead of after 10 s.
const FAIL_FAST: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// A user who may watch.
struct Login {
    user: &'static str,
    password: &'static str,
    /// The percent-encoded password for a connection string.
    encoded: &'static str,
}

const LOGINS: [Login; 2] = [
    Login {
        user: "wildebeest",
        password: "zebra-quagga-okapi",
        encoded: "zebra-quagga-okapi",
    },
    Login {
        user: "hartebeest",
        password: "zebra@quagga/okapi?100%#",
        encoded: "zebra%40quagga%2Fokapi%3F100%25%23",
    },
];

/// Words in both forms of each password, and nowhere else.
const PASSWORD_WORDS: [&str; 3] = ["zebra", "quagga", "okapi"];

/// A way to run `cswatch`: its name, and a function that runs it and returns the output.
type Surface = (&'static str, fn(&Environment) -> Vec<Finished>);

const SURFACES: &[Surface] = &[
    ("watch with all log messages", watch_with_all_messages),
    ("watch with JSON logs", watch_with_json_logs),
    (
        "watch into a file, with a connection string from a file",
        watch_into_file,
    ),
    (
        "resumed watch, and a locked resume file",
        resumed_and_locked,
    ),
    ("lost connection", lost_connection),
    ("failed login", failed_login),
    ("unreachable", unreachable),
    ("damaged resume file", damaged_resume_file),
    ("check, successful and failed", check),
    ("metrics, health and status", monitoring),
    ("commands without a server", without_server),
];

/// Returns a replica set that requires a login, for all tests here.
fn set_with_login() -> &'static ReplicaSet {
    static SET: OnceLock<ReplicaSet> = OnceLock::new();
    SET.get_or_init(|| {
        let set = ReplicaSet::start(Options {
            auth: true,
            ..Options::default()
        });
        for Login { user, password, .. } in &LOGINS {
            let role = doc! { "role": "readAnyDatabase", "db": "admin" };
            set.create_user(user, password, &[role]);
        }
        set
    })
}

/// The environment of one surface.
struct Environment {
    login: &'static Login,
    scenario: Scenario<'static>,
    /// Not searched: it contains the connection string.
    secret: TempDir,
    inserted: Cell<i32>,
}

impl Environment {
    fn uri(&self) -> String {
        set_with_login().uri_as(self.login.user, self.login.encoded)
    }

    /// Returns the connection string with other hosts and options.
    fn uri_to(&self, hosts: &str, options: &str) -> String {
        let Login { user, encoded, .. } = self.login;
        format!("mongodb://{user}:{encoded}@{hosts}/?{options}")
    }

    fn cswatch(&self, uri: &str) -> Cswatch {
        Cswatch::new()
            .env("CSWATCH_URI", uri)
            .env("CSWATCH_DB", self.scenario.db().name())
            .env("CSWATCH_SAVE_INTERVAL", "0")
            .state_home(&self.scenario.state_home())
    }

    /// Inserts a document, and waits until its event is printed.
    #[track_caller]
    fn print_one(&self, running: &mut Running) {
        let id = self.inserted.replace(self.inserted.get() + 1);
        insert(&self.scenario.coll("c"), [id]);
        running.lines_until(|line| brief(line) == format!("insert {id}"));
    }

    /// Searches the files of the scenario for the user name and the password.
    #[track_caller]
    fn search(&self) {
        for file in files(&self.scenario.path("")) {
            let name = file.display().to_string();
            let text = match fs::read(&file) {
                // A temporary file that was just renamed to the resume file.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                text => text.expect("a file can be read"),
            };
            check_no_password(&name, &name);
            check_no_password(&name, &String::from_utf8_lossy(&text));
            check_absent(&name, &String::from_utf8_lossy(&text), &[self.login.user]);
        }
    }

    /// Searches the files while the resume file is locked, and then ends the watch. `leaks_no_password` searches them again afterwards.
    #[track_caller]
    fn stop(&self, running: Running) -> Finished {
        self.search();
        running.signal(Signal::TERM);
        running.wait().expect_code(0)
    }
}

#[track_caller]
fn check_no_password(source: &str, text: &str) {
    check_absent(source, text, &PASSWORD_WORDS);
}

#[track_caller]
fn check_absent(source: &str, text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    for word in words {
        assert!(!lower.contains(word), "{source} contains {word:?}:\n{text}");
    }
}

/// Returns all files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn leaks_no_password() {
    for (surface, run) in SURFACES {
        for login in &LOGINS {
            let environment = Environment {
                login,
                scenario: Scenario::on(set_with_login(), "secrecy"),
                secret: guard::temp_dir("secret-"),
                inserted: Cell::new(0),
            };
            for finished in run(&environment) {
                let output = finished.stdout.join("\n") + &finished.stderr;
                check_no_password(surface, &output);
                check_absent(surface, &output, &[login.user]);
            }
            environment.search();
        }
    }
}

fn watch_with_all_messages(environment: &Environment) -> Vec<Finished> {
    let mut running = environment
        .cswatch(&environment.uri())
        .args(["-vv"])
        .spawn();
    running.wait_open();
    environment.print_one(&mut running);
    let searched = files(&environment.scenario.state_home());
    let finished = environment.stop(running);
    // The resume file, its lock and its heartbeat existed when the files were searched.
    let names = searched.iter().map(|file| file.display().to_string());
    let names: Vec<String> = names.collect();
    for end in [".json", ".json.cswatch-lock", ".json.cswatch-heartbeat"] {
        assert!(names.iter().any(|name| name.ends_with(end)), "{names:?}");
    }
    vec![finished]
}

fn watch_with_json_logs(environment: &Environment) -> Vec<Finished> {
    let mut running = environment
        .cswatch(&environment.uri())
        .args(["-vv", "--log-format", "json"])
        .spawn();
    running.wait_open();
    environment.print_one(&mut running);
    vec![environment.stop(running)]
}

fn watch_into_file(environment: &Environment) -> Vec<Finished> {
    let uri_file = environment.secret.path().join("uri");
    fs::write(&uri_file, environment.uri()).expect("a file can be written");
    let resume_file = environment.scenario.path("resume.json");
    let output = environment.scenario.path("events.jsonl");
    let mut running = Cswatch::new()
        .args(["--db", environment.scenario.db().name(), "-vv"])
        .args(["--uri-file", path_text(&uri_file)])
        .args(["--resume-file", path_text(&resume_file)])
        .args(["--output", path_text(&output)])
        .spawn();
    running.wait_open();
    insert(&environment.scenario.coll("c"), [1]);
    let written = poll(DEADLINE, || {
        fs::read(&output)
            .is_ok_and(|text| text.ends_with(b"\n"))
            .then_some(())
    });
    assert!(written.is_some(), "no event in {}", output.display());
    vec![environment.stop(running)]
}

fn resumed_and_locked(environment: &Environment) -> Vec<Finished> {
    let begun = environment
        .cswatch(&environment.uri())
        .args(["--until", "now"])
        .run();
    let mut running = environment
        .cswatch(&environment.uri())
        .args(["-vv"])
        .spawn();
    running.expect_stderr("resuming after ");
    running.wait_open();
    environment.print_one(&mut running);
    let locked_out = environment.cswatch(&environment.uri()).args(["-vv"]).run();
    vec![
        begun.expect_code(0),
        locked_out.expect_code(5),
        environment.stop(running),
    ]
}

fn lost_connection(environment: &Environment) -> Vec<Finished> {
    let proxy = Proxy::start(set_with_login().primary());
    let direct = proxy.uri();
    let (_, address) = direct.split_once("://").expect("a connection string");
    let (hosts, options) = address.split_once("/?").expect("options");
    let uri = environment.uri_to(hosts, &format!("{options}&{FAIL_FAST}"));
    let mut running = environment.cswatch(&uri).args(["-vv"]).spawn();
    running.wait_open();
    environment.print_one(&mut running);
    proxy.set_mode(Mode::Refuse);
    running.expect_stderr("warning: connection lost, retrying: ");
    proxy.set_mode(Mode::Pass);
    environment.print_one(&mut running);
    vec![environment.stop(running)]
}

fn failed_login(environment: &Environment) -> Vec<Finished> {
    let unknown = set_with_login().uri_as("unknown", environment.login.encoded);
    let elsewhere = format!("{}&authSource=elsewhere", environment.uri());
    let by_certificate = environment.uri_to("host", "authMechanism=MONGODB-X509");
    vec![
        environment
            .cswatch(&unknown)
            .args(["-vv"])
            .run()
            .expect_code(8),
        environment
            .cswatch(&elsewhere)
            .args(["-vv"])
            .run()
            .expect_code(8),
        environment
            .cswatch(&by_certificate)
            .args(["-vv"])
            .run()
            .expect_code(2),
    ]
}

fn unreachable(environment: &Environment) -> Vec<Finished> {
    let closed = format!("127.0.0.1:{}", free_port());
    let uri = environment.uri_to(&closed, FAIL_FAST);
    let retrying = ["-vv", "--wait", "--retry-for", "1s"];
    let login = format!("{}:{}", environment.login.user, environment.login.encoded);
    let srv = format!("mongodb+srv://{login}@no-such-host.invalid/");
    vec![
        environment.cswatch(&uri).args(["-vv"]).run().expect_code(7),
        environment
            .cswatch(&uri)
            .args(retrying)
            .run()
            .expect_code(7),
        environment.cswatch(&srv).args(["-vv"]).run().expect_code(7),
    ]
}

fn damaged_resume_file(environment: &Environment) -> Vec<Finished> {
    let file = environment.scenario.path("resume.json");
    fs::write(&file, "{").expect("a file can be written");
    let cswatch = environment
        .cswatch(&environment.uri())
        .args(["-vv", "--resume-file"]);
    vec![cswatch.args([&file]).run().expect_code(5)]
}

fn check(environment: &Environment) -> Vec<Finished> {
    let run = |uri: &str, arguments: &[&str], code| {
        let cswatch = environment
            .cswatch(uri)
            .args(["check", "-vv"])
            .args(arguments);
        cswatch.run().expect_code(code)
    };
    let closed = format!("127.0.0.1:{}", free_port());
    let unknown = set_with_login().uri_as("unknown", environment.login.encoded);
    vec![
        run(&environment.uri(), &[], 0),
        run(&environment.uri(), &["--json"], 0),
        run(&environment.uri_to(&closed, FAIL_FAST), &[], 7),
        run(&unknown, &["--json"], 8),
        run("mongodb://user:zebra@host:port/", &[], 2),
    ]
}

fn monitoring(environment: &Environment) -> Vec<Finished> {
    let resume_file = environment.scenario.path("resume.json");
    let mut running = environment
        .cswatch(&environment.uri())
        .args(["-vv", "--metrics-addr", "127.0.0.1:0"])
        .args(["--resume-file", path_text(&resume_file)])
        .spawn();
    let endpoint = Endpoint::of(&mut running);
    running.wait_open();
    environment.print_one(&mut running);
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        check_no_password(path, &endpoint.get(path).1);
    }
    running.signal(Signal::USR1);
    running.expect_stderr("/s, ");
    let health = environment
        .cswatch(&environment.uri())
        .args(["health", "--resume-file", path_text(&resume_file)])
        .run();
    vec![health, environment.stop(running)]
}

fn without_server(environment: &Environment) -> Vec<Finished> {
    let run = |arguments: &[&str], code| {
        let cswatch = environment.cswatch(&environment.uri()).args(arguments);
        cswatch.run().expect_code(code)
    };
    vec![
        run(&["--explain", "-vv"], 0),
        run(&["--help"], 0),
        run(&["man"], 0),
        run(&["--count", "none"], 2),
        run(&["--start", "whenever"], 2),
        run(&["--uri-file", "a-file"], 2),
    ]
}

/// A password with special characters that are not encoded ends too early in the parsed connection string, and its rest is taken for
/// another part.
#[test]
fn refuses_malformed_connection_strings_without_repeating_a_password() {
    let directory = guard::temp_dir("malformed-");
    let file = directory.path().join("uri");
    for uri in [
        "user:zebra@host",
        "user:zebra@quagga://host/",
        "mongo://user:zebra@host/",
        "mongodb:/user:zebra@host/",
        "mongodb://user:zebra",
        "mongodb://user:zebra/quagga",
        "mongodb://user:zebra@quagga@host/",
        "mongodb://user:zebra/quagga@host/",
        "mongodb://user:zebra:quagga@host/",
        "mongodb://user:[zebra@host/",
        "mongodb://user:zebra#quagga@host/",
        "mongodb://user:zebra?quagga@host/",
        "mongodb://user:zebra?quagga=okapi@host/",
        "mongodb://user:27017?zebra@host/",
        "mongodb://user:27017?zebra=quagga@host/",
        "mongodb://user:zebra@1?quagga@host/",
        "mongodb://user:zebra@1?quagga=okapi@host/",
        "mongodb://user:zebra@1?quagga&okapi@host/",
        "mongodb://user:zebra%zz@host/",
        "mongodb://user:zebra%ff@host/",
        "mongodb://user:zebra@host:port/",
        "mongodb://user:zebra@host/?authMechanism=MONGODB-X509",
        "mongodb://user:zebra@host/?tlsCertificateKeyFilePassword=quagga",
        "mongodb://host/?tlsCertificateKeyFilePassword=quagga&okapi",
        "mongodb://host/?okapi&tlsCertificateKeyFilePassword=quagga",
        "mongodb://host/?tlsCertificateKeyFilePasswort=quagga",
        "mongodb://host/?proxyHost=a&proxyUsername=b&proxyPassword=quagga",
        "mongodb://host/?authMechanism=MONGODB-OIDC&authMechanismProperties=zebra,quagga",
        "mongodb://host/?authMechanism=MONGODB-OIDC&authMechanismProperties=A:zebra%2Cquagga%2Cokapi:",
        "mongodb+srv://user:zebra@host:27017/",
        "mongodb+srv://user:zebra@one,two/",
        "mongodb+srv://user:zebra@quagga@host/",
    ] {
        fs::write(&file, uri).expect("a file can be written");
        for (flag, value) in [("--uri", uri), ("--uri-file", path_text(&file))] {
            let run = Cswatch::new().args([flag, value, "-vv"]).run();
            let run = run.expect_code(2);
            check_no_password(uri, &run.stderr);
            assert!(
                run.stderr.contains(&format!("cswatch: error: {flag}: ")),
                "{}",
                run.stderr
            );
        }
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("an ASCII path")
}

#[test]
fn does_not_repeat_a_connection_string_in_the_wrong_argument() {
    const URI: &str = "mongodb://user:zebra@host/quagga";
    for arguments in [
        &[URI][..],
        &["--db", "d", URI],
        &["--uri-file", URI],
        &["--db", URI],
        &["--url", URI],
        &["--url=mongodb://user:zebra@host/quagga"],
        &["--pipeline", "@mongodb://user:zebra@host/quagga"],
    ] {
        let run = Cswatch::new().args(arguments).run().expect_code(2);
        check_no_password(&format!("{arguments:?}"), &run.stderr);
    }
}
