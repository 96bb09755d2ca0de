//! Reports of a running watch about itself.

/// Messages of a first run.
mod first_run;
/// Metrics and health over HTTP.
mod metrics;
/// The progress of a snapshot.
mod snapshot;
/// The status line.
mod status;
/// Notifications to systemd.
mod systemd;
