//! `cswatch health`: whether a watch is well, by the sign of life beside its position file.

use std::path::Path;

use crate::cli;
use crate::error::{Failure, Kind};
use crate::flag_value;
use crate::resume_file;
use crate::telemetry::{Heartbeat, seconds};

/// One line on a watch that is well.
///
/// # Errors
/// Exit code 1 when it is not, 2 when the duration is none, 5 when the path cannot be a position file's.
pub fn check(args: &cli::Health) -> Result<String, Failure> {
    let max_silence = flag_value::duration("--max-silence", &args.max_silence)?;
    let file = &resume_file::resolve(&args.resume_file)?;
    let heartbeat = Heartbeat::read(file).map_err(|error| {
        unwell(file, &format!("its sign of life cannot be read: {error}"))
            .way_out("run this as the user that the watch runs as")
    })?;
    let Some(heartbeat) = heartbeat else {
        return Err(unwell(file, "nobody watches with this position file")
            .way_out("start cswatch with this --resume-file, by the same path"));
    };
    let Some(silence) = heartbeat.silence() else {
        return Err(unwell(
            file,
            &format!("pid {} has not reached a server yet", heartbeat.pid),
        ));
    };
    let said = format!(
        "pid {} heard the server {} ago",
        heartbeat.pid,
        seconds(silence)
    );
    if silence > max_silence {
        return Err(unwell(
            file,
            &format!("{said}, longer than --max-silence {}", args.max_silence),
        )
        .way_out("its messages say why; it may also have ended, or nobody takes its lines"));
    }
    Ok(format!("well: {said}\n"))
}

fn unwell(file: &Path, why: &str) -> Failure {
    Failure::new(Kind::Other, format!("{}: {why}", file.display()))
}
