//! Messages about a connection attempt: what is waited for, and what was reached.

use std::pin::pin;
use std::time::Duration;

use bson::doc;
use tracing::Level;

use super::server_reports::Report;
use super::target::Target;

/// How long an attempt is silent.
const SILENCE: Duration = Duration::from_secs(1);

/// Awaits `attempt`, and reports the hosts if it takes long.
pub(super) async fn reported<T>(hosts: &str, attempt: impl Future<Output = T>) -> T {
    let mut attempt = pin!(attempt);
    match tokio::time::timeout(SILENCE, &mut attempt).await {
        Ok(reached) => reached,
        Err(_) => {
            tracing::info!("connecting to {hosts}...");
            attempt.await
        }
    }
}

/// Logs the servers of `target`, their version and the replica set, with `-v`.
pub(super) async fn log_reached(target: &Target) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let connection = &target.connection;
    let build_info = connection.run("admin", doc! { "buildInfo": 1 }).await;
    let version = build_info
        .ok()
        .and_then(|reply| reply.get_str("version").ok().map(ToOwned::to_owned));
    let identity = &target.deployment.identity;
    let mut parts = vec![match version {
        Some(version) => format!("MongoDB {version}"),
        None => "MongoDB of unknown version".to_owned(),
    }];
    match (&identity.set, identity.sharded) {
        (Some(set), _) => parts.push(format!("replica set {set}")),
        (None, true) => parts.push("sharded cluster".to_owned()),
        (None, false) => parts.push("standalone".to_owned()),
    }
    for server in connection.reports.servers() {
        if let (true, Report::Reply(hello)) = (server.is_monitored, server.report) {
            parts.push(format!("{} ({})", server.address, hello.role));
        }
    }
    tracing::debug!("connected to {}", parts.join(", "));
}
