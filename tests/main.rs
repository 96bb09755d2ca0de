//! The integration tests, in one binary: the built `cswatch` on real mongod processes.

/// A backlog read by several cursors.
mod catch_up;
/// Positions saved with another filter.
mod changed_filter;
/// What a watch would need.
mod check;
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
/// The sign of life, and who asks for it.
mod health;
/// History that the server no longer has.
mod history;
/// Documents before and after a change.
mod images;
/// `kill -9`, over and over.
mod kills;
/// How events look.
mod look;
/// Metrics and health over HTTP.
mod metrics;
/// The position file, and restarts behind it.
mod position;
/// Position files that cannot be used.
mod position_refused;
/// Resume files and the deployments they belong to.
mod resume {
    mod default_resume_file;
    mod deployment;
    mod invalid_token;
    mod lagging_member;
    mod member_without_history;
    mod start_ahead_of_the_server;
}
/// Servers that refuse the stream.
mod refusals;
/// What is watched.
mod scopes;
/// Passwords, which are nowhere.
mod secrecy;
/// Where a watch starts.
mod starting;
/// The status line.
mod status;
/// How a watch ends that was asked to.
mod stopping;
/// Limits of a watch.
#[path = "stopping"]
mod limits {
    mod until_now;
}
/// What systemd is told.
mod supervisor;
/// The testkit itself.
mod test_infrastructure;
/// Resume tokens recorded from real servers.
mod token;
/// What `cswatch token` shows.
mod token_command;
/// TLS, logins and compression.
mod transport;
/// Servers that cannot be reached.
mod unreachable;
/// Output that cannot be written.
mod unwritable;
/// Help, completions, environment.
mod usage;
/// What the command line refuses.
mod usage_refused;
