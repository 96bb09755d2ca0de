//! The integration tests, in one binary: the built `cswatch` on real mongod processes.

/// A backlog read by several cursors.
mod catch_up;
/// Positions saved with another filter.
mod changed_filter;
/// The command lines of `docker-compose.yml`, without docker.
mod compose;
/// Documents of any content.
mod content;
/// Every kind of event, to the letter.
mod events;
/// The command that would be sent.
mod explain;
/// The Extended JSON writer against the BSON corpus and pymongo.
mod extjson;
/// The fault catalogue.
mod faults;
/// Which events come.
mod filters;
/// What fuzzing found.
mod fuzz;
/// History that the server no longer has.
mod history;
/// Documents before and after a change.
mod images;
/// `kill -9`, over and over.
mod kills;
/// How events look.
mod look;
/// The position file, and restarts behind it.
mod position;
/// Position files that cannot be used.
mod position_refused;
/// Servers that refuse the stream.
mod refusals;
/// What is watched.
mod scopes;
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
/// Help, completions, environment.
mod usage;
/// What the command line refuses.
mod usage_refused;
