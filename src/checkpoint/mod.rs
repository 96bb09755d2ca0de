//! Checkpoints: the resume token up to which everything was printed, the times at which it is saved, and the resume file that holds it.
//! Knows tokens and the length of the output file, never events.

mod content;
pub(crate) mod default_file;
mod lock;
mod path;
mod resume_file;
mod tracker;

pub use self::content::Checkpoint;
#[cfg(feature = "nats")]
pub(crate) use self::content::{Invalid, Owner};
pub(crate) use self::content::{OutputMark, damage};
#[cfg(feature = "nats")]
pub(crate) use self::lock::Lock;
pub(crate) use self::lock::{Holder, holder_of};
pub(crate) use self::path::resolve;
pub(crate) use self::resume_file::ResumeFile;
pub(crate) use self::tracker::CheckpointTracker;
