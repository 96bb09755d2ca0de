//! A backlog read to its end by each program in turn, and one ten times as long. `cswatch` goes on from a position that it saved before
//! the backlog was there, as it does after a stop.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use sha2::{Digest as _, Sha256};
use testkit::guard;

use crate::backlog::{self, Backlog};
use crate::median::{median, sorted};
use crate::peers::Peers;
use crate::program::{self, POSITION, Program, Task};
use crate::run::{Finished, Running};
use crate::say;
use crate::server::{DB, Server};

/// What is measured with the backlog.
const ALL: &[Program] = &[
    Program::Floor,
    Program::Cswatch(1),
    Program::Cswatch(2),
    Program::Cswatch(4),
    Program::Pymongo,
    Program::Node,
];

/// What is measured with the longer one. The peers would take half an hour.
const LONG: &[Program] = &[
    Program::Floor,
    Program::Cswatch(1),
    Program::Cswatch(2),
    Program::Cswatch(4),
];

/// How much longer that one is.
const TIMES: u64 = 10;

/// One run of one program.
struct Figures {
    events_per_second: f64,
    /// Microseconds of CPU for each event: of the program, and of the server meanwhile.
    cpu: f64,
    server_cpu: f64,
    /// Megabytes (2^20).
    peak: f64,
}

/// Prints both tables.
pub(crate) fn measure(server: &Server, peers: &Peers, events: u64, rounds: usize) -> Result<()> {
    drain(server, peers, ALL, events, rounds)?;
    drain(server, peers, LONG, events * TIMES, rounds)
}

fn drain(
    server: &Server,
    peers: &Peers,
    programs: &[Program],
    events: u64,
    rounds: usize,
) -> Result<()> {
    say(&format!("writing a backlog of {events} events"));
    let coll = format!("backlog_{events}");
    let backlog = Backlog::written(server, coll, events, |number| backlog::order(number, ""))?;
    let position = position_before(server, &backlog)?;
    let run = |program: Program, take: &mut dyn FnMut(&[u8])| {
        let folder = guard::temp_dir("kept-");
        fs::write(folder.path().join(POSITION), &position)?;
        let uri = server.set.uri();
        let task = task(&uri, &backlog);
        let command = program.command(peers, &task, folder.path());
        Running::start(&command)?.drain(program.lines(&task), take)
    };
    let bytes = warm_up(programs, run)?;
    let mut figures: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (program, figures) in programs.iter().zip(&mut figures) {
            say(&format!("round {round} of {rounds}: {}", program.name()));
            let before = server.cpu();
            let Finished { time, usage } = run(*program, &mut |_| {})?;
            let server_cpu = server.cpu() - before;
            let each = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
            figures.push(Figures {
                events_per_second: events as f64 / time.as_secs_f64(),
                cpu: each(usage.cpu),
                server_cpu: each(server_cpu),
                peak: usage.peak as f64 / f64::from(1 << 20),
            });
        }
    }
    println!(
        "### A backlog of {events} events of {} bytes\n",
        bytes / events
    );
    print(programs, &figures);
    Ok(())
}

/// One run each that is not measured, so that the first round finds the server's cache as the others do. Gives back the bytes of all
/// events, and sees to it that streams side by side print what one prints.
fn warm_up(
    programs: &[Program],
    run: impl Fn(Program, &mut dyn FnMut(&[u8])) -> Result<Finished>,
) -> Result<u64> {
    let mut bytes = Vec::new();
    run(Program::Floor, &mut |piece| bytes.extend_from_slice(piece))?;
    let mut printed = None;
    for program in programs {
        if let Program::Cswatch(_) = program {
            let mut digest = Sha256::new();
            run(*program, &mut |piece| digest.update(piece))?;
            let digest = digest.finalize();
            ensure!(
                *printed.get_or_insert(digest) == digest,
                "{} does not print what one stream prints",
                program.name()
            );
        }
    }
    Ok(String::from_utf8(bytes)?.trim().parse()?)
}

/// The position file of a `cswatch` that stopped before the backlog.
fn position_before(server: &Server, backlog: &Backlog) -> Result<Vec<u8>> {
    let folder = guard::temp_dir("kept-");
    let uri = server.set.uri();
    let command = program::stop_before(&task(&uri, backlog), folder.path());
    Running::start(&command)?.drain(0, |_| {})?;
    Ok(fs::read(folder.path().join(POSITION))?)
}

/// To print all of a backlog.
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

fn print(programs: &[Program], figures: &[Vec<Figures>]) {
    let of = |index: usize, figure: fn(&Figures) -> f64| median(figures[index].iter().map(figure));
    let floor_rate = of(0, |figures| figures.events_per_second);
    let floor_cpu = of(0, |figures| figures.cpu);
    println!(
        "| program | events/s | (lowest to highest) | of the floor | CPU µs/event | of the floor | peak RSS MiB | server CPU µs/event |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (index, program) in programs.iter().enumerate() {
        let rates = sorted(
            figures[index]
                .iter()
                .map(|figures| figures.events_per_second),
        );
        let rate = of(index, |figures| figures.events_per_second);
        let cpu = of(index, |figures| figures.cpu);
        println!(
            "| {} | {rate:.0} | {:.0} to {:.0} | {:.2} | {cpu:.2} | {:.1} | {:.1} | {:.1} |",
            program.name(),
            rates[0],
            rates[rates.len() - 1],
            rate / floor_rate,
            cpu / floor_cpu,
            of(index, |figures| figures.peak),
            of(index, |figures| figures.server_cpu),
        );
    }
    println!();
}
