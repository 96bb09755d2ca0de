//! One change stream kept alive: connecting, opening, reading in order, catching up, and recovery after errors.
//! Knows nothing of JSON, sinks, files and signals.

mod catch_up;
mod classify;
mod cluster_clock;
mod connecting;
mod connection;
mod cursor;
mod diagnosis;
mod driver_log;
mod existence;
mod failing_event;
mod fragments;
mod large_event;
mod members;
mod messages;
mod named_event;
mod operation;
mod owner;
mod position;
mod preflight;
mod privilege;
mod queue_sink;
mod quoted_command;
mod recovery;
mod server_reports;
mod snapshot;
mod start;
mod stream;
mod target;
mod token_guard;
mod unreachable;
mod watchdog;

pub(crate) use self::cluster_clock::ClusterClock;
pub use self::fragments::assemble;
pub(crate) use self::messages::enable_images;
pub(crate) use self::preflight::{Feature, Images, Preflight};
pub(crate) use self::stream::Source;
pub(crate) use self::target::Deployment;
