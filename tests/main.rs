//! The integration tests, in one binary: the built `cswatch` on real mongod processes.

/// A backlog read by several streams.
mod catch_up;
/// Help, environment, invalid arguments, `--explain`.
mod command_line;
/// The other commands: `check`, `health`, `token`.
mod commands;
/// The command lines of `docker-compose.yml`, without Docker.
mod compose;
/// Events as lines: every kind, any content, each format.
mod events;
/// Inputs that fuzzing found.
mod fuzz;
/// Metrics, the status line, systemd.
mod monitoring;
/// Stdout and output files: readers that stall or go away, full disks, rotation.
mod output;
/// Where a watch starts and resumes: resume files, tokens, lost history, invalidates, `kill -9`.
mod resume;
/// Passwords, which appear nowhere.
mod secrecy;
/// Which events are watched: scopes and filters.
mod selection;
/// Servers: unreachable, refusing, failing, and how clients connect and log in.
mod server;
/// Parts of the system that stall: stderr, disks, readers, metrics clients.
mod stalls;
/// How a watch ends on request: by a count, a time or a signal.
mod stopping;
/// The testkit itself.
mod test_infrastructure;
