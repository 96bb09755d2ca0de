//! `cswatch health`: the health of a running watch, by the heartbeat next to its resume file.

use std::path::Path;
use std::time::Duration;

use crate::checkpoint;
use crate::config::HealthConfig;
use crate::error::{Failure, Kind};
use crate::telemetry::Heartbeat;
use crate::time::readable;

/// Returns one line about the watch if it is healthy.
///
/// # Errors
/// Exit code 1 when the watch is unhealthy or not running, 5 when the path cannot be that of a resume file.
pub(crate) fn check(config: &HealthConfig) -> Result<String, Failure> {
    let file = &checkpoint::resolve(&config.resume_file)?;
    let heartbeat = Heartbeat::read(file).map_err(|error| {
        unhealthy(
            file,
            &format!("cannot read the heartbeat next to it: {error}"),
        )
        .hint("run this as the same user as the watch")
    })?;
    let Some(heartbeat) = heartbeat else {
        return Err(unhealthy(file, "no watch is running with this resume file")
            .hint("start cswatch with --resume-file and the same path"));
    };
    let Some(age) = heartbeat.time_since_reply() else {
        return Err(unhealthy(
            file,
            &format!("pid {} has not reached a server yet", heartbeat.pid),
        ));
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
        .hint("see its messages on stderr; it may also have been killed, or the reader of its output is stuck"));
    }
    Ok(format!("healthy: {last_reply}\n"))
}

fn unhealthy(file: &Path, why: &str) -> Failure {
    Failure::new(Kind::Other, format!("{}: {why}", file.display()))
}
