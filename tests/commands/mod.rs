//! The subcommands.

/// `cswatch check`.
mod check;
/// `cswatch health`.
mod health;
/// `cswatch token`.
mod token;
