//! The start of a watch: connects, chooses the token to start after, and saves the first checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use bson::{Document, Timestamp, doc};

use crate::checkpoint::{CheckpointTracker, ResumeFile};
use crate::config::{Config, Start, StopConfig, When};
use crate::error::Failure;
use crate::shell_syntax;
use crate::sink::{self, Limits, LineStyle, Proof, Until, Writer};
use crate::snapshot::SnapshotProgress;
use crate::source::{ClusterClock, Deployment, Source};
use crate::telemetry::{HeartbeatFile, Monitor, Telemetry};
use crate::threads;
use crate::time;
use crate::token::ResumeToken;

use super::files::{Files, OpenFiles};

/// A watch that is ready to read and write.
pub(super) struct PreparedWatch {
    pub(super) source: Source,
    /// The token to start after.
    pub(super) token: ResumeToken,
    /// How far the snapshot has come that the watch is to read; `None` if there is none to read.
    pub(super) snapshot: Option<SnapshotProgress>,
    pub(super) tracker: Arc<CheckpointTracker>,
    /// The resume file that the tracker saves to.
    pub(super) resume_path: Option<PathBuf>,
    pub(super) writer: Writer,
}

/// Connects, chooses the token to start after, and saves the first checkpoint.
///
/// # Errors
/// Exit code 7 when no server can be reached, 8 when it refuses, 5 for the resume file, 6 for the output, 3 for lost history.
pub(super) async fn prepare(
    config: &Arc<Config>,
    files: Files,
    telemetry: &Telemetry,
    monitor: &mut Monitor<ClusterClock>,
) -> Result<PreparedWatch, Failure> {
    let is_unchosen = matches!(files, Files::Unchosen { .. });
    let mut write_heartbeats = |file: Option<&ResumeFile>| match file {
        Some(file) => monitor.write_heartbeats(telemetry, HeartbeatFile::next_to(file.path())?),
        None => Ok(()),
    };
    // Before connecting, so that a watch that waits for its server can be seen.
    if let Files::Open(files) = &files {
        write_heartbeats(files.resume_file.as_ref())?;
    }
    let mut source = Source::connect(
        &config.connection,
        &config.stream,
        config.policies,
        config.catch_up_streams,
        telemetry.clone(),
    )
    .await?;
    let OpenFiles {
        mut resume_file,
        saved,
        output,
    } = threads::run("opening", {
        let config = Arc::clone(config);
        let deployment = source.deployment().clone();
        move || files.choose(&config, &deployment)
    })
    .await??;
    if is_unchosen {
        write_heartbeats(resume_file.as_ref())?;
    }
    if let Some(time) = latest_start(
        config,
        saved.as_ref().map(|saved| saved.token.time()),
        source.deployment(),
    ) {
        source.update_cluster_time(time).await;
    }
    if let Some(file) = &mut resume_file {
        let deployment = source.deployment();
        let mut identity = deployment.identity.clone();
        if let Some(saved) = &saved {
            saved.ensure_deployment(file.path(), &identity, deployment.cluster_time)?;
            identity = identity.completed_by(&saved.deployment);
        }
        file.set_deployment(identity);
    }
    if let Some(Start::After(token)) = &config.start {
        ensure_not_ahead(token, source.deployment())?;
    }
    let mut saved_token = saved.as_ref().map(|saved| saved.token.clone());
    if let (Some(Start::After(token)), Some(saved_token)) = (&config.start, &mut saved_token)
        && config.output.file.is_some()
        && !token.is_after(saved_token)
    {
        // Lines after the saved length must be later than the saved token.
        *saved_token = token.clone();
    }
    let resume_path = resume_file.as_ref().map(|file| file.path().to_owned());
    let token = match (&config.start, &saved) {
        (Some(Start::After(token)), Some(_)) => token.clone(),
        (Some(Start::At(_)) | None, Some(saved)) => saved.token.clone(),
        (start, None) => {
            let start = start.as_ref().unwrap_or(&Start::At(When::Now));
            source.first_token(start).await?
        }
    };
    let place = resume_path.as_ref().map(|path| CheckpointPlace {
        name: path.display().to_string(),
        option: "--resume-file",
    });
    match &place {
        Some(place) => {
            let note = match &saved {
                Some(saved) if !saved.same_filter => ", saved with another filter or other options",
                _ => "",
            };
            let saved = saved.as_ref().map(|saved| &saved.token);
            report_start(config.start.as_ref(), saved, &token, place, note);
        }
        None => report_start_without_file(config.start.as_ref(), &token),
    }
    log_pipeline(config);
    let progress = match &saved {
        Some(saved) => saved.snapshot.clone(),
        None => config.snapshot.then_some(SnapshotProgress::Begun),
    };
    if let (Some(saved), Some(place)) = (&saved, &place) {
        report_snapshot(config.snapshot, saved.snapshot.as_ref(), place);
    }
    let snapshot = left_to_read(config, progress.as_ref(), telemetry);
    let limits = limits(config.stop, &source, &token, snapshot.is_some()).await;
    let tracker = Arc::new(CheckpointTracker::new(
        resume_file,
        config.save_interval,
        saved_token,
        token.clone(),
        progress,
        telemetry.clone(),
    ));
    let style = LineStyle {
        mode: config.output.mode,
        pretty: config.output.pretty,
        color: config.output.pretty && sink::is_colored(config.output.color),
    };
    let telemetry = telemetry.clone();
    let mut writer = Writer::new(output, style, limits, Arc::clone(&tracker), telemetry);
    // Saved at every start: after a crash before the first event, the next run must still start here; until a checkpoint knows the output
    // file, its new lines cannot be distinguished from another program's; and a resume file that cannot be replaced is found at once.
    tracker.mark_unsaved();
    let writer = threads::run("first save", {
        let tracker = Arc::clone(&tracker);
        move || {
            writer.save()?;
            tracker.ensure_saved()?;
            Ok(writer)
        }
    })
    .await??;
    Ok(PreparedWatch {
        source,
        token,
        snapshot,
        tracker,
        resume_path,
        writer,
    })
}

/// Where a checkpoint is kept, for messages.
pub(super) struct CheckpointPlace {
    /// The resume file, or the stream.
    pub(super) name: String,
    /// The option that names another one.
    pub(super) option: &'static str,
}

/// Reports where the stream starts or resumes. `saved` is the token of the checkpoint at `place`, and `note` what else there is to say about it.
pub(super) fn report_start(
    start: Option<&Start>,
    saved: Option<&ResumeToken>,
    token: &ResumeToken,
    place: &CheckpointPlace,
    note: &str,
) {
    let time = time::rfc3339(token.time());
    let CheckpointPlace { name, option } = place;
    match (start, saved) {
        (Some(Start::After(_)), None) => {
            tracing::info!("no checkpoint yet, starting after {time} ({name})");
        }
        (Some(Start::After(_)), Some(saved)) => {
            let saved = time::rfc3339(saved.time());
            tracing::info!("starting after {time} instead of the checkpoint's {saved} ({name})");
        }
        (None | Some(Start::At(When::Now)), None) => {
            tracing::info!("no checkpoint yet, starting at now ({name})");
        }
        (Some(Start::At(When::Earliest)), None) => {
            let earliest = earliest(token);
            tracing::info!("no checkpoint yet, starting at {earliest} ({name})");
        }
        (Some(Start::At(_)), None) => {
            tracing::info!("no checkpoint yet, starting at {time} ({name})");
        }
        (_, Some(_)) => {
            tracing::info!("resuming after {time} ({name}){note}");
            if start.is_some() {
                tracing::info!(
                    hint = format!("use --start-after TOKEN, or another {option}"),
                    "--start is ignored because there is a checkpoint"
                );
            }
        }
    }
}

/// Reports what becomes of a snapshot if there is a checkpoint, which holds its progress. `is_wanted` is whether `--snapshot` was given.
pub(super) fn report_snapshot(
    is_wanted: bool,
    progress: Option<&SnapshotProgress>,
    place: &CheckpointPlace,
) {
    match (is_wanted, progress) {
        (true, None) => tracing::info!(
            hint = format!("give another {} to begin with a snapshot", place.option),
            "--snapshot is ignored because there is a checkpoint"
        ),
        (true, Some(SnapshotProgress::Finished)) => {
            tracing::info!("the snapshot is complete and is not repeated");
        }
        (true, Some(SnapshotProgress::At(position))) => {
            tracing::info!("continuing the snapshot in {}", position.collection);
        }
        (false, Some(SnapshotProgress::Begun | SnapshotProgress::At(_))) => tracing::warn!(
            hint = "add --snapshot to complete it",
            "the snapshot is incomplete, and without --snapshot it stays so"
        ),
        (true, Some(SnapshotProgress::Begun))
        | (false, Some(SnapshotProgress::Finished) | None) => {}
    }
}

/// Returns how far a snapshot has come of which something is left to read. One that is complete is recorded.
pub(super) fn left_to_read(
    config: &Config,
    progress: Option<&SnapshotProgress>,
    telemetry: &Telemetry,
) -> Option<SnapshotProgress> {
    if progress == Some(&SnapshotProgress::Finished) {
        telemetry.snapshot_finished();
        return None;
    }
    progress.filter(|_| config.snapshot).cloned()
}

/// Reports where the stream starts if there is no resume file. That it starts now needs no message.
fn report_start_without_file(start: Option<&Start>, token: &ResumeToken) {
    let time = time::rfc3339(token.time());
    match start {
        None | Some(Start::At(When::Now)) => {}
        Some(Start::At(When::Earliest)) => tracing::info!("starting at {}", earliest(token)),
        Some(Start::At(_)) => tracing::info!("starting at {time}"),
        Some(Start::After(_)) => tracing::info!("starting after {time}"),
    }
}

/// Logs the pipeline, with `-v`.
pub(super) fn log_pipeline(config: &Config) {
    let command = config.stream.aggregate(Document::new(), 0);
    let pipeline = doc! { "pipeline": command.get("pipeline") };
    tracing::debug!(
        "opening the stream with {}",
        shell_syntax::to_shell_line(&pipeline)
    );
}

/// Returns the oldest time in the oplog, where a stream that starts after `token` begins.
fn earliest(token: &ResumeToken) -> String {
    match token.time().time {
        // A stream that starts at any time before the first entry.
        0..=1 => "the beginning of the oplog".to_owned(),
        _ => format!(
            "{}, the oldest time in the oplog",
            time::rfc3339(token.time())
        ),
    }
}

/// Returns the latest time that the stream may start at: that of the checkpoint or of the command line.
pub(super) fn latest_start(
    config: &Config,
    saved: Option<Timestamp>,
    deployment: &Deployment,
) -> Option<Timestamp> {
    let start = match &config.start {
        Some(Start::After(token)) => Some(token.time()),
        Some(Start::At(when)) => deployment.cluster_time.map(|now| when.begins_at(now)),
        None => None,
    };
    start.max(saved)
}

/// Fails if the token given by `--start-after` is ahead of the server, which would silently skip events up to it (measured on MongoDB
/// 6.0.27).
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
pub(super) async fn limits(
    stop: StopConfig,
    source: &Source,
    token: &ResumeToken,
    is_scanning: bool,
) -> Limits {
    let deployment = source.deployment();
    let mut limits = Limits {
        count: stop.count,
        until: None,
        scanning_since: is_scanning.then(|| token.clone()),
    };
    // A server without a cluster time has no change streams either; opening the stream reports that.
    if let Some((when, now)) = stop.until.zip(deployment.now()) {
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
