//! Delivery to NATS JetStream: events become messages of a stream, whose last message holds the checkpoint.
//! Runs on its own thread; knows neither MongoDB's server nor the command line.

mod acknowledgements;
mod attempts;
mod chain;
mod checkpoint;
mod client;
mod failures;
mod inspect;
mod lease;
mod log;
mod message;
mod position;
mod publisher;
mod subject;
mod thread;
mod window;

pub(crate) use self::attempts::Attempts;
pub(crate) use self::checkpoint::CheckpointStore;
pub(crate) use self::client::Connection;
pub(crate) use self::failures::Trouble;
pub(crate) use self::inspect::{Bucket, Inspection};
pub(crate) use self::lease::{Holder, Lease, Standby};
pub(crate) use self::log::{Log, Tail, ensure_enabled};
pub(crate) use self::position::Position;
pub(crate) use self::publisher::{End, Publisher, Settings, describe};
pub(crate) use self::thread::NatsThread;
