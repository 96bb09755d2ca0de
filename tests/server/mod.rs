//! Failures of servers and of the network, and how a watch survives them.

/// Connections that are closed, refused or silent.
mod connection_loss;
/// Error replies, and cursors and sessions that the server ends.
mod errors;
/// Members that die, freeze, step down and return.
mod failover;
/// Servers that refuse the stream.
mod refusals;
/// TLS, logins and compression.
mod transport;
/// Servers that cannot be reached at the start.
mod unreachable;
/// Options of the connection string.
mod uri_options;

/// The message at the start of an outage.
const LOST: &str = "warning: connection lost, retrying: ";

/// The message at the end of an outage.
const RECONNECTED: &str = "cswatch: reconnected after ";
