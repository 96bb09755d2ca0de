//! The subcommands.

/// `cswatch check`.
mod check;
mod check_hints;
mod check_snapshot;
/// `cswatch health`.
mod health;
/// `cswatch token`.
mod token;
/// The same, with tokens as mongosh shows them.
mod token_from_mongosh;
