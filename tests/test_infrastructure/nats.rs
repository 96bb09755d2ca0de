//! NATS servers: restarted on the same store or an older one, and in a cluster that loses its leader.

use testkit::nats::{NatsCluster, NatsServer};

use async_nats::jetstream::stream::Config;

fn stream(replicas: usize) -> Config {
    Config {
        name: "s".to_owned(),
        subjects: vec!["s.>".to_owned()],
        num_replicas: replicas,
        ..Config::default()
    }
}

#[test]
fn keeps_messages_of_a_nats_server_over_kill_9_and_takes_them_back_with_an_older_store() {
    let server = NatsServer::start();
    let client = server.client();
    client.create_stream(stream(1));
    client.publish("s.a", "1");
    server.stop();
    let older = server.copy_store();
    server.restart();
    client.publish("s.b", "2");
    server.kill();
    server.restart();
    let lines = |filter| -> Vec<String> {
        let messages = client.messages_of("s", filter);
        messages.into_iter().map(|message| message.line).collect()
    };
    assert_eq!(lines(">"), ["1", "2"]);
    assert_eq!(lines("s.b"), ["2"]);
    server.restart_with_store(&older);
    assert_eq!(lines(">"), ["1"]);
}

#[test]
fn elects_another_leader_of_a_stream_after_kill_9() {
    let cluster = NatsCluster::start(3);
    let client = cluster.client();
    client.create_stream(stream(3));
    client.publish("s.a", "1");
    let leader = cluster.leader("s");
    leader.kill();
    let next = cluster.leader("s");
    assert_ne!(leader.name(), next.name());
    client.publish("s.a", "2");
    leader.restart();
    assert_eq!(client.messages("s").len(), 2);
}
