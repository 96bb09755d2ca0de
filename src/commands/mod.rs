//! What cswatch does beside watching: each command in a file of its own.

pub mod check;
pub mod completions;
pub mod health;
pub mod man;
pub mod token;
