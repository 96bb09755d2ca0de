//! The programs that are measured, and how each is told what to print.

use std::ffi::OsString;
use std::path::Path;

use bson::Timestamp;
use testkit::events::as_start;
use testkit::programs;

use crate::peers::Peers;

/// Where `cswatch` keeps its position, in the folder that it is given.
pub(crate) const POSITION: &str = "position.json";

/// A program under measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The bare driver.
    Floor,
    /// The bare driver once more: what differs from it by as much may be chance.
    FloorAgain,
    /// `cswatch` with `--catch-up-streams`, its position saved every second.
    Cswatch(u32),
    /// The tutorial's script.
    Pymongo,
    /// The same for Node.
    Node,
}

/// What is to be printed.
pub(crate) struct Task<'a> {
    pub(crate) uri: &'a str,
    pub(crate) db: &'a str,
    pub(crate) coll: &'a str,
    /// The first event is the first one at or after it.
    pub(crate) start: Timestamp,
    /// Events until the end.
    pub(crate) count: u64,
    /// Whether each line matters by itself: then it leaves the program at once, and the floor prints lines too.
    pub(crate) by_line: bool,
}

impl Program {
    /// As it stands in the tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Floor => "floor: the same driver, raw, discarded".to_owned(),
            Self::FloorAgain => "the floor once more".to_owned(),
            Self::Cswatch(1) => "cswatch, one stream".to_owned(),
            Self::Cswatch(streams) => format!("cswatch, {streams} catch-up streams"),
            Self::Pymongo => "pymongo, `json_util.dumps`".to_owned(),
            Self::Node => "Node driver, `EJSON.stringify`".to_owned(),
        }
    }

    /// Program and arguments. `folder` is for what it keeps.
    pub(crate) fn command(self, peers: &Peers, task: &Task<'_>, folder: &Path) -> Vec<OsString> {
        let mut command: Vec<OsString> = Vec::new();
        match self {
            Self::Floor | Self::FloorAgain => {
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

    /// Lines that it prints for the task.
    pub(crate) fn lines(self, task: &Task<'_>) -> u64 {
        match self {
            Self::Floor | Self::FloorAgain if !task.by_line => 1,
            _ => task.count,
        }
    }
}

/// A first run of `cswatch` that ends before the first event and leaves a position there.
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
    option("--resume-file", folder.join(POSITION).into());
    option("--catch-up-streams", streams.to_string().into());
    command
}
