//! Start and end of a watch in cluster time: checks, messages and limits that depend on the deployment and the checkpoint.

use std::path::Path;

use bson::Timestamp;

use crate::checkpoint::Checkpoint;
use crate::config::{Config, Start, When};
use crate::error::Failure;
use crate::sink::{Limits, Proof, Until};
use crate::source::{Deployment, Source};
use crate::time;
use crate::token::ResumeToken;

/// Reports where the stream starts or resumes, and the resume file at `path`.
pub(super) fn report_start(
    start: Option<&Start>,
    saved: Option<&Checkpoint>,
    token: &ResumeToken,
    path: &Path,
) {
    let time = time::rfc3339(token.time());
    let path = path.display();
    match (start, saved) {
        (Some(Start::After(_)), None) => {
            tracing::info!("no checkpoint yet, starting after {time} ({path})");
        }
        (Some(Start::After(_)), Some(saved)) => {
            let saved = time::rfc3339(saved.token.time());
            tracing::info!("starting after {time} instead of the checkpoint's {saved} ({path})");
        }
        (None | Some(Start::At(When::Now)), None) => {
            tracing::info!("no checkpoint yet, starting at now ({path})");
        }
        (Some(Start::At(When::Earliest)), None) => {
            tracing::info!("no checkpoint yet, starting at earliest ({path})");
        }
        (Some(Start::At(_)), None) => {
            tracing::info!("no checkpoint yet, starting at {time} ({path})");
        }
        (_, Some(saved)) => {
            let filter = match saved.same_filter {
                true => "",
                false => ", saved with another filter or other options",
            };
            tracing::info!("resuming after {time} ({path}){filter}");
            if start.is_some() {
                tracing::info!(
                    hint = "use --start-after TOKEN, or another --resume-file",
                    "--start is ignored because there is a checkpoint"
                );
            }
        }
    }
}

/// Returns the latest time that the stream may start at: that of the checkpoint or of the command line.
pub(super) fn latest_start(
    config: &Config,
    saved: Option<&Checkpoint>,
    deployment: &Deployment,
) -> Option<Timestamp> {
    let start = match &config.start {
        Some(Start::After(token)) => Some(token.time()),
        Some(Start::At(when)) => deployment.cluster_time.map(|now| when.begins_at(now)),
        None => None,
    };
    start.max(saved.map(|saved| saved.token.time()))
}

/// Fails if the token given by `--start-after` is ahead of the server, which would silently skip events up to it (measured on MongoDB
/// 6.0.27).
///
/// # Errors
/// Exit code 2 with both times.
pub(super) fn ensure_not_ahead(
    token: &ResumeToken,
    deployment: &Deployment,
) -> Result<(), Failure> {
    match deployment.cluster_time {
        Some(now) if time::is_ahead(token.time(), now) => Err(Failure::usage(format!(
            "--start-after: {}",
            time::ahead_of_server(token.time(), now)
        ))
        .hint("give the _id of an event of this deployment, or --start now")),
        _ => Ok(()),
    }
}

/// Returns the limits of a watch that starts after `token`. Must be called before the stream is opened.
pub(super) async fn limits(config: &Config, source: &Source, token: &ResumeToken) -> Limits {
    let deployment = source.deployment();
    let mut limits = Limits {
        count: config.stop.count,
        until: None,
    };
    // A server without a cluster time has no change streams either; opening the stream reports that.
    if let Some((when, now)) = config.stop.until.zip(deployment.now()) {
        let time = when.ends_at(now);
        let proof = if deployment.identity.sharded {
            Proof::Never
        } else if token.time() != time || source.is_committed(time).await {
            Proof::Always
        } else {
            Proof::UnlessAt(token.clone())
        };
        limits.until = Some(Until { time, proof });
    }
    limits
}
