//! The checks of a delivery into NATS JetStream.

use std::sync::Arc;

use crate::config::{NatsConfig, StreamSpec};
use crate::count::counted;
use crate::sink::jetstream::{Bucket, Inspection, Position};

use super::report::Report;

/// The largest `max_payload` that a server can have, in bytes. Servers report that they enforce it.
const MAX_PAYLOAD: usize = 64 * 1024 * 1024;

/// Checks the servers and the stream. Returns where a watch would resume; `None` if that is the first run or unknown.
pub(super) async fn check(
    config: &NatsConfig,
    spec: &StreamSpec,
    report: &mut Report,
) -> Option<Position> {
    let inspection = match Inspection::connect(Arc::new(config.clone())).await {
        Ok(inspection) => inspection,
        Err(failure) => {
            report.failed("nats", failure);
            return None;
        }
    };
    let (name, version) = inspection.server();
    let hosts = config.hosts();
    report.ok(
        "nats",
        format!("connected to {hosts}: nats-server {version}, {name}"),
    );
    if let Err(failure) = inspection.ensure_enabled().await {
        report.failed("jetstream", failure);
        return None;
    }
    report.ok("jetstream", "enabled");
    let found = inspection.stream(&spec.scope_id()).await;
    check_max_payload(inspection.max_payload(), report);
    let stream = &config.stream;
    match found {
        Err(failure) => {
            report.failed("nats stream", failure);
            None
        }
        Ok(None) => {
            let replicas = counted(config.replicas.into(), "replica");
            let text = format!("{stream}, not created yet: the first run creates it, {replicas}");
            report.ok("nats stream", text);
            None
        }
        Ok(Some(info)) => match inspection.bucket(spec).await {
            Ok(Bucket { position, holder }) => {
                let messages = counted(info.state.messages, "message");
                let replicas = counted(info.config.num_replicas as u64, "replica");
                report.ok("nats stream", format!("{stream}, {messages}, {replicas}"));
                let lease = match holder {
                    Some(holder) => format!("held by {holder}"),
                    None => "free".to_owned(),
                };
                report.ok("lease", lease);
                Some(position)
            }
            Err(failure) => {
                report.failed("nats stream", failure);
                None
            }
        },
    }
}

fn check_max_payload(max_payload: usize, report: &mut Report) {
    const NAME: &str = "max payload";
    if max_payload >= MAX_PAYLOAD {
        return report.ok(
            NAME,
            format!("the server accepts messages of {max_payload} bytes"),
        );
    }
    report.degraded(
        NAME,
        format!(
            "the server accepts messages of up to {max_payload} bytes: a larger event ends the watch with code 6"
        ),
        format!("set max_payload in nats-server's configuration, to at most {MAX_PAYLOAD}"),
    );
}
