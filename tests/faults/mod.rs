//! What the faults of production do to a watch, each on real servers: nothing is lost, nothing comes twice where nothing had to be
//! sent again, and the process goes on by itself. The names carry the numbers of the fault catalogue.

/// Events of odd or enormous content.
mod content;
/// Drops and renames.
mod end_of_stream;
/// An oplog that no longer reaches back to the position.
mod history;
/// Inserts that never pause.
mod load;
/// Content that only raw BSON can hold, and tokens and transactions of odd shape.
mod odd_content;
/// Each event exactly once in a file.
mod output_file;
/// The position file: damaged, foreign, in use, on a full disk.
mod position_file;
/// What the server refuses: credentials, privileges, streams that cannot be.
mod refusals;
/// Readers that go away or stall, and SIGTERM at any moment.
mod stdout;
