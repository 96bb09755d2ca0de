//! Commands other than watching, each in its own module.
//! They take validated settings, and know nothing of the command line.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod man;
pub(crate) mod token;
