//! Failures of servers and of the network, and how a watch survives them.

/// Servers that close each stream.
mod closes;
/// Connections that are closed, refused or silent.
mod connection_loss;
/// Errors that may pass.
mod doubt;
/// Error replies, and cursors and sessions that the server ends.
mod errors;
/// Members that die, freeze, step down and return.
mod failover;
/// Users without the privileges of the stream.
mod missing_privilege;
/// Servers that refuse the stream.
mod refusals;
/// Filters that the server refuses.
mod refused_filter;
/// The limit of an outage.
mod retry_for;
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
