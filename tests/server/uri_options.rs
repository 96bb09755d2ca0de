//! Options of the connection string: those that are not used are named and ignored, and those with which no stream works are refused.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::rawdoc;

use testkit::cswatch::Cswatch;
use testkit::fake_server::FakeServer;
use testkit::finished::Finished;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::ReplicaSet;
use testkit::scenario::Scenario;

/// Runs `cswatch` up to now with these options of the connection string.
#[track_caller]
fn run(options: &str) -> Finished {
    let uri = format!("{}&{options}", ReplicaSet::shared().uri());
    let scenario = Scenario::new("uri_options");
    Cswatch::new()
        .args(["--uri", &uri, "--db", scenario.db().name()])
        .args(["--no-resume", "--until", "now"])
        .run()
}

#[test]
fn watches_with_every_option_that_it_does_not_use_and_names_it() {
    for (options, warning) in [
        (
            "socketTimeoutMS=1000",
            "option socketTimeoutMS is not used by cswatch and ignored",
        ),
        ("TIMEOUTMS=1000", "option timeoutMS is not used"),
        (
            "uuidRepresentation=standard",
            "option uuidRepresentation is not used",
        ),
        (
            "uuidRepresentation=csharpLegacy",
            "option uuidRepresentation is not used",
        ),
        (
            "waitQueueMultiple=2",
            "option waitQueueMultiple is not used",
        ),
        (
            "waitQueueTimeoutMS=1",
            "option waitQueueTimeoutMS is not used",
        ),
        (
            "j=true&fsync=true&slaveOk=true",
            "options j, fsync, slaveOk are not used",
        ),
        (
            "tlsAllowInvalidHostnames=true",
            "tlsAllowInvalidHostnames=true is not supported and ignored: host names are checked",
        ),
        (
            "tlsDisableOCSPEndpointCheck=true",
            "option tlsDisableOCSPEndpointCheck is not used",
        ),
        ("retryWriets=true", "unknown option ignored: retryWriets"),
    ] {
        let run = run(options).expect_code(0);
        let warnings: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| line.contains("cswatch: warning: "))
            .collect();
        assert_eq!(warnings.len(), 1, "{}", run.stderr);
        assert!(
            warnings[0].contains(&format!("--uri: {warning}")) || warnings[0].contains(warning),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn watches_without_a_warning_with_options_that_do_not_disturb_it() {
    for options in [
        "w=majority&journal=true&wTimeoutMS=5&retryWrites=false&retryReads=false",
        "readConcernLevel=majority",
        "maxPoolSize=0",
        "maxPoolSize=1&minPoolSize=1",
        "serverMonitoringMode=poll&localThresholdMS=1&APPNAME=x",
        "ssl=false&tls=false&tlsAllowInvalidHostnames=false",
        "readPreference=secondaryPreferred&maxStalenessSeconds=100",
        "",
    ] {
        let run = run(options).expect_code(0);
        assert!(!run.stderr.contains("warning"), "{options}: {}", run.stderr);
    }
}

#[test]
fn refuses_options_with_which_no_stream_works_before_connecting() {
    for (options, message, hint) in [
        (
            "readConcernLevel=local",
            "readConcernLevel: ",
            "readConcernLevel=majority",
        ),
        (
            "readConcernLevel=linearizable",
            "readConcernLevel: ",
            "readConcernLevel=majority",
        ),
        ("w=0", "w=0: ", "remove w=0"),
        (
            "maxStalenessSeconds=100",
            "maxStalenessSeconds: ",
            "readPreference=secondaryPreferred",
        ),
        (
            "readPreference=primary&maxStalenessSeconds=100",
            "maxStalenessSeconds: ",
            "readPreference=secondaryPreferred",
        ),
        (
            "readPreferenceTags=dc:ny",
            "readPreferenceTags: ",
            "readPreference=secondaryPreferred",
        ),
        (
            "readPreference=second",
            "readPreference: 'second'",
            "set readPreference to primary",
        ),
        (
            "appName=a&APPNAME=b",
            "appName is given twice",
            "keep one appName",
        ),
        ("tls=false&ssl=true", "tls and ssl contradict", "remove ssl"),
        (
            "tls=1",
            "connection string `tls` option must be a boolean",
            "true or false",
        ),
        ("tsl=true", "tsl is an invalid option", "did you mean tls?"),
        (
            "tlsCRLFile=x",
            "tlsCRLFile is not supported",
            "remove tlsCRLFile",
        ),
        (
            "sslCAFile=x",
            "sslCAFile is not supported by this name",
            "use tlsCAFile",
        ),
        (
            "tlsDisableCertificateRevocationCheck=false",
            "tlsDisableCertificateRevocationCheck=false: ",
            "remove",
        ),
        ("srvMaxHosts=1", "srvMaxHosts cannot", "mongodb+srv"),
    ] {
        let server = testkit::forbidden_server::ForbiddenServer::listen();
        let uri = format!("{}&{options}", server.uri());
        let run = Cswatch::new()
            .args(["--uri", &uri, "--no-resume"])
            .run()
            .expect_code(2);
        server.assert_no_connection();
        let (found, found_hint) = run.error();
        assert!(
            found.starts_with(&format!("--uri: {message}")),
            "{options}: {}",
            run.stderr
        );
        assert!(found_hint.contains(hint), "{options}: {}", run.stderr);
    }
}

#[test]
fn names_options_that_the_driver_refuses_when_it_connects() {
    for (options, message, hint) in [
        (
            "heartbeatFrequencyMS=100",
            "--uri: heartbeatFrequencyMS: ",
            "500 or more",
        ),
        (
            "maxConnecting=0",
            "--uri: cannot specify maxConnecting=0",
            "1 or more",
        ),
        (
            "readPreference=nearest&maxStalenessSeconds=10",
            "--uri: maxStalenessSeconds: ",
            "90 or more",
        ),
    ] {
        let run = run(options).expect_code(2);
        let (found, found_hint) = run.error();
        assert!(found.starts_with(message), "{}", run.stderr);
        assert!(found_hint.contains(hint), "{}", run.stderr);
    }
}

#[test]
fn names_a_read_preference_that_no_member_fits() {
    for (options, message, hint) in [
        (
            "readPreference=secondary",
            "has no secondary that replies, as readPreference=secondary needs",
            "use readPreference=secondaryPreferred in --uri",
        ),
        (
            "readPreference=nearest&readPreferenceTags=dc:nowhere",
            "has the tags of readPreferenceTags for readPreference=nearest",
            "correct readPreferenceTags",
        ),
    ] {
        let run = run(options).expect_code(7);
        let (found, found_hint) = run.error();
        assert!(found.contains(message), "{}", run.stderr);
        assert!(found_hint.starts_with(hint), "{}", run.stderr);
    }
}

#[test]
fn takes_the_database_of_the_connection_string_as_the_default_of_db() {
    let set = ReplicaSet::shared();
    let uri = |db: &str| set.uri().replace("/?", &format!("/{db}?"));
    for (db, arguments, scope) in [
        ("shop", &[][..], "database shop"),
        ("shop", &["--db", "other"], "database other"),
        ("shop", &["--coll", "orders"], "shop.orders"),
        ("admin", &[], "the whole deployment"),
        ("", &[], "the whole deployment"),
    ] {
        let run = Cswatch::new()
            .args(["--uri", &uri(db), "--no-resume", "--until", "now"])
            .args(arguments)
            .run()
            .expect_code(0);
        let message = format!("cswatch: watching {scope}");
        let is_announced = run.stderr.lines().any(|line| line.ends_with(&message));
        assert!(is_announced, "{}", run.stderr);
    }
    let explained = Cswatch::new()
        .args(["--uri", &uri("shop"), "--explain"])
        .run()
        .expect_code(0);
    assert!(
        explained.stdout[0].starts_with("db.getSiblingDB(\"shop\")"),
        "{:?}",
        explained.stdout
    );
    let checked = Cswatch::new()
        .args(["check", "--no-resume", "--uri", &uri("shop")])
        .run()
        .expect_code(0);
    assert!(
        checked
            .stdout
            .join("\n")
            .contains("database shop can be watched")
    );
}

#[test]
fn resumes_from_the_same_default_file_with_the_database_in_the_connection_string() {
    let set = ReplicaSet::shared();
    let scenario = Scenario::new("uri_db");
    let db = scenario.db().name();
    let run = |uri: &str, arguments: &[&str]| {
        Cswatch::new()
            .args(["--uri", uri, "--until", "now"])
            .args(arguments)
            .state_home(&scenario.state_home())
            .run()
            .expect_code(0)
    };
    run(&set.uri(), &["--db", db]);
    testkit::events::insert(&scenario.coll("c"), [1]);
    let resumed = run(&set.uri().replace("/?", &format!("/{db}?")), &[]);
    assert!(
        resumed.stderr.contains("resuming after "),
        "{}",
        resumed.stderr
    );
    assert_eq!(resumed.stdout.len(), 1);
}

#[test]
fn names_the_fix_for_a_set_that_is_not_initiated() {
    let mongod = Mongod::start(MongodBinary::found(), &["--replSet=rs0".to_owned()]);
    let host = mongod.address();
    for options in ["", "directConnection=true", "replicaSet=rs0"] {
        let run = Cswatch::new()
            .args([
                "--uri",
                &format!("mongodb://{host}/?{options}"),
                "--no-resume",
            ])
            .run();
        run.expect_failure(
            7,
            &format!("cannot reach MongoDB at {host}: {host} is started for a replica set, but the set is not initiated"),
            &format!("run rs.initiate() on it once: mongosh {host} --eval 'rs.initiate()'"),
        );
    }
}

/// Starts a primary that names itself as a member with another name.
fn primary_named(name: &'static str) -> FakeServer {
    FakeServer::start(move |request| {
        match &*request.name {
        "hello" | "isMaster" | "ismaster" => request.reply(&rawdoc! {
            "ok": 1, "isWritablePrimary": true, "ismaster": true, "setName": "rs0", "setVersion": 1,
            "hosts": [name], "me": name, "primary": name, "minWireVersion": 0, "maxWireVersion": 17,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30, "electionId": ObjectId::new(),
        }),
        _ => request.usual(),
    }
    })
}

#[test]
fn names_a_member_whose_name_cannot_be_resolved() {
    let server = primary_named("mongo.invalid:27017");
    let host = server.host();
    let run = Cswatch::new()
        .args(["--uri", &format!("mongodb://{host}/"), "--no-resume"])
        .run();
    run.expect_failure(
        7,
        "cannot reach mongo.invalid:27017 (member of replica set rs0): the host name cannot be resolved (",
        &format!("make the name in the configuration of the set reachable from here, or add directConnection=true to --uri to use {host} alone"),
    );
}
