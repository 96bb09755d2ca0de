//! The scan of a snapshot: the documents that exist before the stream.

mod collections;
mod estimate;
mod extent;

pub(crate) use self::extent::Extent;
pub(super) use self::extent::{Unmeasured, measure};
