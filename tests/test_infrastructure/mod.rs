//! Tests of the testkit itself.

/// Cleanup after a killed test run.
mod cleanup;
/// The demo.
mod demo;
/// Versions of mongod.
mod mongod_version;
/// NATS servers.
mod nats;
/// The proxy that breaks connections.
mod proxy;
/// The servers that cswatch is tested on.
mod servers;
