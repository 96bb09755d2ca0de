//! How long after its start a program has printed an event that was waiting for it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testkit::guard;

use crate::backlog::{self, Backlog};
use crate::median::{median, sorted};
use crate::peers::Peers;
use crate::program::{POSITION, Program, Task};
use crate::run::Running;
use crate::say;
use crate::server::{DB, Server};

const PROGRAMS: &[Program] = &[
    Program::Floor,
    Program::Cswatch(1),
    Program::Cswatch(2),
    Program::Pymongo,
    Program::Node,
];

/// Runs of a few dozen milliseconds are cheap, and scatter.
const TIMES: usize = 4;

/// Prints the table.
pub(crate) fn measure(server: &Server, peers: &Peers, rounds: usize) -> Result<()> {
    say("start to first line");
    let coll = "first_line".to_owned();
    let backlog = Backlog::written(server, coll, 2, |number| backlog::order(number, "first"))?;
    let uri = server.set.uri();
    let task = |count| Task {
        uri: &uri,
        db: DB,
        coll: &backlog.coll,
        start: backlog.start,
        count,
        by_line: true,
    };
    // A first run leaves a position, and the measured ones go on behind it.
    let first = guard::temp_dir("kept-");
    let command = Program::Cswatch(1).command(peers, &task(1), first.path());
    Running::start(&command)?.drain(1, |_| {})?;
    let position = fs::read(first.path().join(POSITION))?;

    let mut times: Vec<(String, Vec<Duration>)> = Vec::new();
    for _ in 0..rounds * TIMES {
        let mut row = 0;
        let mut note = |name: String, time: Duration| {
            if row == times.len() {
                times.push((name, Vec::new()));
            }
            times[row].1.push(time);
            row += 1;
        };
        for program in PROGRAMS {
            let name = program.name();
            if let Program::Cswatch(_) = program {
                let resume = |folder: &Path| fs::write(folder.join(POSITION), &position);
                let time = first_line(peers, *program, &task(1), resume)?;
                note(format!("{name}, resumed"), time);
                let time = first_line(peers, *program, &task(1), |_| Ok(()))?;
                note(format!("{name}, first run"), time);
            } else {
                note(name, first_line(peers, *program, &task(1), |_| Ok(()))?);
            }
        }
    }
    println!("### From start to the first line of a waiting event, in milliseconds\n");
    println!("| program | median | (lowest to highest) | beyond the floor |\n|---|--:|--:|--:|");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let floor = millis(median(times[0].1.iter().copied()));
    for (name, times) in times {
        let times = sorted(times);
        let (least, most) = (millis(times[0]), millis(times[times.len() - 1]));
        let time = millis(median(times));
        println!(
            "| {name} | {time:.1} | {least:.1} to {most:.1} | {:.1} |",
            time - floor
        );
    }
    println!();
    Ok(())
}

/// From the start of the process to its first line, read.
fn first_line(
    peers: &Peers,
    program: Program,
    task: &Task<'_>,
    prepare: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<Duration> {
    let folder = guard::temp_dir("kept-");
    prepare(folder.path())?;
    let mut running = Running::start(&program.command(peers, task, folder.path()))?;
    let mut line = Vec::new();
    BufReader::new(running.stdout()).read_until(b'\n', &mut line)?;
    let time = running.started().elapsed();
    running.drain(0, |_| {})?;
    Ok(time)
}
