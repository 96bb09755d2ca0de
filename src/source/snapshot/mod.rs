//! The scan of a snapshot: the documents that exist before the stream.

mod collections;
mod estimate;

pub(super) use self::collections::{list, renamed};
