//! `cswatch health`: whether a watch is healthy, by the heartbeat next to its resume file.

use std::path::Path;

use crate::checkpoint;
use crate::config::HealthConfig;
use crate::error::{Failure, Kind};
use crate::telemetry::Heartbeat;
use crate::time::readable;

/// Returns one line about a healthy watch.
///
/// # Errors
/// Exit code 1 when it is unhealthy, 5 when the path cannot be a resume file's.
pub(crate) fn check(config: &HealthConfig) -> Result<String, Failure> {
    let file = &checkpoint::resolve(&config.resume_file)?;
    let heartbeat = Heartbeat::read(file).map_err(|error| {
        unhealthy(file, &format!("cannot read its heartbeat: {error}"))
            .hint("run this as the same user as the watch")
    })?;
    let Some(heartbeat) = heartbeat else {
        return Err(unhealthy(file, "no watch is running with this resume file")
            .hint("start cswatch with this --resume-file, by the same path"));
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
    if age > config.max_silence {
        return Err(unhealthy(
            file,
            &format!(
                "{last_reply}, longer than --max-silence {}",
                readable(config.max_silence)
            ),
        )
        .hint("its messages say why; it may also have ended, or nothing reads its output"));
    }
    Ok(format!("healthy: {last_reply}\n"))
}

fn unhealthy(file: &Path, why: &str) -> Failure {
    Failure::new(Kind::Other, format!("{}: {why}", file.display()))
}
