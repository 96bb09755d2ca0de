//! The settings of the JetStream sink.

use crate::cli::options::NatsArgs;
use crate::config::{NatsConfig, nats};
use crate::error::Failure;

/// Returns the settings of the JetStream sink; `None` without `--nats`.
///
/// # Errors
/// Exit code 2 when a value is invalid.
pub(super) fn config(args: &NatsArgs) -> Result<Option<NatsConfig>, Failure> {
    nats::ensure_stream_name(&args.nats_stream)?;
    nats::ensure_prefix(&args.nats_subject)?;
    let Some(urls) = &args.nats else {
        return Ok(None);
    };
    let (servers, login) = nats::parse_urls(urls)?;
    if login.is_some() && args.nats_creds.is_some() {
        return Err(
            Failure::usage("--nats-creds cannot be combined with a login in --nats")
                .hint("remove one of them"),
        );
    }
    Ok(Some(NatsConfig {
        exposes_login: login.is_some() && args.is_url_typed,
        servers,
        login,
        credentials: args.nats_creds.clone(),
        ca: args.nats_ca.clone(),
        stream: args.nats_stream.clone(),
        prefix: args.nats_subject.clone(),
        partitions: args.nats_partitions,
        replicas: args.nats_replicas,
        health_file: args.nats_health_file.clone(),
    }))
}
