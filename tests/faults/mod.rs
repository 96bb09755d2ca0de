//! What the faults of production do to a watch, each on real servers: nothing is lost, nothing comes twice where nothing had to be
//! sent again, and the process goes on by itself. The names carry the numbers of the fault catalogue.

/// Events of odd or enormous content.
mod content;
/// Drops and renames.
mod end_of_stream;
/// Members that die, freeze, step down and come back.
mod failover;
/// An oplog that no longer reaches back to the position.
mod history;
/// Sessions that expire and an oplog that forgets while `cswatch` stands still.
mod idle_and_oplog;
/// Writes that go on while servers fail, and what is printed of them.
mod inserts;
/// The server's side of the stream: its cursor, and the commands it was sent.
mod live_cursor;
/// Inserts that never pause.
mod load;
/// Connections that break, are refused, or fall silent.
mod network;
/// Content that only raw BSON can hold, and tokens and transactions of odd shape.
mod odd_content;
/// Each event exactly once in a file.
mod output_file;
/// The position file: damaged, foreign, in use, on a full disk.
mod position_file;
/// What the server refuses: credentials, privileges, streams that cannot be.
mod refusals;
/// Errors that servers answer with.
mod server_errors;
/// Readers that go away or stall, and SIGTERM at any moment.
mod stdout;

/// What is said when an outage begins.
const LOST: &str = "warning: connection lost, trying again: ";

/// What is said when it is over.
const BACK: &str = "connection is back after ";
