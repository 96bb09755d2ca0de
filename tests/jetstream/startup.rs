//! What is checked before anything is published: each failure has its message, hint and exit code, in a watch and in `cswatch check`.

use async_nats::jetstream::stream::Config;

use testkit::certificates::Authority;
use testkit::cswatch::Cswatch;
use testkit::events::insert;
use testkit::nats::{NatsClient, NatsCluster, NatsConfig, NatsServer};
use testkit::replica_set::{Options, ReplicaSet};
use testkit::scenario::Scenario;

use super::delivery::{Delivery, STREAM};

/// Fails unless a watch ends with this code and this error, which contains these parts, without publishing, and `check` fails alike.
#[track_caller]
fn expect_refused(delivery: &Delivery<'_>, url: &str, options: &[&str], code: i32, parts: &[&str]) {
    let watch = delivery.watch(url).args(options).args(["--until", "now"]);
    let watch = watch.run().expect_code(code);
    assert!(!watch.stderr.contains("watching"), "{}", watch.stderr);
    let (message, hint) = watch.error();
    for part in parts {
        assert!(
            message.contains(part) || hint.contains(part),
            "no {part:?} in\n{}",
            watch.stderr
        );
    }
    assert!(!hint.is_empty(), "no hint: {message}");
    let check = delivery.check(url).args(options).run().expect_code(code);
    let report = check.stdout.join("\n");
    for part in parts {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
}

#[test]
fn refuses_a_server_that_cannot_be_reached() {
    let delivery = Delivery::new("jetstream_no_server");
    let address = format!("127.0.0.1:{}", testkit::port::free_port());
    let reason = format!("cannot reach {address}");
    expect_refused(
        &delivery,
        &format!("nats://{address}"),
        &[],
        7,
        &[&reason, "start the server or fix --nats"],
    );
}

#[test]
fn refuses_a_wrong_password_without_repeating_it() {
    let server = NatsServer::start_with(&NatsConfig::with(
        "authorization { user: ada, password: right }\n",
    ));
    let delivery = Delivery::new("jetstream_password");
    insert(&delivery.coll(), 0..3);
    let address = format!("127.0.0.1:{}", server.port());
    for login in ["", "ada:wr0ng@", "wr0ng@"] {
        let url = format!("nats://{login}{address}");
        expect_refused(&delivery, &url, &[], 8, &["refuses the login"]);
        let run = delivery.watch(&url).run();
        assert!(!run.stderr.contains("wr0ng"), "{}", run.stderr);
    }
    let right = format!("nats://ada:right@{address}");
    let run = delivery.watch(&right).args(["--until", "now"]).run();
    assert!(!run.stderr.contains("right"), "{}", run.stderr);
    run.expect_code(0);
}

#[test]
fn refuses_a_certificate_of_an_unknown_authority_and_a_server_without_tls() {
    let authority = Authority::new("nats authority");
    let certificate = authority.server(&["localhost", "127.0.0.1"]);
    let server = NatsServer::start_with(&NatsConfig::with(&format!(
        "tls {{ cert_file: {certificate:?}, key_file: {certificate:?} }}\n"
    )));
    let delivery = Delivery::new("jetstream_tls");
    let url = format!("tls://localhost:{}", server.port());
    expect_refused(&delivery, &url, &[], 8, &["TLS failed", "--nats-ca"]);
    let ca = authority.certificate();
    let ca = ca.to_str().expect("a path");
    insert(&delivery.coll(), 0..3);
    let options = ["--nats-ca", ca, "--until", "now"];
    delivery.watch(&url).args(options).run().expect_code(0);
    let plain = NatsServer::start();
    let url = format!("tls://localhost:{}", plain.port());
    expect_refused(&delivery, &url, &["--nats-ca", ca], 8, &["TLS"]);
}

#[test]
fn refuses_a_server_without_jetstream() {
    let server = NatsServer::start_with(&NatsConfig {
        jetstream: None,
        settings: String::new(),
    });
    let delivery = Delivery::new("jetstream_off");
    expect_refused(
        &delivery,
        &server.url(),
        &[],
        8,
        &["JetStream is not enabled", "start nats-server with -js"],
    );
}

#[test]
fn refuses_a_user_who_may_not_create_the_stream_or_publish_to_it() {
    let server = NatsServer::start_with(&NatsConfig::with(
        "authorization { users: [
            { user: admin, password: a }
            { user: reader, password: r, permissions: { publish: { allow: [\"$JS.API.INFO\", \"$JS.API.STREAM.INFO.>\"] } } }
            { user: creator, password: c, permissions: { publish: { deny: [\"cswatch.>\"] } } }
        ] }\n",
    ));
    let delivery = Delivery::new("jetstream_permissions");
    insert(&delivery.coll(), 0..3);
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", server.port());
    expect_refused(
        &delivery,
        &url("reader:r"),
        &[],
        8,
        &["not permitted to create stream cswatch", "cswatch.>"],
    );
    let refused = delivery.watch(&url("creator:c")).run().expect_code(8);
    let (message, hint) = refused.error();
    assert!(message.contains("not permitted to publish"), "{message}");
    assert_eq!(hint, "permit this user to publish to cswatch.>");
    let client = NatsClient::connect_as("admin", "a", &server.url());
    assert_eq!(client.count(STREAM), 0);
}

#[test]
fn needs_only_the_permissions_that_the_page_lists() {
    let page = include_str!("../../docs/jetstream.md");
    let row = |name: &str| -> String {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        let row = row.expect("a row").split('`').skip(1).step_by(2);
        row.map(|subject| format!("{subject:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let permissions = format!(
        "permissions: {{ publish: {{ allow: [{}, {}] }}, subscribe: {{ allow: [{}] }} }}",
        row("create"),
        row("publish"),
        row("subscribe")
    );
    let server = NatsServer::start_with(&NatsConfig::with(&format!(
        "authorization {{ users: [{{ user: ada, password: p, {permissions} }}, {{ user: admin, password: a }}] }}\n"
    )));
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", server.port());
    let delivery = Delivery::new("jetstream_least_permissions");
    insert(&delivery.coll(), 0..3);
    let client = NatsClient::connect_as("admin", "a", &server.url());
    delivery.finish(&url("ada:p"), &client);
    insert(&delivery.coll(), 3..6);
    delivery.finish(&url("ada:p"), &client);
    delivery.check(&url("ada:p")).run().expect_code(0);
}

#[test]
fn refuses_a_stream_that_does_not_store_its_subjects_or_stores_those_of_others() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_subjects");
    insert(&delivery.coll(), 0..3);
    for (subjects, part) in [
        (vec!["other.>"], "does not store the subjects cswatch.>"),
        (
            vec!["cswatch.shop.>"],
            "does not store the subjects cswatch.>",
        ),
        (
            vec!["cswatch.>", "other.>"],
            "stores other subjects too: other.>",
        ),
    ] {
        client.create_stream(Config {
            name: STREAM.to_owned(),
            subjects: subjects.into_iter().map(str::to_owned).collect(),
            ..Config::default()
        });
        expect_refused(&delivery, &server.url(), &[], 6, &[part]);
        assert_eq!(client.count(STREAM), 0);
        client.delete_stream(STREAM);
    }
    client.create_stream(Config {
        name: "other".to_owned(),
        subjects: vec!["cswatch.>".to_owned()],
        ..Config::default()
    });
    expect_refused(
        &delivery,
        &server.url(),
        &[],
        6,
        &["stores subjects of cswatch.>", "--nats-stream"],
    );
    assert_eq!(client.count("other"), 0);
}

#[test]
fn refuses_a_stream_of_another_program() {
    let server = NatsServer::start();
    let client = server.client();
    client.create_stream(Config {
        name: STREAM.to_owned(),
        subjects: vec!["cswatch.>".to_owned()],
        ..Config::default()
    });
    client.publish("cswatch.orders", "an order");
    let delivery = Delivery::new("jetstream_foreign_stream");
    expect_refused(
        &delivery,
        &server.url(),
        &[],
        6,
        &["message 1 of stream cswatch", "--nats-stream"],
    );
    assert_eq!(client.count(STREAM), 1);
}

#[test]
fn refuses_the_stream_of_another_scope_or_deployment() {
    let server = NatsServer::start();
    let client = server.client();
    let delivery = Delivery::new("jetstream_owner");
    insert(&delivery.coll(), 0..3);
    delivery.finish(&server.url(), &client);
    let other = Delivery::new("jetstream_other_scope");
    insert(&other.coll(), 0..3);
    expect_refused(&other, &server.url(), &[], 5, &["another watch"]);
    // The same name of the set, and the same scope.
    let set = ReplicaSet::start(Options::default());
    let elsewhere = Scenario::on(&set, "elsewhere");
    let refused = Cswatch::new()
        .state_home(&elsewhere.state_home())
        .args([
            "--uri",
            &set.uri(),
            "--db",
            delivery.coll().namespace().db.as_str(),
        ])
        .args(["--coll", "c", "--nats", &server.url(), "--until", "now"])
        .run()
        .expect_code(5);
    let (message, hint) = refused.error();
    assert!(message.contains("another deployment"), "{message}");
    assert!(hint.contains("--nats-stream"), "{hint}");
    assert_eq!(client.count(STREAM), 3);
}

#[test]
fn refuses_more_replicas_than_servers() {
    let server = NatsServer::start();
    let delivery = Delivery::new("jetstream_replicas");
    expect_refused(
        &delivery,
        &server.url(),
        &["--nats-replicas", "3"],
        8,
        &["--nats-replicas"],
    );
    let cluster = NatsCluster::start(3);
    insert(&delivery.coll(), 0..3);
    let replicas = ["--nats-replicas", "3", "--until", "now"];
    delivery
        .watch(&cluster.url())
        .args(replicas)
        .run()
        .expect_code(0);
    let info = cluster.client().info(STREAM).expect("a stream");
    assert_eq!(info.config.num_replicas, 3);
}
