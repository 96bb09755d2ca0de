//! Integration tests, in one binary: the built `cswatch` with real mongod processes.

/// Backlogs that several streams read.
mod catch_up;
/// Help, environment, invalid arguments, `--explain`.
mod command_line;
/// The other commands: `check`, `health`, `token`.
mod commands;
/// The command lines in `docker-compose.yml`, without Docker.
mod compose;
/// README.md and the pages in `docs/`.
mod documents;
/// Events as lines: every operation type, any content, each format.
mod events;
/// Inputs that fuzzing found.
mod fuzz;
/// Characters that control a terminal, forge a line or are invisible.
mod hidden_characters;
/// Servers that send what no real server sends.
mod hostile;
/// Delivery into NATS JetStream.
#[cfg(feature = "nats")]
mod jetstream;
/// Metrics, the status line, systemd.
mod monitoring;
/// Stdout and output files: readers that stall or disappear, full disks, rotation.
mod output;
/// Where a watch starts and resumes: resume files, tokens, lost history, invalidates, `kill -9`.
mod resume;
/// Passwords: neither printed nor written.
mod secrecy;
/// Which events are watched: scopes and filters.
mod selection;
/// Servers that are unreachable, refuse the stream or fail; TLS and logins.
mod server;
/// `--snapshot`.
mod snapshot;
/// Parts of the system that stall: stderr, disks, readers, metrics clients.
mod stalls;
/// Ends of a watch: after a count, at a time, on a signal.
mod stopping;
/// Workflows and the systemd unit: pinned actions, secrets, limits.
mod supply_chain;
/// Tests of the testkit itself.
mod test_infrastructure;
