//! How long after a write its line is there: from the start of an acknowledged insert to the line read from the program's pipe, on
//! one clock, while inserts go on at a steady rate.

use std::io::{BufRead as _, BufReader};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bson::Document;
use testkit::guard;
use testkit::runtime::runtime;
use tokio::time::MissedTickBehavior;

use crate::backlog;
use crate::median::{median, quantile, sorted};
use crate::peers::Peers;
use crate::program::{Program, Task};
use crate::run::Running;
use crate::say;
use crate::server::{DB, Server};

/// A steady load.
struct Load {
    /// Writes per second.
    rate: u32,
    /// Who is measured under it.
    programs: &'static [Program],
    /// Whether all of them watch the same writes at the same time, instead of one after another: it takes more of the machine, and
    /// leaves out what differs from run to run.
    at_a_time: bool,
}

const LOADS: &[Load] = &[
    Load {
        rate: 300,
        programs: &[
            Program::Floor,
            Program::Cswatch(2),
            Program::Pymongo,
            Program::Node,
        ],
        at_a_time: false,
    },
    Load {
        rate: 1000,
        programs: &[Program::Floor, Program::Cswatch(2), Program::FloorAgain],
        at_a_time: false,
    },
    Load {
        rate: 1000,
        programs: &[Program::Floor, Program::Cswatch(2), Program::FloorAgain],
        at_a_time: true,
    },
];

/// How long each run lasts.
const SECONDS: u32 = 10;

/// Before the time since [`EPOCH`] in a document's mark, to find it in a line of any style.
const MARK: &str = "sent@";

/// All times are counted from here.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds of one run that a part of the lines stays below.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// Prints a table for each load.
pub(crate) fn measure(server: &Server, peers: &Peers, rounds: usize) -> Result<()> {
    for load in LOADS {
        let name = load.name();
        let mut figures: Vec<Vec<Figures>> = load.programs.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            say(&format!("round {round} of {rounds}: {name}"));
            let of_round = if load.at_a_time {
                run(server, peers, load.programs, load.rate)?
            } else {
                let runs = load.programs.chunks(1);
                let runs: Result<Vec<_>> = runs
                    .map(|alone| run(server, peers, alone, load.rate))
                    .collect();
                runs?.concat()
            };
            for (figures, of_program) in figures.iter_mut().zip(of_round) {
                figures.push(of_program);
            }
        }
        println!("### From write to line at {name}, in milliseconds\n");
        println!("| program | p50 | p90 | p99 |\n|---|--:|--:|--:|");
        for (program, figures) in load.programs.iter().zip(&figures) {
            let of = |figure: fn(&Figures) -> f64| median(figures.iter().map(figure)) / 1000.0;
            let (p50, p90, p99) = (of(|f| f.p50), of(|f| f.p90), of(|f| f.p99));
            println!("| {} | {p50:.2} | {p90:.2} | {p99:.2} |", program.name());
        }
        println!();
    }
    Ok(())
}

impl Load {
    fn name(&self) -> String {
        let rate = self.rate;
        let how = if self.at_a_time {
            ", all at a time"
        } else {
            ""
        };
        format!("{rate} writes/s{how}")
    }
}

/// Has `programs` watch the same writes.
fn run(server: &Server, peers: &Peers, programs: &[Program], rate: u32) -> Result<Vec<Figures>> {
    let writes = u64::from(rate * SECONDS);
    let folders: Vec<_> = programs.iter().map(|_| guard::temp_dir("kept-")).collect();
    let task = Task {
        uri: &server.set.uri(),
        db: DB,
        coll: "latency",
        start: server.set.operation_time(),
        // One more, to know that the stream is open.
        count: writes + 1,
        by_line: true,
    };
    let running: Result<Vec<_>> = programs
        .iter()
        .zip(&folders)
        .map(|(program, folder)| Running::start(&program.command(peers, &task, folder.path())))
        .collect();
    let running = running?;
    let writer = server.set.client().database(DB).collection(task.coll);
    let writing = runtime().spawn(async move {
        writer.insert_one(marked(0)).await?;
        // Until the stream is open and what it takes at first is over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        write(writer, writes, rate).await
    });
    let figures = thread::scope(|scope| {
        let readers: Vec<_> = running
            .into_iter()
            .map(|running| scope.spawn(move || read(running, writes)))
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().expect("a reader does not panic"))
            .collect()
    });
    runtime().block_on(writing)??;
    figures
}

/// Takes the time of each line but the first.
fn read(mut running: Running, writes: u64) -> Result<Figures> {
    let mut latencies = Vec::new();
    let mut lines = BufReader::new(running.stdout());
    let mut line = Vec::new();
    while latencies.len() as u64 <= writes {
        line.clear();
        anyhow::ensure!(lines.read_until(b'\n', &mut line)? > 0, "it has ended");
        latencies.push((micros_now() - sent_at(&line)?) as f64);
    }
    drop(lines);
    running.drain(0, |_| {})?;
    let latencies = sorted(latencies.split_off(1));
    Ok(Figures {
        p50: quantile(&latencies, 0.5),
        p90: quantile(&latencies, 0.9),
        p99: quantile(&latencies, 0.99),
    })
}

/// Inserts at a steady rate, whether or not the inserts before were acknowledged.
async fn write(
    target: mongodb::Collection<Document>,
    writes: u64,
    rate: u32,
) -> mongodb::error::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut inserts = tokio::task::JoinSet::new();
    for number in 1..=writes {
        ticks.tick().await;
        let target = target.clone();
        inserts.spawn(async move { target.insert_one(marked(number)).await });
    }
    while let Some(insert) = inserts.join_next().await {
        insert.expect("an insert does not panic")?;
    }
    Ok(())
}

/// An order that tells when it was sent.
fn marked(number: u64) -> Document {
    backlog::order(number, &format!("{MARK}{}", micros_now()))
}

fn micros_now() -> u64 {
    EPOCH.elapsed().as_micros() as u64
}

/// From a line that holds a mark.
fn sent_at(line: &[u8]) -> Result<u64> {
    let line = std::str::from_utf8(line)?;
    let (_, mark) = line.split_once(MARK).context("a mark")?;
    let end = mark.find(|c: char| !c.is_ascii_digit());
    Ok(mark[..end.unwrap_or(mark.len())].parse()?)
}
