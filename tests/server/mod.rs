//! Servers, and how a watch survives them.

/// Connections that break, are refused, or fall silent.
mod connection_loss;
/// Errors that servers reply with, and cursors and sessions that they end.
mod errors;
/// Members that die, freeze, step down and come back.
mod failover;
/// Servers that refuse the stream.
mod refusals;
/// TLS, logins and compression.
mod transport;
/// Servers that cannot be reached at the start.
mod unreachable;

/// What is reported when an outage begins.
const LOST: &str = "warning: connection lost, trying again: ";

/// What is reported when it is over.
const BACK: &str = "connection is back after ";
