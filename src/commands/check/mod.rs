//! `cswatch check`: checks everything that a watch needs, in the order in which a watch would fail.
//! Changes nothing, on disk or on the server; how the results look is `report`'s job.

#[cfg(feature = "nats")]
mod nats;
mod report;
mod saved;

use std::path::Path;
use std::time::Duration;

use bson::Timestamp;

use crate::checkpoint::{self, Holder, ResumeFile, default_file};
use crate::config::{Config, ResumePath};
use crate::count::{counted, sized};
use crate::error::{Failure, Kind};
use crate::sink::{Found, OutputFile};
use crate::snapshot::SnapshotProgress;
use crate::source::{Deployment, Feature, Images, Preflight, enable_images};
use crate::telemetry::{Heartbeat, HeartbeatFile};
use crate::time::{self, readable};

pub(crate) use self::report::Report;
use self::saved::Saved;

/// The number of collections that are named in one line; of more, the rest is counted.
const MAX_NAMES: usize = 5;

/// Checks whether a watch with this configuration would work.
pub(crate) async fn run(config: &Config) -> Report {
    let mut report = Report::default();
    let is_file_named = !matches!(config.resume_file, Some(ResumePath::Default(_)));
    let mut saved = None;
    #[cfg(feature = "nats")]
    if let Some(nats) = &config.nats {
        let position = nats::check(nats, &config.stream, &mut report).await;
        saved = position.and_then(|position| Saved::in_stream(nats, position));
    }
    if is_file_named && !delivers(config) {
        saved = check_resume_file(config, None, &mut report);
        check_output_file(config, saved.as_ref(), &mut report);
    }
    match Preflight::connect(&config.connection, &config.stream).await {
        Ok(mut preflight) => {
            report.ok(
                "server",
                format!("connected to {}", config.connection.hosts()),
            );
            if !is_file_named {
                saved = check_resume_file(config, Some(preflight.deployment()), &mut report);
                check_output_file(config, saved.as_ref(), &mut report);
            }
            if let Some(saved) = &saved {
                let time = saved.token().time();
                preflight.update_cluster_time(time).await;
            }
            check_deployment(config, &preflight, saved.as_ref(), &mut report).await;
            preflight.close().await;
        }
        Err(failure) => {
            report.failed("server", failure);
            if !is_file_named {
                check_resume_file(config, None, &mut report);
                check_output_file(config, None, &mut report);
            }
        }
    }
    report
}

/// Returns whether a watch would deliver into NATS JetStream, which then holds the checkpoint.
fn delivers(config: &Config) -> bool {
    #[cfg(feature = "nats")]
    let delivers = config.nats.is_some();
    #[cfg(not(feature = "nats"))]
    let delivers = {
        let _ = config;
        false
    };
    delivers
}

/// Checks the resume file. The default one is chosen for `deployment`.
fn check_resume_file(
    config: &Config,
    deployment: Option<&Deployment>,
    report: &mut Report,
) -> Option<Saved> {
    const NAME: &str = "resume file";
    let path = match (&config.resume_file, deployment) {
        (None, _) => {
            report.ok(NAME, "none (--no-resume)");
            return None;
        }
        (Some(ResumePath::Named(path)), _) => path.clone(),
        (Some(ResumePath::Default(folder)), None) => {
            match default_file::inspect(folder) {
                Ok(()) => report.ok(
                    NAME,
                    format!("in {}, chosen after connecting", folder.display()),
                ),
                Err(failure) => report.failed(NAME, failure),
            }
            return None;
        }
        (Some(ResumePath::Default(folder)), Some(deployment)) => {
            let now = deployment.cluster_time;
            let chosen = default_file::inspect(folder).and_then(|()| {
                default_file::choose(folder, &config.stream, &deployment.identity, now)
            });
            match chosen {
                Ok(choice) if !folder.exists() => {
                    report.ok(NAME, format!("{}, not created yet", choice.path.display()));
                    return None;
                }
                Ok(choice) => choice.path,
                Err(failure) => {
                    report.failed(NAME, failure);
                    return None;
                }
            }
        }
    };
    let inspected = ResumeFile::inspect(&path, &config.stream).and_then(|(path, checkpoint)| {
        HeartbeatFile::ensure_usable(&path)?;
        Ok((path, checkpoint))
    });
    match inspected {
        Ok((path, Some(checkpoint))) => {
            report.ok(NAME, format!("{}{}", path.display(), used_by(&path)));
            Some(Saved::InFile(path, Box::new(checkpoint)))
        }
        Ok((path, None)) => {
            report.ok(NAME, format!("{}, not created yet", path.display()));
            None
        }
        Err(failure) => {
            report.failed(NAME, failure);
            None
        }
    }
}

fn check_output_file(config: &Config, saved: Option<&Saved>, report: &mut Report) {
    const NAME: &str = "output file";
    let Some(path) = &config.output.file else {
        return;
    };
    match OutputFile::inspect(path, saved.and_then(Saved::in_file)) {
        Ok(Found::Usable) => report.ok(NAME, path.display().to_string()),
        Ok(Found::Missing) => report.ok(NAME, format!("{}, not created yet", path.display())),
        Ok(Found::InUse) => report.ok(NAME, format!("{}, in use by a watch", path.display())),
        Ok(Found::Renamed(to)) => report.ok(
            NAME,
            format!(
                "{}, to be created: it was renamed to {}",
                path.display(),
                to.display()
            ),
        ),
        Err(failure) => report.failed(NAME, failure),
    }
}

/// Returns the clause of a message that names the process which uses the resume file at `path`; empty if there is none.
fn used_by(path: &Path) -> String {
    // A killed watch leaves its heartbeat, but not its lock.
    if checkpoint::holder_of(path).unwrap_or(Holder::Nobody) == Holder::Nobody {
        return String::new();
    }
    match Heartbeat::read(path) {
        Ok(Some(heartbeat)) => match heartbeat.time_since_reply() {
            Some(age) => format!(
                ", in use by pid {}, which received the server's last reply {} ago",
                heartbeat.pid,
                readable(age)
            ),
            None => format!(", in use by pid {}", heartbeat.pid),
        },
        // This is only a remark; `cswatch health` is the check that fails.
        Ok(None) | Err(_) => String::new(),
    }
}

async fn check_deployment(
    config: &Config,
    preflight: &Preflight,
    saved: Option<&Saved>,
    report: &mut Report,
) {
    let deployment = preflight.deployment();
    match (&deployment.identity.set, deployment.identity.sharded) {
        (Some(set), _) => report.ok("replica set", set),
        (None, true) => report.ok("replica set", "sharded cluster, through mongos"),
        (None, false) => report.failed(
            "replica set",
            Failure::new(
                Kind::Refused,
                "the server is a standalone, which has no change streams",
            )
            .hint("start mongod with --replSet rs0 and run rs.initiate() once"),
        ),
    }
    match preflight.version().await {
        Ok(version) => report.ok("version", format!("MongoDB {version}")),
        Err(failure) => report.unknown("version", &failure),
    }
    if deployment.identity.set.is_none() && !deployment.identity.sharded {
        return;
    }
    match preflight.opens().await {
        Ok(()) => report.ok(
            "stream",
            format!("{} can be watched", config.stream.subject()),
        ),
        Err(failure) => {
            report.failed("stream", failure);
            return;
        }
    }
    if let Some(missing) = preflight.missing().await {
        report.remark("collections", missing.message, missing.hint);
    }
    for advice in &config.advice {
        report.degraded("arguments", &*advice.message, &*advice.hint);
    }
    check_features(config, preflight, report).await;
    if config.snapshot {
        check_snapshot(preflight, saved, report).await;
    }
    check_checkpoint(config, preflight, saved, report).await;
}

async fn check_features(config: &Config, preflight: &Preflight, report: &mut Report) {
    match preflight.knows(Feature::ExpandedEvents).await {
        Ok(true) => report.ok("expanded events", "--expanded-events is supported"),
        Ok(false) => report.degraded(
            "expanded events",
            "the server does not support --expanded-events",
            "upgrade to MongoDB 6.0 or later",
        ),
        Err(failure) => report.unknown("expanded events", &failure),
    }
    match preflight.knows(Feature::SplitLargeEvents).await {
        Ok(true) => report.ok("large events", "events above 16 MB are supported"),
        Ok(false) => report.degraded(
            "large events",
            "the server does not support $changeStreamSplitLargeEvent: an event above 16 MB ends the watch with code 8",
            "upgrade to MongoDB 6.0.9 or later",
        ),
        Err(failure) => report.unknown("large events", &failure),
    }
    match preflight.knows(Feature::Images).await {
        Ok(true) => check_images(config, preflight, report).await,
        Ok(false) => report.degraded(
            "images",
            "the server does not support pre- and post-images",
            "upgrade to MongoDB 6.0 or later",
        ),
        Err(failure) => report.unknown("images", &failure),
    }
}

/// Checks how much a snapshot has to read, and whether the user may read it.
async fn check_snapshot(preflight: &Preflight, saved: Option<&Saved>, report: &mut Report) {
    const NAME: &str = "snapshot";
    let progress = saved.map(Saved::snapshot);
    match &progress {
        Some(None) => {
            return report.remark(
                NAME,
                "--snapshot is ignored because there is a checkpoint",
                "give another --resume-file to begin with a snapshot",
            );
        }
        Some(Some(SnapshotProgress::Finished)) => {
            return report.ok(NAME, "complete, is not repeated");
        }
        Some(Some(SnapshotProgress::Begun | SnapshotProgress::At(_))) | None => {}
    }
    let extent = match preflight.snapshot().await {
        Ok(extent) => extent,
        Err(failure) => return report.failed(NAME, failure),
    };
    let mut text = format!(
        "{} in {} to read",
        counted(extent.documents, "document"),
        counted(extent.collections, "collection")
    );
    if let Some(bytes) = extent.bytes {
        text += &format!(", {}", sized(bytes));
    }
    if let Some(Some(SnapshotProgress::At(position))) = progress {
        text = format!("continues in {}: at most {text}", position.collection);
    }
    report.ok(NAME, text);
}

async fn check_images(config: &Config, preflight: &Preflight, report: &mut Report) {
    const NAME: &str = "images";
    let images = match preflight.images().await {
        Ok(images) => images,
        Err(failure) => return report.unknown(NAME, &failure),
    };
    let (with, without): (Vec<_>, Vec<_>) = images.iter().partition(|images| images.kept);
    let text = match (with.len(), without.len()) {
        (0, 0) if config.stream.scope.names().0 == "-" => {
            return report.remark(NAME, "not checked for a whole deployment", "add --db");
        }
        (0, 0) => return report.remark(NAME, "no watched collection exists yet", ""),
        (_, 0) => format!("enabled for {}", names(&with)),
        (0, _) => format!("not enabled for {}", names(&without)),
        _ => format!("enabled for {}, not for {}", names(&with), names(&without)),
    };
    let is_required = config.stream.full_document == Some(REQUIRED)
        || config.stream.full_document_before_change == Some(REQUIRED);
    if is_required && !without.is_empty() {
        let message = format!("{text}: the first change there ends the watch");
        let colls: Vec<&str> = without.iter().map(|images| &*images.collection).collect();
        let hint = enable_images(config.stream.scope.database(), &colls);
        report.failed(NAME, Failure::new(Kind::Refused, message).hint(hint));
    } else {
        report.ok(NAME, text);
    }
}

/// The value of `--full-document` and `--full-document-before-change` with which a missing image is an error.
const REQUIRED: &str = "required";

fn names(images: &[&Images]) -> String {
    let mut names: Vec<&str> = images
        .iter()
        .take(MAX_NAMES)
        .map(|images| images.collection.as_str())
        .collect();
    let more = format!("{} more", images.len().saturating_sub(MAX_NAMES));
    if images.len() > MAX_NAMES {
        names.push(&more);
    }
    names.join(", ")
}

async fn check_checkpoint(
    config: &Config,
    preflight: &Preflight,
    saved: Option<&Saved>,
    report: &mut Report,
) {
    const NAME: &str = "checkpoint";
    let now = preflight.deployment().cluster_time;
    if let Some(saved) = saved {
        let token = saved.token();
        let from = time::rfc3339(token.time());
        let ago = now.map_or_else(String::new, |now| {
            format!(", {} ago", readable(between(token.time(), now)))
        });
        match saved.ensure_deployment(&preflight.deployment().identity, now) {
            Err(failure) => report.failed(NAME, failure),
            Ok(()) => match preflight.resumes(token).await {
                Ok(None) => report.ok(NAME, format!("{from}{ago}, can be resumed")),
                Ok(Some(member)) => {
                    let text = format!("{from}{ago}, can be resumed, but only from {member}");
                    report.ok(NAME, text);
                }
                Err(failure) => report.failed(NAME, failure),
            },
        }
    } else if config.resume_file.is_some() || delivers(config) {
        report.ok(NAME, "none yet: the first run starts at --start");
    }
    check_headroom(preflight, saved, now, report).await;
}

/// Checks how long cswatch may be down: the time between the oldest entry of the oplog and the checkpoint. The oplog is a ring, so the
/// entries after the checkpoint are overwritten once as much is written again as lies between the two. If the write rate stays the same,
/// that takes as long as it took to write them.
async fn check_headroom(
    preflight: &Preflight,
    saved: Option<&Saved>,
    now: Option<Timestamp>,
    report: &mut Report,
) {
    const NAME: &str = "headroom";
    let time = saved.map(|saved| saved.token().time()).or(now);
    match (preflight.oldest().await, time) {
        (Ok(Some(oldest)), Some(time)) if oldest <= time => {
            let headroom = between(oldest, time);
            report.ok(
                NAME,
                format!(
                    "cswatch may be down for {}: the oplog reaches back to {}",
                    readable(headroom),
                    time::rfc3339(oldest)
                ),
            );
            report.set_duration(headroom);
        }
        (Ok(Some(oldest)), _) => {
            let oldest = time::rfc3339(oldest);
            let message = format!("none: the oplog reaches back only to {oldest}");
            report.degraded(NAME, message, "see checkpoint above");
        }
        (Ok(None), _) => report.ok(NAME, "the oplog has not overwritten anything yet"),
        (Err(failure), _) => report.unknown(NAME, &failure),
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_secs(later.time.saturating_sub(earlier.time).into())
}
