//! `docker-compose.yml` without Docker: its command lines, on the servers and in the directories of these tests.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::process::Stdio;

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::error::ErrorKind;
use rustix::process::Signal;
use yaml_rust2::{Yaml, YamlLoader};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::{brief, briefs, saved_time, time};
use testkit::guard::Process;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::mongod_binary::tested::Tested;
use testkit::port::free_port;
use testkit::programs;
use testkit::replica_set::{Options, ReplicaSet};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Returns the only document in `text`.
#[track_caller]
fn yaml(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).expect("YAML");
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

/// Returns a service of the compose file.
#[track_caller]
fn service(name: &str) -> Yaml {
    let compose = yaml(include_str!("../docker-compose.yml"));
    let service = compose["services"][name].clone();
    assert!(!service.is_badvalue(), "no service {name}");
    service
}

#[track_caller]
fn text(value: &Yaml) -> &str {
    value.as_str().expect("a string")
}

#[track_caller]
fn words(value: &Yaml) -> Vec<&str> {
    value.as_vec().expect("a list").iter().map(text).collect()
}

/// Returns the words of a health check, which must run a program without a shell.
#[track_caller]
fn health_check(service: &Yaml) -> Vec<&str> {
    match words(&service["healthcheck"]["test"]).as_slice() {
        ["CMD", words @ ..] => words.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Replaces `from` by `to`. Fails if `word` does not contain `from`.
#[track_caller]
fn replaced(word: &str, from: &str, to: &str) -> String {
    assert!(word.contains(from), "{from} in {word}");
    word.replace(from, to)
}

#[test]
fn prints_the_writes_of_the_application_and_is_healthy_while_it_runs() {
    // The compose file chooses the namespace; other tests use it on the shared set.
    let set = ReplicaSet::start(Options::default());
    let scenario = Scenario::on(&set, "compose");
    let [app, cswatch] = ["app", "cswatch"].map(service);
    let host = scenario.set().primary().address();
    let uri = |uri: &Yaml| {
        let uri = replaced(text(uri), "mongodb://mongo/", &format!("mongodb://{host}/"));
        assert_eq!(uri, scenario.set().uri());
        uri
    };

    let volumes = words(&cswatch["volumes"]);
    let (_, volume) = volumes[0].split_once(':').expect("a mount point");
    let state = scenario.path("volume");
    fs::create_dir(&state).expect("a directory");
    let in_state = |word: &str| replaced(word, volume, state.to_str().expect("a path of ASCII"));
    let metrics = format!("127.0.0.1:{}", free_port());
    let command = words(&cswatch["command"]).into_iter().map(|word| {
        if word.starts_with("--resume-file=") {
            in_state(word)
        } else if let Some(address) = word.strip_prefix("--metrics-addr=") {
            // It listens on all addresses of the container, but is published on one address of the host.
            let port = replaced(address, "0.0.0.0:", "");
            let published = format!("127.0.0.1:{port}:{port}");
            assert_eq!(words(&cswatch["ports"]), [published]);
            replaced(word, address, &metrics)
        } else {
            word.to_owned()
        }
    });
    let ["cswatch", check @ ..] = &health_check(&cswatch)[..] else {
        panic!("the health check does not run cswatch");
    };
    let healthy = || {
        let check = check.iter().map(|word| match word.contains('/') {
            true => in_state(word),
            false => (*word).to_owned(),
        });
        Cswatch::new().args(check).run()
    };

    let mut watch = Cswatch::new()
        .args(command)
        .env("CSWATCH_URI", uri(&cswatch["environment"]["CSWATCH_URI"]))
        .spawn();
    programs::build(&["--example", "app"]);
    let mut application = Process::spawn(&programs::example("app"), |process| {
        process
            .args(words(&app["command"]))
            .env("MONGODB_URI", uri(&app["environment"]["MONGODB_URI"]))
            .stderr(Stdio::null());
    })
    .expect("the application starts");
    let lines = watch.lines_until(|line| brief(line) == "delete 1");
    assert_eq!(
        briefs(&lines),
        ["insert 1", "update 1", "replace 1", "delete 1"]
    );
    let is_healthy = poll(DEADLINE, || (healthy().code == Some(0)).then_some(()));
    assert!(is_healthy.is_some(), "{}", healthy().stderr);
    TcpStream::connect(&metrics).expect("metrics are served");

    application.signal(Signal::TERM);
    let status = application.wait_for(DEADLINE).expect("it exits");
    assert_eq!(status.code(), Some(0));
    watch.signal(Signal::TERM);
    let finished = watch.wait().expect_code(0);
    let last = finished.stdout.last().expect("a line");
    assert!(saved_time(&state.join("resume.json")) >= time(last));
    healthy().expect_code(1);
}

/// Returns the configuration that this mongod binary derives from these arguments.
#[track_caller]
fn configuration(binary: &MongodBinary, arguments: &[&str]) -> Yaml {
    let (stdout, writer) = io::pipe().expect("a pipe");
    let mut mongod = Process::spawn(&binary.path, |command| {
        command
            .args(arguments)
            .arg("--outputConfig")
            .stdout(writer)
            // The loader warns about libcurl.
            .stderr(Stdio::null());
    })
    .expect("mongod starts");
    let printed = io::read_to_string(stdout).expect("text");
    let status = mongod.wait_for(DEADLINE).expect("it exits");
    assert!(status.success(), "{status}: {printed}");
    yaml(&printed)
}

#[test]
fn runs_a_server_that_was_tested() {
    let image = service("mongo")["image"].clone();
    let version = text(&image).strip_prefix("mongo:").expect("the image");
    let tested: Vec<&str> = Tested::versions().collect();
    assert!(tested.contains(&version), "{version} not in {tested:?}");
}

#[test]
fn initiates_the_replica_set_of_the_connection_strings() {
    let mongo = service("mongo");
    let binary = MongodBinary::found();
    let command = words(&mongo["command"]);
    let configuration = configuration(binary, &command);
    let set = text(&configuration["replication"]["replSet"]);
    assert_eq!(text(&configuration["net"]["bindIp"]), "*");

    // Does with the driver what the script of the health check does with mongosh, which is not installed here. The replica set's
    // configuration in the script is also valid YAML.
    let check = health_check(&mongo);
    let script = check.last().expect("a script");
    let (_, from_initiate) = script.split_once("rs.initiate(").expect("rs.initiate");
    let (initiate, _) = from_initiate
        .split_once(')')
        .expect("a closing parenthesis");
    let initiate = yaml(initiate);
    let member = &initiate["members"][0];
    assert_eq!(text(&initiate["_id"]), set);
    for (service, variable) in [("app", "MONGODB_URI"), ("cswatch", "CSWATCH_URI")] {
        let environment = &self::service(service)["environment"];
        let (host, _) = text(&member["host"])
            .split_once(":27017")
            .expect("the port of a URI");
        let expected = format!("mongodb://{host}/?replicaSet={set}");
        assert_eq!(text(&environment[variable]), expected);
    }

    let arguments: Vec<String> = command
        .into_iter()
        // The tests listen only on 127.0.0.1.
        .filter(|word| *word != "--bind_ip_all")
        .map(str::to_owned)
        .collect();
    let mongod = Mongod::start(binary, &arguments);
    let uri = format!("mongodb://{}/?directConnection=true", mongod.address());
    let client = block_on(Client::with_uri_str(uri)).expect("a client");
    let admin = client.database("admin");
    let status = || block_on(admin.run_command(doc! { "replSetGetStatus": 1 }));
    let error = status().expect_err("not initiated yet");
    match &*error.kind {
        ErrorKind::Command(error) => assert!(script.contains(&error.code_name), "{error}"),
        _ => panic!("{error}"),
    }
    let member = doc! {
        "_id": member["_id"].as_i64(),
        "host": mongod.address(),
    };
    let config = doc! { "_id": set, "members": [member] };
    block_on(admin.run_command(doc! { "replSetInitiate": config })).expect("a replica set");
    let is_primary = || {
        let hello = block_on(admin.run_command(doc! { "hello": 1 })).expect("hello");
        hello.get_bool("isWritablePrimary").ok().filter(|is| *is)
    };
    assert!(script.contains("isWritablePrimary"));
    assert!(poll(DEADLINE, is_primary).is_some(), "no primary");
    status().expect("the next check initiates nothing");
}
