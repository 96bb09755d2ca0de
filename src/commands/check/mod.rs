//! `cswatch check`: asks what a watch would need, one fact after the other, in the order in which a watch would fail of it.
//! How the facts look is `report`'s.

mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::Timestamp;

use crate::checkpoint::{Checkpoint, ResumeFile};
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::sink::{Found, OutputFile};
use crate::source::{Feature, Images, Preflight};
use crate::telemetry::Heartbeat;
use crate::time::{self, readable};

pub(crate) use self::report::Report;

/// Names of collections in one line at most.
const NAMED: usize = 5;

/// Whether a watch with these config would work.
pub(crate) async fn run(config: &Config) -> Report {
    let mut report = Report::default();
    let saved = position_file(config, &mut report);
    output_file(config, saved.as_ref(), &mut report);
    match Preflight::connect(&config.connection, &config.stream).await {
        Ok(preflight) => {
            report.good("server", format!("{} answers", config.connection.hosts()));
            deployment(config, &preflight, saved.as_ref(), &mut report).await;
            preflight.close().await;
        }
        Err(failure) => report.bad("server", failure),
    }
    report
}

/// A position that was saved, and where.
struct SavedCheckpoint {
    path: PathBuf,
    checkpoint: Checkpoint,
}

fn position_file(config: &Config, report: &mut Report) -> Option<SavedCheckpoint> {
    const NAME: &str = "position file";
    let Some(path) = &config.resume_file else {
        report.good(NAME, "none is kept (--no-resume)");
        return None;
    };
    match ResumeFile::inspect(path, &config.stream) {
        Ok((path, Some(checkpoint))) => {
            report.good(NAME, format!("{}{}", path.display(), kept_by(&path)));
            Some(SavedCheckpoint { path, checkpoint })
        }
        Ok((path, None)) => {
            report.good(NAME, format!("{}, not there yet", path.display()));
            None
        }
        Err(failure) => {
            report.bad(NAME, failure);
            None
        }
    }
}

fn output_file(config: &Config, saved: Option<&SavedCheckpoint>, report: &mut Report) {
    const NAME: &str = "output file";
    let Some(path) = &config.output.file else {
        return;
    };
    let mark = saved.and_then(|saved| saved.checkpoint.output.as_ref());
    let path_is = |what: &str| format!("{}{what}", path.display());
    match OutputFile::inspect(path, mark) {
        Ok(Found::Usable) => report.good(NAME, path_is("")),
        Ok(Found::Missing) => report.good(NAME, path_is(", not there yet")),
        Ok(Found::InUse) => report.good(NAME, path_is(", in use by a watch")),
        Err(failure) => report.bad(NAME, failure),
    }
}

/// Who watches with the position file at `path`, if somebody does.
fn kept_by(path: &Path) -> String {
    match Heartbeat::read(path) {
        Ok(Some(heartbeat)) => match heartbeat.time_since_reply() {
            Some(age) => format!(
                ", kept by pid {}, which heard the server {} ago",
                heartbeat.pid,
                readable(age)
            ),
            None => format!(", kept by pid {}", heartbeat.pid),
        },
        // Whoever wants to know for sure asks `cswatch health`.
        Ok(None) | Err(_) => String::new(),
    }
}

async fn deployment(
    config: &Config,
    preflight: &Preflight,
    saved: Option<&SavedCheckpoint>,
    report: &mut Report,
) {
    let deployment = preflight.deployment();
    match (&deployment.set, deployment.sharded) {
        (Some(set), _) => report.good("replica set", set),
        (None, true) => report.good("replica set", "a sharded cluster, through mongos"),
        (None, false) => report.bad(
            "replica set",
            Failure::new(
                Kind::Refused,
                "a standalone server, which has no change streams",
            )
            .hint("start mongod with --replSet rs0 and run rs.initiate() once"),
        ),
    }
    match preflight.version().await {
        Ok(version) => report.good("version", format!("MongoDB {version}")),
        Err(failure) => report.unknown("version", &failure),
    }
    if deployment.set.is_none() && !deployment.sharded {
        return;
    }
    match preflight.opens().await {
        Ok(()) => report.good("stream", format!("{} can be watched", config.stream.scope)),
        Err(failure) => {
            report.bad("stream", failure);
            return;
        }
    }
    features(config, preflight, report).await;
    resuming(config, preflight, saved, report).await;
}

async fn features(config: &Config, preflight: &Preflight, report: &mut Report) {
    match preflight.knows(Feature::ExpandedEvents).await {
        Ok(true) => report.good("expanded events", "--expanded-events works"),
        Ok(false) => report.missing(
            "expanded events",
            "this server does not know --expanded-events",
            "MongoDB 6.0 or later does",
        ),
        Err(failure) => report.unknown("expanded events", &failure),
    }
    match preflight.knows(Feature::SplitLargeEvents).await {
        Ok(true) => report.good("large events", "events above 16 MB come whole"),
        Ok(false) => report.missing(
            "large events",
            "this server does not know $changeStreamSplitLargeEvent: an event above 16 MB ends the watch with code 8",
            "MongoDB 6.0.9 or later does",
        ),
        Err(failure) => report.unknown("large events", &failure),
    }
    match preflight.knows(Feature::Images).await {
        Ok(true) => images(config, preflight, report).await,
        Ok(false) => report.missing(
            "images",
            "this server keeps no pre- and post-images",
            "MongoDB 6.0 or later does",
        ),
        Err(failure) => report.unknown("images", &failure),
    }
}

async fn images(config: &Config, preflight: &Preflight, report: &mut Report) {
    const NAME: &str = "images";
    let images = match preflight.images().await {
        Ok(images) => images,
        Err(failure) => return report.unknown(NAME, &failure),
    };
    let (with, without): (Vec<_>, Vec<_>) = images.iter().partition(|images| images.kept);
    let text = match (with.len(), without.len()) {
        (0, 0) if config.stream.scope.names().0 == "-" => {
            "asked for by database: name one with --db".to_owned()
        }
        (0, 0) => "no such collection yet".to_owned(),
        (_, 0) => format!("kept by {}", named(&with)),
        (0, _) => format!("not kept by {}", named(&without)),
        _ => format!("kept by {}, not by {}", named(&with), named(&without)),
    };
    let is_required = config.stream.full_document == Some(REQUIRED)
        || config.stream.full_document_before_change == Some(REQUIRED);
    match without.first() {
        Some(first) if is_required => report.bad(
            NAME,
            Failure::new(Kind::Refused, format!("{text}: the first change there ends the watch")).hint(format!(
                "in mongosh: db.runCommand({{collMod: {:?}, changeStreamPreAndPostImages: {{enabled: true}}}})",
                first.collection
            )),
        ),
        _ => report.good(NAME, text),
    }
}

/// The mode of both kinds of image that makes a missing one an error.
const REQUIRED: &str = "required";

fn named(images: &[&Images]) -> String {
    let mut names: Vec<&str> = images
        .iter()
        .take(NAMED)
        .map(|images| images.collection.as_str())
        .collect();
    let more = format!("{} more", images.len().saturating_sub(NAMED));
    if images.len() > NAMED {
        names.push(&more);
    }
    names.join(", ")
}

async fn resuming(
    config: &Config,
    preflight: &Preflight,
    saved: Option<&SavedCheckpoint>,
    report: &mut Report,
) {
    let now = preflight.deployment().operation_time;
    if let Some(SavedCheckpoint { path, checkpoint }) = saved {
        let set = preflight.deployment().set.as_deref();
        let from = time::rfc3339(checkpoint.token.time());
        let ago = now.map_or_else(String::new, |now| {
            format!(", {} ago", readable(between(checkpoint.token.time(), now)))
        });
        match checkpoint.ensure_deployment(path, set, now) {
            Err(failure) => report.bad("position", failure),
            Ok(()) => match preflight.resumes(&checkpoint.token).await {
                Ok(()) => report.good("position", format!("{from}{ago}, can be resumed")),
                Err(failure) => report.bad("position", failure),
            },
        }
    } else if config.resume_file.is_some() {
        report.good(
            "position",
            "none saved yet: a first run starts as --start says",
        );
    }
    headroom(preflight, saved, now, report).await;
}

/// How long a watch may be down. The oplog is a ring: what a position needs is overwritten once as much was written again as lies
/// between the oldest entry and it, which takes as long as before if writes go on as they did.
async fn headroom(
    preflight: &Preflight,
    saved: Option<&SavedCheckpoint>,
    now: Option<Timestamp>,
    report: &mut Report,
) {
    const NAME: &str = "headroom";
    let time = saved.map(|saved| saved.checkpoint.token.time()).or(now);
    match (preflight.oldest().await, time) {
        (Ok(Some(oldest)), Some(time)) if oldest <= time => {
            let headroom = between(oldest, time);
            report.good(
                NAME,
                format!(
                    "you may be down for {}: the oplog reaches back to {}",
                    readable(headroom),
                    time::rfc3339(oldest)
                ),
            );
            report.seconds(headroom);
        }
        (Ok(Some(oldest)), _) => {
            let oldest = time::rfc3339(oldest);
            let what = format!("none: the oplog reaches back to {oldest} only");
            report.missing(NAME, what, "see position above");
        }
        (Ok(None), _) => report.good(
            NAME,
            "nothing was overwritten yet: the oplog goes back to the set's beginning",
        ),
        (Err(failure), _) => report.unknown(NAME, &failure),
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_secs(later.time.saturating_sub(earlier.time).into())
}
