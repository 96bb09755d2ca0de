//! Throughput of each program on a backlog, and on one ten times as long. `cswatch` resumes from a checkpoint that it saved before the
//! backlog, as it does after a stop.

use std::fs;

use anyhow::{Result, ensure};
use sha2::{Digest as _, Sha256};
use testkit::guard;

use crate::backlog::{self, Backlog};
use crate::peers::Peers;
use crate::program::{self, Program, RESUME_FILE, Task};
use crate::progress;
use crate::run::{Finished, Running};
use crate::server::{DB, Server};
use crate::table::{Figures, print};

/// The programs measured with the backlog.
const ALL: &[Program] = &[
    Program::Floor,
    Program::Cswatch(1),
    Program::Cswatch(2),
    Program::Cswatch(4),
    Program::Pymongo,
    Program::Node,
];

/// The programs measured with the longer backlog. The peers would take half an hour.
const LONG: &[Program] = &[
    Program::Floor,
    Program::Cswatch(1),
    Program::Cswatch(2),
    Program::Cswatch(4),
];

/// Length of the longer backlog, relative to the other.
const LONG_FACTOR: u64 = 10;

/// Prints both tables.
pub(crate) fn measure(server: &Server, peers: &Peers, events: u64, rounds: usize) -> Result<()> {
    drain(server, peers, ALL, events, rounds)?;
    drain(server, peers, LONG, events * LONG_FACTOR, rounds)
}

fn drain(
    server: &Server,
    peers: &Peers,
    programs: &[Program],
    events: u64,
    rounds: usize,
) -> Result<()> {
    progress(&format!("writing a backlog of {events} events"));
    let coll = format!("backlog_{events}");
    let backlog = Backlog::write(server, coll, events, |number| backlog::order(number, ""))?;
    let checkpoint = checkpoint_before(server, &backlog)?;
    let run = |program: Program, take: &mut dyn FnMut(&[u8])| {
        let folder = guard::temp_dir("bench-");
        fs::write(folder.path().join(RESUME_FILE), &checkpoint)?;
        let uri = server.set.uri();
        let task = task(&uri, &backlog);
        let command = program.command(peers, &task, folder.path());
        Running::start(&command)?.drain(program.lines(&task), take)
    };
    let bytes = warm_up(programs, run)?;
    let mut figures: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (program, figures) in programs.iter().zip(&mut figures) {
            progress(&format!("round {round} of {rounds}: {}", program.name()));
            let before = server.cpu();
            let finished = run(*program, &mut |_| {})?;
            figures.push(Figures::of(&finished, server.cpu() - before, events));
        }
    }
    println!(
        "### Backlog of {events} events of {} bytes\n",
        bytes / events
    );
    let names: Vec<String> = programs.iter().map(|program| program.name()).collect();
    print("event", &names, &figures);
    Ok(())
}

/// Runs each program once without measuring it, so that the server's cache is warm in the first round too. Returns the number of bytes
/// of all events. Fails if several streams do not print exactly what one stream prints.
fn warm_up(
    programs: &[Program],
    run: impl Fn(Program, &mut dyn FnMut(&[u8])) -> Result<Finished>,
) -> Result<u64> {
    let mut bytes = Vec::new();
    run(Program::Floor, &mut |chunk| bytes.extend_from_slice(chunk))?;
    let mut printed = None;
    for program in programs {
        if let Program::Cswatch(_) = program {
            let mut digest = Sha256::new();
            run(*program, &mut |chunk| digest.update(chunk))?;
            let digest = digest.finalize();
            ensure!(
                *printed.get_or_insert(digest) == digest,
                "{} does not print the same as one stream",
                program.name()
            );
        }
    }
    Ok(String::from_utf8(bytes)?.trim().parse()?)
}

/// Returns the resume file of a `cswatch` that stopped before the backlog.
fn checkpoint_before(server: &Server, backlog: &Backlog) -> Result<Vec<u8>> {
    let folder = guard::temp_dir("bench-");
    let uri = server.set.uri();
    let command = program::stop_before(&task(&uri, backlog), folder.path());
    Running::start(&command)?.drain(0, |_| {})?;
    Ok(fs::read(folder.path().join(RESUME_FILE))?)
}

/// Returns the task of printing the whole backlog.
fn task<'a>(uri: &'a str, backlog: &'a Backlog) -> Task<'a> {
    Task {
        uri,
        db: DB,
        coll: &backlog.coll,
        start: backlog.start,
        count: backlog.events,
        by_line: false,
    }
}
