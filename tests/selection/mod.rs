//! The events that a watch prints: its scope and its filters.

/// `--op`, `--match`, `--id` and `--pipeline`.
mod filters;
/// mongosh syntax and Extended JSON in the values of these flags.
mod pasted_filters;
/// The same on a real server.
mod pasted_on_a_server;
/// A deployment, a database, one collection or several.
mod scopes;
