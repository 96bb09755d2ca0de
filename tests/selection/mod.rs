//! The events that a watch prints: its scope and its filters.

/// `--op`, `--match`, `--id` and `--pipeline`.
mod filters;
/// A deployment, a database, one collection or several.
mod scopes;
