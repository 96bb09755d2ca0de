//! Every command in a fenced block of README.md and `docs/` runs. Commands of cswatch run on a real server, and their output is compared
//! with what the page shows. The others run where their programs are on every machine, and else are compared with the files they use.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::events::{saved_token, token};
use testkit::guard;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::mongod_binary::tested::Tested;
use testkit::nats::NatsServer;
use testkit::oplog::Oplog;
use testkit::programs;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;

use super::markdown::{page, root, user_pages};
use super::output::{assert_reported, assert_shown};
use super::sandbox::Sandbox;

/// The pages with commands, each of which a test below runs.
const PAGES: [&str; 8] = [
    "README.md",
    "docs/connection.md",
    "docs/filters.md",
    "docs/jetstream.md",
    "docs/monitoring.md",
    "docs/service.md",
    "docs/snapshot.md",
    "docs/tutorial.md",
];

/// Makes the writes that the text around a command describes: while it runs, or before if it runs until now.
#[track_caller]
fn write(client: &Client, command: &str) {
    let insert = |coll: &Collection<Document>, document: Document| {
        block_on(coll.insert_one(document)).expect("an insert");
    };
    let set = |coll: &Collection<Document>, id: i32, fields: Document| {
        block_on(coll.update_one(doc! { "_id": id }, doc! { "$set": fields })).expect("an update");
    };
    let tutorial = client.database("changestream").collection("collection");
    let orders = client.database("shop").collection("orders");
    let options = command.split(" | ").next().unwrap_or_default();
    match options.strip_prefix("cswatch").unwrap_or(options).trim() {
        ""
        | "--db shop --coll orders --format relaxed"
        | "-d shop --nats nats://localhost:4222" => {
            insert(&orders, doc! { "item": "tea" });
        }
        "--db changestream --coll collection --op insert" => {
            insert(&tutorial, doc! { "_id": 1, "hello": "world" });
        }
        "--db changestream --coll collection --format relaxed" => {
            set(&tutorial, 1, doc! { "hello": "mars" });
            block_on(tutorial.replace_one(doc! { "_id": 1 }, doc! { "bye": "world" }))
                .expect("a replacement");
            block_on(tutorial.delete_one(doc! { "_id": 1 })).expect("a delete");
            block_on(tutorial.drop()).expect("a drop");
        }
        "-d changestream -c collection --id 3 --full-document updateLookup --format relaxed" => {
            insert(&tutorial, doc! { "_id": 3, "hello": "world" });
            insert(&tutorial, doc! { "_id": 33 });
            set(&tutorial, 3, doc! { "n": 1 });
        }
        "-d changestream -c collection --match '{\"updateDescription.updatedFields.n\": {$exists: true}}' --format relaxed" =>
        {
            set(&tutorial, 3, doc! { "hello": "mars" });
            set(&tutorial, 3, doc! { "n": 2 });
        }
        "-d changestream -c collection --op insert,update --match '{\"fullDocument.hello\": \"world\"}' --pipeline '[{$project: {fullDocument: 1}}]'" =>
        {
            insert(&tutorial, doc! { "_id": 4, "hello": "world" });
        }
        "-d changestream -c collection --resume-file orders.json --format relaxed" => {
            insert(&tutorial, doc! { "_id": 5 });
        }
        "-d changestream -c collection --resume-file orders.json --format relaxed --until now" => {
            insert(&tutorial, doc! { "_id": 6 });
        }
        "-d shop --ns-include 'shop.*' --ns-exclude 'shop.tmp_*' --format relaxed" => {
            insert(
                &client.database("shop").collection("tmp_1"),
                doc! { "_id": 1 },
            );
            insert(&orders, doc! { "_id": 1, "item": "tea", "total": 12 });
        }
        "-d shop -c orders --op delete --format relaxed" => {
            insert(&orders, doc! { "_id": 2, "item": "tea", "total": 5 });
            block_on(orders.delete_one(doc! { "_id": 2 })).expect("a delete");
        }
        "-d shop -c orders --resume-file orders.json --until now" => {}
        "-d shop -c orders --resume-file next.json --until now > batch.jsonl" => {
            insert(&orders, doc! { "item": "tea" });
        }
        // The documents exist before.
        "-d shop -c orders --snapshot --until now --format relaxed" => {}
        _ => panic!("no writes are known for {command}"),
    }
}

/// Runs the commands of a page, and returns their number.
#[track_caller]
fn run_page(sandbox: &mut Sandbox, path: &str) -> usize {
    assert!(PAGES.contains(&path), "{path}");
    let page = page(path);
    let blocks = page.blocks();
    let mut commands = Commands {
        sandbox,
        servers: Vec::new(),
        containers: Vec::new(),
        count: 0,
    };
    for (index, block) in blocks.iter().enumerate() {
        match block.language {
            "sh" => {
                let next = blocks.get(index + 1).filter(|next| next.language == "json");
                let (last, others) = block.lines.split_last().expect("a command");
                for command in others {
                    commands.run(command, None);
                }
                commands.run(last, next.map(|next| &next.lines[..]));
            }
            "console" => {
                let starts: Vec<usize> = (0..block.lines.len())
                    .filter(|line| block.lines[*line].starts_with("$ "))
                    .collect();
                assert_eq!(starts.first(), Some(&0), "{:?}", block.lines);
                for (index, start) in starts.iter().enumerate() {
                    let end = starts.get(index + 1).copied().unwrap_or(block.lines.len());
                    commands.run(
                        &block.lines[*start][2..],
                        Some(&block.lines[start + 1..end]),
                    );
                }
            }
            "json" => assert!(
                index > 0 && blocks[index - 1].language == "sh",
                "output of no command"
            ),
            // Its metrics are compared with the program's elsewhere.
            "promql" => {}
            other => panic!("{path}: a block of {other:?}"),
        }
    }
    commands.count
}

/// The servers that the commands of a page start.
enum Server {
    Container(#[expect(dead_code, reason = "killed on drop")] Mongod),
    Background(#[expect(dead_code, reason = "killed on drop")] guard::Adopted),
    Nats(NatsServer),
}

struct Commands<'a> {
    sandbox: &'a mut Sandbox,
    servers: Vec<Server>,
    /// The names of the containers that were started.
    containers: Vec<String>,
    count: usize,
}

impl Commands<'_> {
    /// Runs a command, and compares its output with what the page shows.
    #[track_caller]
    fn run(&mut self, command: &str, shown: Option<&[&str]>) {
        self.count += 1;
        match command.split(' ').next().unwrap_or_default() {
            "cswatch" => self.cswatch(command, shown),
            "cargo" => self.cargo(command, shown),
            "docker" => self.docker(command),
            "cp" | "mkdir" | "mv" => {
                self.sandbox.succeed(command);
            }
            "kcat" => self.kcat(command),
            "mongod" => self.mongod(command),
            "mongosh" => self.sandbox.mongosh(&self.sandbox.words(command)),
            "sudo" | "echo" => self.install(command),
            other => panic!("no rule for the program {other} in {command}"),
        }
    }

    #[track_caller]
    fn cswatch(&self, command: &str, shown: Option<&[&str]>) {
        let is_message = |line: &&str| line.starts_with("cswatch:");
        let (messages, lines): (Vec<&str>, Vec<&str>) = shown
            .unwrap_or_default()
            .iter()
            .filter(|line| **line != "Killed")
            .partition(|line| is_message(line));
        let is_killed = shown.is_some_and(|shown| shown.contains(&"Killed"));
        let is_failure =
            |line: &&str| line.starts_with("cswatch: error: ") || line.starts_with('✗');
        let fails = shown.unwrap_or_default().iter().any(is_failure);
        let second = command.split(' ').nth(1).unwrap_or("-");
        let is_watch = second.starts_with(['-', '|']) && !command.contains("--explain");
        let ended = if !is_watch {
            self.sandbox.run(command)
        } else if command.contains("--until now") {
            write(&self.sandbox.client(), command);
            self.sandbox.run(command)
        } else {
            let running = self.sandbox.start(command);
            running.wait_reported("watching");
            write(&self.sandbox.client(), command);
            match self.nats() {
                Some(server) => server.client().wait_count("cswatch", 1),
                None => running.wait_printed(lines.len().max(1)),
            }
            if is_killed {
                // The next command resumes after the last line.
                let words = self.sandbox.words(command);
                let option = words
                    .iter()
                    .position(|word| word == "--resume-file")
                    .expect("a resume file");
                let file = self.sandbox.path("work").join(&words[option + 1]);
                let last = token(running.printed().last().expect("a line"));
                let saved = poll(DEADLINE, || (saved_token(&file) == last).then_some(()));
                assert!(saved.is_some(), "no checkpoint");
                running.stop(Signal::KILL)
            } else if fails {
                running.wait()
            } else {
                running.stop(Signal::INT)
            }
        };
        assert_eq!(
            ended.statuses[0].success(),
            !is_killed && !fails,
            "{command}: {}",
            ended.stderr
        );
        assert!(
            ended.statuses[1..].iter().all(|status| status.success()),
            "{command}: {}",
            ended.stderr
        );
        if shown.is_some() {
            assert_shown(command, &on_this_server(&lines), &ended.stdout);
            assert_reported(command, &messages, &ended.stderr);
        }
    }

    #[track_caller]
    fn cargo(&self, command: &str, shown: Option<&[&str]>) {
        if command == "cargo install --path . --locked" {
            // Building takes minutes; the build itself is that of the tests.
            assert!(root().join("Cargo.lock").exists());
            return;
        }
        let (first, others) = command
            .split_once("cargo run --example demo")
            .expect("the demo");
        assert_eq!(first, "");
        programs::build(&["--example", "demo"]);
        let demo = programs::example("demo");
        let ended = self
            .sandbox
            .succeed(&format!("'{}'{others}", demo.display()));
        assert_eq!(ended.stdout, shown.expect("the output of the demo"));
    }

    /// Docker is not on every machine: a server runs as a process, and the files that Docker would read are examined.
    #[track_caller]
    fn docker(&mut self, command: &str) {
        let words = self.sandbox.words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match &words[1..] {
            ["build", "-t", "cswatch", "."] => {
                let file = fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
                let last = file.lines().rfind(|line| line.starts_with("FROM "));
                assert_eq!(last, Some("FROM base AS cswatch"));
            }
            ["compose", "up"] => assert!(root().join("docker-compose.yml").exists()),
            [
                "run",
                "--detach",
                "--name",
                _,
                "--publish",
                "127.0.0.1:4222:4222",
                image,
                "--jetstream",
            ] => {
                assert_eq!(*image, format!("nats:{}", testkit::nats::VERSION));
                let server = NatsServer::start();
                self.sandbox.nats_url = server.url();
                self.servers.push(Server::Nats(server));
            }
            [
                "run",
                "--detach",
                "--name",
                name,
                "--publish",
                "127.0.0.1:27017:27017",
                image,
                arguments @ ..,
            ] => {
                let version = image.strip_prefix("mongo:").expect("the image");
                assert!(
                    Tested::versions().any(|tested| tested == version),
                    "{version}"
                );
                let mut arguments = arguments.to_vec();
                // The tests listen only on 127.0.0.1.
                arguments.retain(|argument| *argument != "--bind_ip_all");
                assert_eq!(arguments, ["--replSet", "rs0"]);
                let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
                let mongod = Mongod::start(MongodBinary::found(), &arguments);
                self.sandbox.mongod_port = mongod.port();
                self.sandbox.uri = format!("mongodb://localhost:{}", mongod.port());
                self.servers.push(Server::Container(mongod));
                self.containers.push((*name).to_owned());
            }
            ["exec", container, mongosh @ ..] => {
                assert!(
                    self.containers.iter().any(|name| name == container),
                    "{container}"
                );
                let words: Vec<String> = mongosh.iter().map(|word| (*word).to_owned()).collect();
                self.sandbox.mongosh(&words);
            }
            _ => panic!("no rule for {command}"),
        }
    }

    #[track_caller]
    fn mongod(&mut self, command: &str) {
        let port = testkit::port::free_port();
        self.sandbox.use_mongod_port(port);
        self.sandbox.succeed(command);
        let pid =
            fs::read_to_string(self.sandbox.path("work/data/mongod.lock")).expect("a lock file");
        let pid = pid.trim().parse().expect("a process id");
        self.servers
            .push(Server::Background(guard::Adopted::new(pid)));
        self.sandbox.uri = format!("mongodb://localhost:{port}");
    }

    /// Returns the NATS server that a command has started.
    fn nats(&self) -> Option<&NatsServer> {
        self.servers.iter().find_map(|server| match server {
            Server::Nats(server) => Some(server),
            _ => None,
        })
    }

    /// kcat and Kafka are not on every machine: the file that it would send is examined.
    #[track_caller]
    fn kcat(&self, command: &str) {
        let words = self.sandbox.words(command);
        let file = words.last().expect("a file");
        let batch = fs::read_to_string(self.sandbox.path("work").join(file)).expect("a batch");
        assert_eq!(batch.lines().count(), 1, "{batch}");
    }

    /// Runs the installation of the service in the directory of the test, without root.
    #[track_caller]
    fn install(&self, command: &str) {
        let etc = self.sandbox.path("etc");
        for command in command.split(" && ") {
            let command = command.replace("sudo ", "");
            if let Some(action) = command.strip_prefix("systemctl ") {
                match action {
                    "daemon-reload" => {}
                    "enable --now cswatch" => self.assert_installed(),
                    _ => panic!("no rule for {command}"),
                }
            } else {
                let here = command.replace("/etc/", &format!("{}/", etc.display()));
                assert_ne!(here, command, "writes outside /etc");
                self.sandbox.succeed(&here);
            }
        }
    }

    /// Fails unless the installed unit finds the installed files, and cswatch accepts them.
    #[track_caller]
    fn assert_installed(&self) {
        let etc = self.sandbox.path("etc");
        let unit =
            fs::read_to_string(etc.join("systemd/system/cswatch.service")).expect("the unit");
        assert!(unit.contains("\nLoadCredential=uri:/etc/cswatch/uri\n"));
        assert!(unit.contains("\nEnvironmentFile=-/etc/cswatch/env\n"));
        for file in ["cswatch/uri", "cswatch/env"] {
            let mode = fs::metadata(etc.join(file))
                .expect("the file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let variables = fs::read_to_string(etc.join("cswatch/env")).expect("the variables");
        let command = format!(
            "env -u CSWATCH_URI {} cswatch --uri-file {} --explain",
            variables.trim(),
            etc.join("cswatch/uri").display()
        );
        let explained = self.sandbox.succeed(&command).stdout.join("\n");
        assert!(
            explained.starts_with("db.getSiblingDB(\"shop\")"),
            "{explained}"
        );
    }
}

/// Runs the commands of a page on a replica set with this size of oplog. `prepare` fills it.
#[track_caller]
fn run_on_a_set(path: &str, oplog: Oplog, prepare: impl FnOnce(&ReplicaSet)) -> usize {
    let set = ReplicaSet::start(Options {
        oplog,
        ..Options::default()
    });
    prepare(&set);
    run_page(&mut Sandbox::new(set.uri()), path)
}

#[test]
fn runs_the_commands_of_every_page() {
    let pages = user_pages();
    let with_commands: Vec<&str> = pages
        .iter()
        .filter(|page| page.blocks().iter().any(|block| block.language != "promql"))
        .map(|page| page.path.as_str())
        .collect();
    assert_eq!(with_commands, PAGES);
}

#[test]
fn runs_the_readme() {
    assert_eq!(run_on_a_set("README.md", Oplog::Ample, |_| {}), 4);
}

/// Runs the options in the README's table one after another, each to the current time: later ones use the files of earlier ones.
#[test]
fn runs_the_options_in_the_readme() {
    let set = ReplicaSet::start(Options::default());
    let nats = NatsServer::start();
    let mut sandbox = Sandbox::new(set.uri());
    sandbox.nats_url = nats.url();
    let orders = set
        .client()
        .database("shop")
        .collection::<Document>("orders");
    let rows = page("README.md").table("| to | options |");
    assert!(rows.len() > 15);
    for row in &rows {
        for options in row[1].split('`').skip(1).step_by(2) {
            let options = match options {
                // Part of a sentence.
                "required" => "--full-document required",
                "cswatch check ..." => "check -d shop -c orders",
                "cswatch token TOKEN" => "token \"$(tail -n 1 changes.jsonl | jq -c ._id)\"",
                options => options,
            };
            let until = match options {
                _ if options.starts_with(['c', 't']) || options.contains("--until") => "",
                // The file contains one event, for the option that starts after it.
                _ if options.contains("--output") => " --count 1",
                _ => " --until now --max-await 50ms",
            };
            let state = sandbox.path("home/.local/state");
            let _ = fs::remove_dir_all(state);
            let running = sandbox.start(&format!("cswatch {options}{until}"));
            if options.contains("--output") {
                running.wait_reported("watching");
                block_on(orders.insert_one(doc! { "_id": 1 })).expect("an insert");
            }
            let ended = running.wait();
            assert!(ended.statuses[0].success(), "{options}: {}", ended.stderr);
        }
    }
}

#[test]
fn runs_the_page_about_connections() {
    // Its commands start the servers.
    let commands = run_page(&mut Sandbox::new(String::new()), "docs/connection.md");
    assert_eq!(commands, 7);
}

#[test]
fn runs_the_page_about_filters() {
    let commands = run_on_a_set("docs/filters.md", Oplog::Ample, |set| {
        let orders = set
            .client()
            .database("shop")
            .collection::<Document>("orders");
        block_on(orders.insert_one(doc! { "_id": 0 })).expect("an insert");
    });
    assert_eq!(commands, 6);
}

#[test]
fn runs_the_page_about_jetstream() {
    let commands = run_on_a_set("docs/jetstream.md", Oplog::Ample, |_| {});
    assert_eq!(commands, 8);
}

#[test]
fn runs_the_page_about_monitoring() {
    let commands = run_on_a_set("docs/monitoring.md", Oplog::Tiny, |set| {
        let orders = set
            .client()
            .database("shop")
            .collection::<Document>("orders");
        block_on(orders.insert_one(doc! { "_id": 1 })).expect("an insert");
        set.roll_oplog(set.operation_time());
    });
    assert_eq!(commands, 1);
}

#[test]
fn runs_the_page_about_services() {
    // No server is needed: the service is installed, not started.
    let mut sandbox = Sandbox::new("mongodb://127.0.0.1:1".to_owned());
    assert_eq!(run_page(&mut sandbox, "docs/service.md"), 6);
}

#[test]
fn runs_the_page_about_snapshots() {
    let commands = run_on_a_set("docs/snapshot.md", Oplog::Ample, |set| {
        let orders = set.client().database("shop").collection("orders");
        let documents = [
            doc! { "_id": 1, "item": "tea", "total": 12 },
            doc! { "_id": 2, "item": "milk", "total": 5 },
        ];
        block_on(orders.insert_many(documents)).expect("an insert");
    });
    assert_eq!(commands, 2);
}

#[test]
fn runs_the_tutorial() {
    assert_eq!(run_on_a_set("docs/tutorial.md", Oplog::Ample, |_| {}), 9);
}

/// Lines of `cswatch check` about a server that does not split large events.
const NO_SPLIT: [&str; 2] = [
    "✗ large events     the server does not support $changeStreamSplitLargeEvent: an event above 16 MB ends the watch with code 8",
    "                   → upgrade to MongoDB 6.0.9 or later",
];

/// Returns lines of a page as this server makes them. The pages show a token of MongoDB 6.0, which is of version 1 and holds no operation
/// type, and a server that splits large events.
fn on_this_server<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut lines = lines.to_vec();
    let is_token = lines.iter().any(|line| line.starts_with("document key "));
    if is_token && MongodBinary::found().version.token_version() == 2 {
        for line in &mut lines {
            if *line == "version         1" {
                *line = "version         2";
            }
        }
        lines.push("operation type  insert");
    }
    let split = lines
        .iter()
        .position(|line| line.starts_with("✓ large events"));
    if let Some(at) = split
        && !MongodBinary::found().version.has_split()
    {
        lines.splice(at..=at, NO_SPLIT);
    }
    lines
}
