//! The testkit itself: what the other tests rely on.

/// A killed test run, which leaves nothing behind.
mod cleanup;
/// Versions of mongod.
mod mongod_version;
/// The proxy that breaks connections.
mod proxy;
