//! The deployments of two replicas without a volume, in `docker-compose.yml` and `packaging/kubernetes.yaml`: their command lines, on the
//! servers of these tests.

use std::fs;

use rustix::process::Signal;
use yaml_rust2::{Yaml, YamlLoader};

use testkit::cswatch::Cswatch;
use testkit::deadline::{DEADLINE, poll};
use testkit::events::insert;
use testkit::nats::{NatsClient, NatsCluster, NatsServer};
use testkit::port::free_port;
use testkit::running::Running;
use testkit::scenario::Scenario;

use super::delivery::STREAM;

#[track_caller]
fn yaml(text: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(text).expect("YAML");
    documents.into_iter().next().expect("a document")
}

#[track_caller]
fn words(list: &Yaml) -> Vec<String> {
    let list = list.as_vec().expect("a list").iter();
    list.map(|word| word.as_str().expect("a string").to_owned())
        .collect()
}

/// The directory in which a deployment keeps nothing but its heartbeat.
const RUN: &str = "/run/cswatch";

/// A deployment on the servers of a test.
struct Deployed<'a> {
    scenario: Scenario<'static>,
    /// The arguments of the deployment.
    arguments: Vec<String>,
    /// The health check of the deployment, without the name of the program.
    health: Vec<String>,
    /// The URL of NATS in the deployment, and here.
    nats: [&'a str; 2],
}

impl Deployed<'_> {
    /// Returns an argument as it is here: in the directory of a replica, with addresses of the test.
    fn here(&self, replica: usize, argument: &str) -> String {
        let run = self.scenario.path(&format!("run-{replica}"));
        let _ = fs::create_dir(&run);
        let metrics = format!("--metrics-addr=127.0.0.1:{}", free_port());
        argument
            .replace(RUN, run.to_str().expect("a path of ASCII"))
            .replace(self.nats[0], self.nats[1])
            .replace("--metrics-addr=0.0.0.0:9216", &metrics)
            .replace(
                "--db=changestream",
                &format!("--db={}", self.scenario.db().name()),
            )
            .replace("--db=shop", &format!("--db={}", self.scenario.db().name()))
    }

    fn start(&self, replica: usize) -> Running {
        let arguments = self.arguments.iter();
        Cswatch::new()
            .args(arguments.map(|argument| self.here(replica, argument)))
            .env("CSWATCH_URI", self.scenario.set().uri())
            .env("CSWATCH_NATS", self.nats[1])
            .spawn()
    }

    /// Waits until the health check of a replica succeeds.
    #[track_caller]
    fn wait_healthy(&self, replica: usize) {
        let check = || {
            let check = self.health.iter();
            Cswatch::new()
                .args(check.map(|word| self.here(replica, word)))
                .run()
        };
        let healthy = poll(DEADLINE, || (check().code == Some(0)).then_some(()));
        assert!(healthy.is_some(), "{}", check().stderr);
    }

    /// Starts two replicas, stops the active one, and expects the other to take over.
    #[track_caller]
    fn expect_takeover(&self, coll: &str, client: &NatsClient) {
        let coll = self.scenario.coll(coll);
        let mut active = self.start(0);
        active.wait_open();
        let mut standby = self.start(1);
        standby.expect_stderr("standing by");
        insert(&coll, 0..5);
        client.wait_count(STREAM, 5);
        self.wait_healthy(0);
        self.wait_healthy(1);
        active.signal(Signal::TERM);
        active.wait().expect_code(0);
        standby.wait_open();
        insert(&coll, 5..10);
        client.wait_count(STREAM, 10);
        standby.signal(Signal::TERM);
        standby.wait().expect_code(0);
    }
}

#[test]
fn runs_two_replicas_as_in_the_compose_file() {
    let compose = yaml(include_str!("../../docker-compose.yml"));
    let services = &compose["services"];
    let [nats, cswatch] = [&services["nats"], &services["cswatch-nats"]];
    for service in [nats, cswatch] {
        assert_eq!(words(&service["profiles"]), ["nats"]);
    }
    assert_eq!(
        nats["image"].as_str(),
        Some(&*format!("nats:{}", testkit::nats::VERSION))
    );
    assert_eq!(words(&nats["command"])[0], "--jetstream");
    assert_eq!(cswatch["deploy"]["replicas"].as_i64(), Some(2));
    let mounted = words(&cswatch["tmpfs"]);
    assert!(mounted[0].starts_with(&format!("{RUN}:")), "{mounted:?}");
    let environment = &cswatch["environment"];
    let watched = &services["cswatch"]["environment"]["CSWATCH_URI"];
    assert_eq!(environment["CSWATCH_URI"], *watched);

    let server = NatsServer::start();
    let url = server.url();
    let mut health = words(&cswatch["healthcheck"]["test"]);
    assert_eq!(health.drain(..2).collect::<Vec<_>>(), ["CMD", "cswatch"]);
    let deployed = Deployed {
        scenario: Scenario::new("jetstream_compose"),
        arguments: words(&cswatch["command"]),
        health,
        nats: [environment["CSWATCH_NATS"].as_str().expect("a URL"), &url],
    };
    deployed.expect_takeover("collection", &server.client());
    let subjects = server.client().messages(STREAM);
    let last = subjects
        .last()
        .expect("a message")
        .subject
        .rsplit('.')
        .next();
    assert!(matches!(last, Some("0" | "1")), "{last:?}");
}

#[test]
fn runs_two_replicas_as_in_the_kubernetes_deployment() {
    let deployment = yaml(include_str!("../../packaging/kubernetes.yaml"));
    let spec = &deployment["spec"];
    assert_eq!(spec["replicas"].as_i64(), Some(2));
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    let label = &spec["selector"]["matchLabels"]["app"];
    assert_eq!(spec["template"]["metadata"]["labels"]["app"], *label);
    let mounts = container["volumeMounts"].as_vec().expect("mounts");
    assert!(
        mounts
            .iter()
            .any(|mount| mount["mountPath"].as_str() == Some(RUN))
    );
    // Neither of them outlives a pod.
    let volumes = pod["volumes"].as_vec().expect("volumes").iter();
    for volume in volumes {
        assert!(
            !volume["emptyDir"].is_badvalue() || !volume["secret"].is_badvalue(),
            "{volume:?}"
        );
    }

    let cluster = NatsCluster::start(3);
    let url = cluster.url();
    let mut health = words(&container["livenessProbe"]["exec"]["command"]);
    assert_eq!(health.remove(0), "cswatch");
    let deployed = Deployed {
        scenario: Scenario::new("jetstream_kubernetes"),
        arguments: words(&container["args"]),
        health,
        nats: ["nats://nats:4222", &url],
    };
    deployed.expect_takeover("orders", &cluster.client());
    let info = cluster.client().info(STREAM).expect("a stream");
    assert_eq!(info.config.num_replicas, 3);
}
