//! The commands next to watching.

/// `cswatch check`.
mod check;
/// `cswatch health`.
mod health;
/// `cswatch token`.
mod token;
