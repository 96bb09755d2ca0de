//! Which events are watched.

/// `--op`, `--match`, `--id` and `--pipeline`.
mod filters;
/// A deployment, a database, one collection or several.
mod scopes;
