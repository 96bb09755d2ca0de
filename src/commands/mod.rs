//! What cswatch does beside watching: each command in a file of its own.

pub mod completions;
pub mod man;
pub mod token;
