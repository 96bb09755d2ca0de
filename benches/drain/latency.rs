//! Latency from a write to its line: from the start of an acknowledged insert until the line is read from the program's pipe, on one
//! clock, under a steady rate of inserts.

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
use crate::progress;
use crate::run::Running;
use crate::server::{DB, Server};

/// A steady load.
struct Load {
    /// Writes per second.
    rate: u32,
    /// The programs measured under this load.
    programs: &'static [Program],
    /// Whether the programs run concurrently and watch the same writes, instead of one after another. This loads the machine more, but
    /// excludes differences between runs.
    concurrent: bool,
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
        concurrent: false,
    },
    Load {
        rate: 1000,
        programs: &[Program::Floor, Program::Cswatch(2), Program::FloorRepeated],
        concurrent: false,
    },
    Load {
        rate: 1000,
        programs: &[Program::Floor, Program::Cswatch(2), Program::FloorRepeated],
        concurrent: true,
    },
];

/// Length of each run.
const SECONDS: u32 = 10;

/// Prefix of the time since [`EPOCH`] in a document's mark, by which it is found in a line of any format.
pub(crate) const MARK: &str = "sent@";

/// Start of all times.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Percentiles of one run's latencies, in microseconds.
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
            progress(&format!("round {round} of {rounds}: {name}"));
            let of_round = if load.concurrent {
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
        println!("### Latency from write to line at {name}, in milliseconds\n");
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
        let suffix = if self.concurrent {
            ", all programs at once"
        } else {
            ""
        };
        format!("{rate} writes/s{suffix}")
    }
}

/// Runs `programs` concurrently on the same writes.
fn run(server: &Server, peers: &Peers, programs: &[Program], rate: u32) -> Result<Vec<Figures>> {
    let writes = u64::from(rate * SECONDS);
    let folders: Vec<_> = programs.iter().map(|_| guard::temp_dir("bench-")).collect();
    let task = Task {
        uri: &server.set.uri(),
        db: DB,
        coll: "latency",
        start: server.set.operation_time(),
        // One more than the measured writes: its line shows that the stream is open.
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
        // Until the stream is open and its startup is over.
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

/// Measures the latency of every line except the first.
fn read(mut running: Running, writes: u64) -> Result<Figures> {
    let mut latencies = Vec::new();
    let mut lines = BufReader::new(running.stdout());
    let mut line = Vec::new();
    while latencies.len() as u64 <= writes {
        line.clear();
        anyhow::ensure!(lines.read_until(b'\n', &mut line)? > 0, "it exited early");
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

/// Inserts a number of orders at a steady rate.
async fn write(
    target: mongodb::Collection<Document>,
    writes: u64,
    rate: u32,
) -> mongodb::error::Result<()> {
    let mut number = 0;
    let is_over = || {
        number += 1;
        number > writes
    };
    write_until(target, rate, is_over).await.map(drop)
}

/// Inserts at a steady rate until `is_over`, without waiting for earlier inserts to be acknowledged. Returns the number of inserts.
pub(crate) async fn write_until(
    target: mongodb::Collection<Document>,
    rate: u32,
    mut is_over: impl FnMut() -> bool,
) -> mongodb::error::Result<u64> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut inserts = tokio::task::JoinSet::new();
    let mut number = 0;
    while !is_over() {
        number += 1;
        ticks.tick().await;
        let target = target.clone();
        inserts.spawn(async move { target.insert_one(marked(number)).await });
    }
    while let Some(insert) = inserts.join_next().await {
        insert.expect("an insert does not panic")?;
    }
    Ok(number)
}

/// Returns an order whose mark is the current time.
fn marked(number: u64) -> Document {
    backlog::order(number, &format!("{MARK}{}", micros_now()))
}

pub(crate) fn micros_now() -> u64 {
    EPOCH.elapsed().as_micros() as u64
}

/// Returns the time in the mark that `line` contains.
pub(crate) fn sent_at(line: &[u8]) -> Result<u64> {
    let line = std::str::from_utf8(line)?;
    let (_, mark) = line.split_once(MARK).context("a mark")?;
    let end = mark.find(|c: char| !c.is_ascii_digit());
    Ok(mark[..end.unwrap_or(mark.len())].parse()?)
}
