//! Passwords are in nothing that `cswatch` says, writes or leaves behind: whatever it is asked for
//! and however it ends, all of that is searched, file by file. What adds a surface adds a line to
//! [`SURFACES`]; its files are found by themselves.

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

/// Options that make the driver give an attempt up within a second, where it takes 10 s otherwise.
const IMPATIENT: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// Somebody who may watch.
struct Login {
    user: &'static str,
    password: &'static str,
    /// The password as a connection string holds it.
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

/// Stand in both forms of each password, and in nothing else.
const PASSWORD_WORDS: [&str; 3] = ["zebra", "quagga", "okapi"];

/// A way to run `cswatch`: what is special about it, and what it ends with there.
type Surface = (&'static str, fn(&Place) -> Vec<Finished>);

const SURFACES: &[Surface] = &[
    ("watch, saying all there is to say", watch_saying_all),
    ("watch, logging in JSON", watch_logging_json),
    (
        "watch into a file, by a connection string from a file",
        watch_into_file,
    ),
    ("resumed, and beside another one", resumed_and_locked),
    ("lost connection", lost_connection),
    ("failed login", failed_login),
    ("unreachable", unreachable),
    ("damaged position", damaged_position),
    ("check, of what is well and what is not", check),
    ("metrics, health and status", monitoring),
    ("nothing that needs a server", without_server),
];

/// A server that wants a login, for all tests here.
fn guarded() -> &'static ReplicaSet {
    static GUARDED: OnceLock<ReplicaSet> = OnceLock::new();
    GUARDED.get_or_init(|| {
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

/// What one surface works on.
struct Place {
    login: &'static Login,
    scenario: Scenario<'static>,
    /// Not searched: the connection string is in it.
    secret: TempDir,
    inserted: Cell<i32>,
}

impl Place {
    fn uri(&self) -> String {
        guarded().uri_as(self.login.user, self.login.encoded)
    }

    /// The connection string with other hosts and options.
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

    /// Once it is open, one event comes.
    #[track_caller]
    fn print_one(&self, running: &mut Running) {
        let id = self.inserted.replace(self.inserted.get() + 1);
        insert(&self.scenario.coll("c"), [id]);
        running.lines_until(|line| brief(line) == format!("insert {id}"));
    }

    /// Its files.
    #[track_caller]
    fn search(&self) {
        for file in files(&self.scenario.path("")) {
            let name = file.display().to_string();
            let text = match fs::read(&file) {
                // A position that was just renamed over the one before it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                text => text.expect("a file can be read"),
            };
            ensure_secret(&name, &name);
            ensure_secret(&name, &String::from_utf8_lossy(&text));
            ensure_absent(&name, &String::from_utf8_lossy(&text), &[self.login.user]);
        }
    }

    /// Ends it; its files are searched before, when the lock is held, and behind.
    #[track_caller]
    fn stop(&self, running: Running) -> Finished {
        self.search();
        running.signal(Signal::TERM);
        running.wait().expect_code(0)
    }
}

#[track_caller]
fn ensure_secret(place: &str, text: &str) {
    ensure_absent(place, text, &PASSWORD_WORDS);
}

#[track_caller]
fn ensure_absent(place: &str, text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    for word in words {
        assert!(!lower.contains(word), "{place} holds {word:?}:\n{text}");
    }
}

/// All below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read");
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
fn passwords_are_nowhere() {
    for (surface, run) in SURFACES {
        for login in &LOGINS {
            let place = Place {
                login,
                scenario: Scenario::on(guarded(), "secrecy"),
                secret: guard::temp_dir("secret-"),
                inserted: Cell::new(0),
            };
            for finished in run(&place) {
                let said = finished.stdout.join("\n") + &finished.stderr;
                ensure_secret(surface, &said);
                ensure_absent(surface, &said, &[login.user]);
            }
            place.search();
        }
    }
}

fn watch_saying_all(place: &Place) -> Vec<Finished> {
    let mut running = place.cswatch(&place.uri()).args(["-vv"]).spawn();
    running.wait_open();
    place.print_one(&mut running);
    let searched = files(&place.scenario.state_home());
    let finished = place.stop(running);
    // The position, its lock and its sign of life: what is searched was there.
    let names = searched.iter().map(|file| file.display().to_string());
    let names: Vec<String> = names.collect();
    for end in [".json", ".json.lock", ".json.heartbeat"] {
        assert!(names.iter().any(|name| name.ends_with(end)), "{names:?}");
    }
    vec![finished]
}

fn watch_logging_json(place: &Place) -> Vec<Finished> {
    let mut running = place
        .cswatch(&place.uri())
        .args(["-vv", "--log-format", "json"])
        .spawn();
    running.wait_open();
    place.print_one(&mut running);
    vec![place.stop(running)]
}

fn watch_into_file(place: &Place) -> Vec<Finished> {
    let uri_file = place.secret.path().join("uri");
    fs::write(&uri_file, place.uri()).expect("a file can be written");
    let position = place.scenario.path("position.json");
    let output = place.scenario.path("events.jsonl");
    let mut running = Cswatch::new()
        .args(["--db", place.scenario.db().name(), "-vv"])
        .args(["--uri-file", path_text(&uri_file)])
        .args(["--resume-file", path_text(&position)])
        .args(["--output", path_text(&output)])
        .spawn();
    running.wait_open();
    insert(&place.scenario.coll("c"), [1]);
    let written = poll(DEADLINE, || {
        fs::read(&output)
            .is_ok_and(|text| text.ends_with(b"\n"))
            .then_some(())
    });
    assert!(written.is_some(), "no event in {}", output.display());
    vec![place.stop(running)]
}

fn resumed_and_locked(place: &Place) -> Vec<Finished> {
    let begun = place.cswatch(&place.uri()).args(["--until", "now"]).run();
    let mut running = place.cswatch(&place.uri()).args(["-vv"]).spawn();
    running.expect_stderr("resuming after");
    running.wait_open();
    place.print_one(&mut running);
    let locked_out = place.cswatch(&place.uri()).args(["-vv"]).run();
    vec![
        begun.expect_code(0),
        locked_out.expect_code(5),
        place.stop(running),
    ]
}

fn lost_connection(place: &Place) -> Vec<Finished> {
    let proxy = Proxy::start(guarded().primary());
    let direct = proxy.uri();
    let (_, address) = direct.split_once("://").expect("a connection string");
    let (hosts, options) = address.split_once("/?").expect("options");
    let uri = place.uri_to(hosts, &format!("{options}&{IMPATIENT}"));
    let mut running = place.cswatch(&uri).args(["-vv"]).spawn();
    running.wait_open();
    place.print_one(&mut running);
    proxy.set_mode(Mode::Refuse);
    running.expect_stderr("connection lost, trying again");
    proxy.set_mode(Mode::Pass);
    place.print_one(&mut running);
    vec![place.stop(running)]
}

fn failed_login(place: &Place) -> Vec<Finished> {
    let unknown = guarded().uri_as("nobody", place.login.encoded);
    let elsewhere = format!("{}&authSource=elsewhere", place.uri());
    let by_certificate = place.uri_to("host", "authMechanism=MONGODB-X509");
    vec![
        place.cswatch(&unknown).args(["-vv"]).run().expect_code(8),
        place.cswatch(&elsewhere).args(["-vv"]).run().expect_code(8),
        place
            .cswatch(&by_certificate)
            .args(["-vv"])
            .run()
            .expect_code(2),
    ]
}

fn unreachable(place: &Place) -> Vec<Finished> {
    let closed = format!("127.0.0.1:{}", free_port());
    let uri = place.uri_to(&closed, IMPATIENT);
    let in_vain = ["-vv", "--wait", "--retry-for", "1s"];
    let login = format!("{}:{}", place.login.user, place.login.encoded);
    let srv = format!("mongodb+srv://{login}@no-such-host.invalid/");
    vec![
        place.cswatch(&uri).args(["-vv"]).run().expect_code(7),
        place.cswatch(&uri).args(in_vain).run().expect_code(7),
        place.cswatch(&srv).args(["-vv"]).run().expect_code(7),
    ]
}

fn damaged_position(place: &Place) -> Vec<Finished> {
    let file = place.scenario.path("position.json");
    fs::write(&file, "{").expect("a file can be written");
    let cswatch = place.cswatch(&place.uri()).args(["-vv", "--resume-file"]);
    vec![cswatch.args([&file]).run().expect_code(5)]
}

fn check(place: &Place) -> Vec<Finished> {
    let run = |uri: &str, arguments: &[&str], code| {
        let cswatch = place.cswatch(uri).args(["check", "-vv"]).args(arguments);
        cswatch.run().expect_code(code)
    };
    let closed = format!("127.0.0.1:{}", free_port());
    let unknown = guarded().uri_as("nobody", place.login.encoded);
    vec![
        run(&place.uri(), &[], 0),
        run(&place.uri(), &["--json"], 0),
        run(&place.uri_to(&closed, IMPATIENT), &[], 7),
        run(&unknown, &["--json"], 8),
        run("mongodb://user:zebra@host:port/", &[], 2),
    ]
}

fn monitoring(place: &Place) -> Vec<Finished> {
    let position = place.scenario.path("position.json");
    let mut running = place
        .cswatch(&place.uri())
        .args(["-vv", "--metrics-addr", "127.0.0.1:0"])
        .args(["--resume-file", path_text(&position)])
        .spawn();
    let endpoint = Endpoint::of(&mut running);
    running.wait_open();
    place.print_one(&mut running);
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        ensure_secret(path, &endpoint.get(path).1);
    }
    running.signal(Signal::USR1);
    running.expect_stderr(" events, ");
    let health = place
        .cswatch(&place.uri())
        .args(["health", "--resume-file", path_text(&position)])
        .run();
    vec![health, place.stop(running)]
}

fn without_server(place: &Place) -> Vec<Finished> {
    let run = |arguments: &[&str], code| {
        let cswatch = place.cswatch(&place.uri()).args(arguments);
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

/// With special characters that are not encoded a password ends where it should not, and the rest
/// of it looks like something else.
#[test]
fn malformed_connection_strings_are_refused_without_what_may_be_a_password() {
    let folder = guard::temp_dir("malformed-");
    let file = folder.path().join("uri");
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
        "mongodb://user:zebra@host/?nonsense=1",
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
            ensure_secret(uri, &run.stderr);
            assert!(
                run.stderr.contains(&format!("cswatch: error: {flag}: ")),
                "{}",
                run.stderr
            );
        }
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

#[test]
fn connection_strings_in_the_wrong_place_are_not_repeated() {
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
        ensure_secret(&format!("{arguments:?}"), &run.stderr);
    }
}
