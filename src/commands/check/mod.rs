//! `cswatch check`: asks what a watch would need, one fact after the other, in the order in which a watch would fail of it.
//! How the facts look is `report`'s.

mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::Timestamp;

use crate::error::{Failure, Kind};
use crate::flag_value;
use crate::output::{Found, OutputFile};
use crate::resume_file::{ResumeFile, Saved};
use crate::settings::Settings;
use crate::source::{Feature, Images, Probe};
use crate::telemetry::{Heartbeat, seconds};

pub use self::report::Report;

/// Names of collections in one line at most.
const NAMED: usize = 5;

/// Whether a watch with these settings would work.
pub async fn run(settings: &Settings) -> Report {
    let mut report = Report::default();
    let saved = position_file(settings, &mut report);
    output_file(settings, saved.as_ref(), &mut report);
    match Probe::connect(&settings.connection, settings.stream.clone()).await {
        Ok(probe) => {
            report.good("server", format!("{} answers", settings.connection.hosts()));
            deployment(settings, &probe, saved.as_ref(), &mut report).await;
            probe.close().await;
        }
        Err(failure) => report.bad("server", failure),
    }
    report
}

/// A position that was saved, and where.
struct Position {
    path: PathBuf,
    saved: Saved,
}

fn position_file(settings: &Settings, report: &mut Report) -> Option<Position> {
    const NAME: &str = "position file";
    let Some(path) = &settings.resume_file else {
        report.good(NAME, "none is kept (--no-resume)");
        return None;
    };
    match ResumeFile::look(path, &settings.stream) {
        Ok((path, Some(saved))) => {
            report.good(NAME, format!("{}{}", path.display(), kept_by(&path)));
            Some(Position { path, saved })
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

fn output_file(settings: &Settings, position: Option<&Position>, report: &mut Report) {
    const NAME: &str = "output file";
    let Some(path) = &settings.output.file else {
        return;
    };
    let mark = position.and_then(|position| position.saved.output.as_ref());
    let path_is = |what: &str| format!("{}{what}", path.display());
    match OutputFile::look(path, mark) {
        Ok(Found::File) => report.good(NAME, path_is("")),
        Ok(Found::Nothing) => report.good(NAME, path_is(", not there yet")),
        Ok(Found::InUse) => report.good(NAME, path_is(", in use by a watch")),
        Err(failure) => report.bad(NAME, failure),
    }
}

/// Who watches with the position file at `path`, if somebody does.
fn kept_by(path: &Path) -> String {
    match Heartbeat::read(path) {
        Ok(Some(heartbeat)) => match heartbeat.silence() {
            Some(silence) => format!(
                ", kept by pid {}, which heard the server {} ago",
                heartbeat.pid,
                seconds(silence)
            ),
            None => format!(", kept by pid {}", heartbeat.pid),
        },
        // Whoever wants to know for sure asks `cswatch health`.
        Ok(None) | Err(_) => String::new(),
    }
}

async fn deployment(
    settings: &Settings,
    probe: &Probe,
    position: Option<&Position>,
    report: &mut Report,
) {
    let deployment = probe.deployment();
    match (&deployment.set, deployment.sharded) {
        (Some(set), _) => report.good("replica set", set),
        (None, true) => report.good("replica set", "a sharded cluster, through mongos"),
        (None, false) => report.bad(
            "replica set",
            Failure::new(
                Kind::Refused,
                "a standalone server, which has no change streams",
            )
            .way_out("start mongod with --replSet rs0 and run rs.initiate() once"),
        ),
    }
    match probe.version().await {
        Ok(version) => report.good("version", format!("MongoDB {version}")),
        Err(failure) => report.unknown("version", &failure),
    }
    if deployment.set.is_none() && !deployment.sharded {
        return;
    }
    match probe.opens().await {
        Ok(()) => report.good(
            "stream",
            format!("{} can be watched", settings.stream.scope),
        ),
        Err(failure) => {
            report.bad("stream", failure);
            return;
        }
    }
    features(settings, probe, report).await;
    resuming(settings, probe, position, report).await;
}

async fn features(settings: &Settings, probe: &Probe, report: &mut Report) {
    match probe.knows(Feature::ExpandedEvents).await {
        Ok(true) => report.good("expanded events", "--expanded-events works"),
        Ok(false) => report.missing(
            "expanded events",
            "this server does not know --expanded-events",
            "MongoDB 6.0 or later does",
        ),
        Err(failure) => report.unknown("expanded events", &failure),
    }
    match probe.knows(Feature::SplitLargeEvents).await {
        Ok(true) => report.good("large events", "events above 16 MB come whole"),
        Ok(false) => report.missing(
            "large events",
            "this server does not know $changeStreamSplitLargeEvent: an event above 16 MB ends the watch with code 8",
            "MongoDB 6.0.9 or later does",
        ),
        Err(failure) => report.unknown("large events", &failure),
    }
    match probe.knows(Feature::Images).await {
        Ok(true) => images(settings, probe, report).await,
        Ok(false) => report.missing(
            "images",
            "this server keeps no pre- and post-images",
            "MongoDB 6.0 or later does",
        ),
        Err(failure) => report.unknown("images", &failure),
    }
}

async fn images(settings: &Settings, probe: &Probe, report: &mut Report) {
    const NAME: &str = "images";
    let images = match probe.images().await {
        Ok(images) => images,
        Err(failure) => return report.unknown(NAME, &failure),
    };
    let (with, without): (Vec<_>, Vec<_>) = images.iter().partition(|images| images.kept);
    let text = match (with.len(), without.len()) {
        (0, 0) if settings.stream.scope.names().0 == "-" => {
            "asked for by database: name one with --db".to_owned()
        }
        (0, 0) => "no such collection yet".to_owned(),
        (_, 0) => format!("kept by {}", named(&with)),
        (0, _) => format!("not kept by {}", named(&without)),
        _ => format!("kept by {}, not by {}", named(&with), named(&without)),
    };
    let is_required = settings.stream.full_document == Some(REQUIRED)
        || settings.stream.full_document_before_change == Some(REQUIRED);
    match without.first() {
        Some(first) if is_required => report.bad(
            NAME,
            Failure::new(Kind::Refused, format!("{text}: the first change there ends the watch")).way_out(format!(
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
    settings: &Settings,
    probe: &Probe,
    position: Option<&Position>,
    report: &mut Report,
) {
    let now = probe.deployment().operation_time;
    if let Some(Position { path, saved }) = position {
        let set = probe.deployment().set.as_deref();
        let from = flag_value::rfc3339(saved.token.time());
        let ago = now.map_or_else(String::new, |now| {
            format!(", {} ago", seconds(between(saved.token.time(), now)))
        });
        match saved.ensure_deployment(path, set, now) {
            Err(failure) => report.bad("position", failure),
            Ok(()) => match probe.resumes(&saved.token).await {
                Ok(()) => report.good("position", format!("{from}{ago}, can be resumed")),
                Err(failure) => report.bad("position", failure),
            },
        }
    } else if settings.resume_file.is_some() {
        report.good(
            "position",
            "none saved yet: a first run starts as --start says",
        );
    }
    headroom(probe, position, now, report).await;
}

/// How long a watch may be down. The oplog is a ring: what a position needs is overwritten once as much was written again as lies
/// between the oldest entry and it, which takes as long as before if writes go on as they did.
async fn headroom(
    probe: &Probe,
    position: Option<&Position>,
    now: Option<Timestamp>,
    report: &mut Report,
) {
    const NAME: &str = "headroom";
    let time = position.map(|position| position.saved.token.time()).or(now);
    match (probe.oldest().await, time) {
        (Ok(Some(oldest)), Some(time)) if oldest <= time => {
            let headroom = between(oldest, time);
            report.good(
                NAME,
                format!(
                    "you may be down for {}: the oplog reaches back to {}",
                    seconds(headroom),
                    flag_value::rfc3339(oldest)
                ),
            );
            report.seconds(headroom);
        }
        (Ok(Some(oldest)), _) => {
            let oldest = flag_value::rfc3339(oldest);
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
