//! One change stream kept alive: connecting, opening, reading in order, catching up, and recovery after errors.
//! Knows nothing of JSON, sinks, files and signals.

mod backoff;
mod catch_up;
mod classify;
mod cluster_clock;
mod connection;
mod cursor;
mod diagnosis;
mod fragments;
mod large_event;
mod members;
mod messages;
mod position;
mod preflight;
mod recovery;
mod start;
mod stream;
mod target;
mod watchdog;

pub(crate) use self::cluster_clock::ClusterClock;
pub(crate) use self::preflight::{Feature, Images, Preflight};
pub(crate) use self::stream::Source;
pub(crate) use self::target::Deployment;
