//! Reports of a running watch about itself.

/// Metrics and health over HTTP.
mod metrics;
/// The status line.
mod status;
/// Notifications to systemd.
mod systemd;
