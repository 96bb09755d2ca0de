//! The integration tests, in one binary: the built `cswatch` on real mongod processes.

/// A backlog read by several cursors.
mod catch_up;
/// Positions saved with another filter.
mod changed_filter;
/// The Extended JSON writer against the BSON corpus and pymongo.
mod extjson;
/// The fault catalogue.
mod faults;
/// History that the server no longer has.
mod history;
/// The position file, and restarts behind it.
mod position;
/// Position files that cannot be used.
mod position_refused;
/// Servers that refuse the stream.
mod refusals;
/// Where a watch starts.
mod starting;
/// How a watch ends that was asked to.
mod stopping;
/// Processes, servers, faults.
mod support;
/// Resume tokens recorded from real servers.
mod token;
/// Servers that cannot be reached.
mod unreachable;
/// Output that cannot be written.
mod unwritable;
