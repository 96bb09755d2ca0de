//! The measured programs and their command lines.

use std::ffi::OsString;
use std::path::Path;

use bson::Timestamp;
use testkit::events::as_start;
use testkit::programs;

use crate::peers::Peers;

/// Name of the resume file of `cswatch`, in the directory of its run.
pub(crate) const RESUME_FILE: &str = "resume.json";

/// A measured program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The bare driver.
    Floor,
    /// The bare driver, measured a second time. A difference no larger than between the two may be chance.
    FloorRepeated,
    /// `cswatch` with this number of `--catch-up-streams`, which saves its checkpoint every second.
    Cswatch(u32),
    /// pymongo, with the tutorial's script.
    Pymongo,
    /// The Node driver, with the tutorial's script.
    Node,
}

/// The events that a program has to print.
pub(crate) struct Task<'a> {
    pub(crate) uri: &'a str,
    pub(crate) db: &'a str,
    pub(crate) coll: &'a str,
    /// Cluster time at or after which the first event is.
    pub(crate) start: Timestamp,
    /// Number of events.
    pub(crate) count: u64,
    /// Whether each line is measured: then the program flushes each line, and the floor prints lines too.
    pub(crate) by_line: bool,
}

impl Program {
    /// Returns the name in the tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Floor => "floor: bare driver, raw events discarded".to_owned(),
            Self::FloorRepeated => "floor, repeated".to_owned(),
            Self::Cswatch(1) => "cswatch, one stream".to_owned(),
            Self::Cswatch(streams) => format!("cswatch, {streams} catch-up streams"),
            Self::Pymongo => "pymongo, `json_util.dumps`".to_owned(),
            Self::Node => "Node driver, `EJSON.stringify`".to_owned(),
        }
    }

    /// Returns the program and its arguments. `folder` is for its files.
    pub(crate) fn command(self, peers: &Peers, task: &Task<'_>, folder: &Path) -> Vec<OsString> {
        let mut command: Vec<OsString> = Vec::new();
        match self {
            Self::Floor | Self::FloorRepeated => {
                let this = std::env::current_exe().expect("the path of this program");
                command.extend([this.into(), "floor".into()]);
                if task.by_line {
                    command.push("--marks".into());
                }
            }
            Self::Cswatch(streams) => return cswatch(streams, task, folder),
            Self::Pymongo => {
                command.push(peers.python.clone().into());
                if task.by_line {
                    command.push("-u".into());
                }
                command.push(peers.python_script.clone().into());
            }
            Self::Node => {
                command.push(peers.node.clone().into());
                command.push(peers.node_script.clone().into());
            }
        }
        command.extend([task.uri.into(), task.db.into(), task.coll.into()]);
        let Timestamp { time, increment } = task.start;
        command.extend([time, increment].map(|half| half.to_string().into()));
        command.push(task.count.to_string().into());
        command
    }

    /// Returns the number of lines that it prints for the task.
    pub(crate) fn lines(self, task: &Task<'_>) -> u64 {
        match self {
            Self::Floor | Self::FloorRepeated if !task.by_line => 1,
            _ => task.count,
        }
    }
}

/// Returns the command of a `cswatch` that stops before the first event and saves a checkpoint there.
pub(crate) fn stop_before(task: &Task<'_>, folder: &Path) -> Vec<OsString> {
    let mut command = cswatch(1, task, folder);
    command.extend(["--until".into(), as_start(task.start).into()]);
    command
}

fn cswatch(streams: u32, task: &Task<'_>, folder: &Path) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![programs::cswatch().into()];
    let mut option = |name: &str, value: OsString| command.extend([name.into(), value]);
    option("--uri", task.uri.into());
    option("--db", task.db.into());
    option("--coll", task.coll.into());
    option("--start", as_start(task.start).into());
    option("--count", task.count.to_string().into());
    option("--resume-file", folder.join(RESUME_FILE).into());
    option("--catch-up-streams", streams.to_string().into());
    command
}
