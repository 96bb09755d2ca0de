//! Test support: real MongoDB and NATS servers, a proxy that breaks connections, and the built `cswatch`. The integration tests, the
//! benchmarks and the demo are built on it. Nothing here uses the `cswatch` library: a test sees the program as its users do.

pub mod certificates;
pub mod cswatch;
pub mod deadline;
pub mod endpoint;
pub mod events;
pub mod fail_point;
pub mod fake_server;
pub mod finished;
pub mod forbidden_server;
pub mod guard;
pub mod hanging_disk;
pub mod live_cursor;
pub mod load;
pub mod mongod;
pub mod mongod_binary;
pub mod nats;
pub mod oplog;
pub mod port;
pub mod preload;
pub mod procfs;
pub mod programs;
pub mod proxy;
mod pypi;
pub mod reference;
pub mod replica_set;
pub mod running;
pub mod runtime;
pub mod scenario;
pub mod small_disk;
pub mod terminal;
pub mod transcript;
