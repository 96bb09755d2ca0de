//! Delivery into NATS JetStream: each event once and in order, whatever fails.

/// What a message holds, where a delivery ends and resumes.
mod basics;
/// Three servers whose leader is killed.
mod cluster;
/// Connections that are cut, hang or are slow.
mod connections;
/// What the other modules deliver, and how they compare it.
mod delivery;
/// The demo.
mod demo;
/// The compose file and the Kubernetes deployment.
mod deployments;
/// Streams without events.
mod idle;
/// `kill -9` of cswatch.
mod kills;
/// Streams that others change.
mod log;
/// Metrics, the status line and health.
mod monitoring;
/// Several replicas of cswatch.
mod replicas;
/// A server that is killed or loses messages.
mod server;
/// What is checked at the start.
mod startup;
