//! The subcommands.

/// `cswatch check`.
mod check;
mod check_hints;
/// `cswatch health`.
mod health;
/// `cswatch token`.
mod token;
/// The same, with tokens as mongosh shows them.
mod token_from_mongosh;
