//! `cswatch health`: the health of a running watch, by the heartbeat next to its resume file.

use std::path::Path;
use std::time::Duration;

use crate::checkpoint::{self, Holder};
use crate::config::HealthConfig;
use crate::error::{Failure, Kind};
use crate::files::NeighborError;
use crate::telemetry::Heartbeat;
use crate::time::readable;

/// Returns one line about the watch if it is healthy.
///
/// # Errors
/// Exit code 1 when the watch is unhealthy or not running, 5 when the path cannot be that of a resume file.
pub(crate) fn check(config: &HealthConfig) -> Result<String, Failure> {
    let file = &checkpoint::resolve(&config.resume_file)?;
    let unreadable = |name: &str, error: NeighborError| {
        unhealthy(file, &format!("cannot read the {name} next to it: {error}"))
            .hint("run this as the same user as the watch")
    };
    let holder = checkpoint::holder_of(file).map_err(|error| unreadable("lock file", error))?;
    let heartbeat = Heartbeat::read(file).map_err(|error| unreadable("heartbeat", error))?;
    // A killed watch leaves its heartbeat, but not its lock.
    let (Holder::Process(pid), Some(heartbeat)) = (holder, heartbeat) else {
        return Err(unhealthy(file, "no watch is running with this resume file")
            .hint("start cswatch with --resume-file and the same path"));
    };
    // The next watch has the lock a moment before it removes that heartbeat.
    if let Some(pid) = pid.filter(|pid| *pid != heartbeat.pid) {
        return Err(not_connected(file, pid));
    }
    if let Some(ahead) = heartbeat.time_ahead() {
        return Err(unhealthy(
            file,
            &format!(
                "the heartbeat of pid {} is {} in the future",
                heartbeat.pid,
                readable(ahead)
            ),
        )
        .hint(
            "if the clock was set back, wait for the next heartbeat: a watch writes one every 5s",
        ));
    }
    let Some(age) = heartbeat.time_since_reply() else {
        return Err(not_connected(file, heartbeat.pid));
    };
    let last_reply = format!(
        "pid {} received the server's last reply {} ago",
        heartbeat.pid,
        readable(age)
    );
    let limit = config
        .max_silence
        .unwrap_or(Duration::from_millis(heartbeat.max_reply_age));
    if age > limit {
        let limit = match config.max_silence {
            Some(limit) => format!("--max-silence {}", readable(limit)),
            None => format!("{}, the limit of this watch", readable(limit)),
        };
        return Err(unhealthy(file, &format!("{last_reply}, more than {limit}"))
        .hint("see its messages on stderr; it may also be stopped, or the reader of its output is stuck"));
    }
    Ok(format!("healthy: {last_reply}\n"))
}

fn not_connected(file: &Path, pid: u32) -> Failure {
    unhealthy(file, &format!("pid {pid} has not reached a server yet"))
        .hint("see its messages on stderr")
}

fn unhealthy(file: &Path, why: &str) -> Failure {
    Failure::new(Kind::Other, format!("{}: {why}", file.display()))
}
