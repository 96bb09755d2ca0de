//! A cluster of nats-servers: streams with replicas, and leaders that can be killed.

use std::sync::PoisonError;
use std::sync::{Mutex, MutexGuard};

use super::client::NatsClient;
use super::server::{NatsConfig, NatsServer, StartError};
use crate::deadline::{START_DEADLINE, poll};
use crate::port::free_port;

/// The number of times that a start is tried if another process takes a port that was free.
const START_ATTEMPTS: usize = 5;

/// A cluster. Its servers are killed on drop.
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    /// Created when it is first needed: it reconnects to the servers that are left.
    client: Mutex<Option<NatsClient>>,
}

impl NatsCluster {
    /// Starts this number of servers, and waits until a stream can have a replica on each.
    #[track_caller]
    pub fn start(count: usize) -> NatsCluster {
        NatsCluster::start_with(count, &NatsConfig::default())
    }

    /// Starts servers with this configuration.
    #[track_caller]
    pub fn start_with(count: usize, config: &NatsConfig) -> NatsCluster {
        for _ in 0..START_ATTEMPTS {
            match start_servers(count, config) {
                Ok(servers) => {
                    let cluster = NatsCluster {
                        servers,
                        client: Mutex::default(),
                    };
                    cluster.client().wait_for_replicas(count);
                    return cluster;
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(reason)) => panic!("{reason}"),
            }
        }
        panic!("ports of the cluster were taken {START_ATTEMPTS} times in a row");
    }

    /// Returns the URLs of all servers, separated by commas.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// Returns the servers.
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// Returns the server that leads a stream, once there is one.
    #[track_caller]
    pub fn leader(&self, stream: &str) -> &NatsServer {
        let client = self.client();
        let leader = poll(START_DEADLINE, || {
            let name = client.leader(stream)?;
            self.servers.iter().find(|server| server.name() == name)
        });
        leader.unwrap_or_else(|| panic!("no leader of {stream}"))
    }

    /// Returns a client that is connected to one of the servers.
    #[track_caller]
    pub fn client(&self) -> NatsClient {
        let mut client: MutexGuard<'_, Option<NatsClient>> =
            self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client
            .get_or_insert_with(|| NatsClient::connect(&self.url()))
            .clone()
    }
}

fn start_servers(count: usize, config: &NatsConfig) -> Result<Vec<NatsServer>, StartError> {
    let route_ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let routes: Vec<String> = route_ports
        .iter()
        .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
        .collect();
    let routes = routes.join(", ");
    route_ports
        .iter()
        .enumerate()
        .map(|(index, port)| {
            let cluster = format!(
                "cluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}\n"
            );
            let config = NatsConfig {
                settings: cluster + &config.settings,
                ..config.clone()
            };
            NatsServer::start_as(&format!("n{}", index + 1), free_port(), &config)
        })
        .collect()
}
