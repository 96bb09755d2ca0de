//! What the tests stand on: real mongod processes, a proxy that breaks connections, and the built
//! `cswatch`.

pub(crate) mod built;
pub(crate) mod bystander;
pub(crate) mod certificates;
pub(crate) mod cswatch;
pub(crate) mod deadline;
pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod fail_point;
pub(crate) mod guard;
pub(crate) mod load;
pub(crate) mod mongod;
pub(crate) mod mongod_binary;
pub(crate) mod oplog;
pub(crate) mod port;
pub(crate) mod proxy;
pub(crate) mod reference;
pub(crate) mod replica_set;
pub(crate) mod running;
pub(crate) mod runtime;
pub(crate) mod scenario;
pub(crate) mod small_disk;
pub(crate) mod terminal;
pub(crate) mod transcript;
