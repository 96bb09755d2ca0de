//! Snapshots: throughput of each program on the documents of a collection, with and without a filter, and the lag of the stream while
//! `cswatch` reads a snapshot.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use bson::RawDocumentBuf;
use testkit::guard;
use testkit::programs;
use testkit::runtime::{block_on, runtime};

use crate::backlog;
use crate::latency;
use crate::median::{quantile, sorted};
use crate::peers::Peers;
use crate::progress;
use crate::run::Running;
use crate::scan_floor::{How, MATCH};
use crate::server::{DB, Server};
use crate::table::{Figures, print};

/// The collection.
const COLL: &str = "scan";

/// Filler that makes an order a document of 500 bytes.
const FILLER: usize = 183;

/// Documents per insert.
const INSERT: u64 = 2000;

/// Writes per second while the lag is measured.
const WRITES_PER_SECOND: u32 = 1000;

/// A measured program.
#[derive(Clone, Copy)]
enum Program {
    Floor(How),
    Cswatch,
    CswatchFiltered,
    Pymongo,
    Node,
}

const ALL: [Program; 5] = [
    Program::Floor(How::Find),
    Program::Floor(How::FindById),
    Program::Cswatch,
    Program::Pymongo,
    Program::Node,
];

const FILTERED: [Program; 2] = [Program::Floor(How::Aggregate), Program::CswatchFiltered];

impl Program {
    fn name(self) -> String {
        match self {
            Self::Floor(how) => how.name(),
            Self::Cswatch => "cswatch --snapshot",
            Self::CswatchFiltered => "cswatch --snapshot --match",
            Self::Pymongo => "pymongo find, `json_util.dumps`",
            Self::Node => "Node driver find, `EJSON.stringify`",
        }
        .to_owned()
    }

    fn command(self, peers: &Peers, uri: &str, folder: &Path) -> Vec<OsString> {
        let mut command: Vec<OsString> = match self {
            Self::Floor(how) => {
                let this = std::env::current_exe().expect("the path of this program");
                return vec![
                    this.into(),
                    "scan-floor".into(),
                    uri.into(),
                    DB.into(),
                    COLL.into(),
                    how.argument().into(),
                ];
            }
            Self::Cswatch => return cswatch(uri, folder, &["--until", "now"]),
            Self::CswatchFiltered => {
                return cswatch(uri, folder, &["--until", "now", "--match", MATCH]);
            }
            Self::Pymongo => vec![
                peers.python.clone().into(),
                peers.scan_python.clone().into(),
            ],
            Self::Node => vec![peers.node.clone().into(), peers.scan_node.clone().into()],
        };
        command.extend([uri, DB, COLL].map(Into::into));
        command
    }

    /// Returns the number of lines that it prints.
    fn lines(self, documents: u64) -> u64 {
        match self {
            Self::Floor(_) => 1,
            // Every third order is an express order.
            Self::CswatchFiltered => documents - documents.div_ceil(3),
            _ => documents,
        }
    }
}

/// Returns the command of a first run with a resume file.
fn cswatch(uri: &str, folder: &Path, options: &[&str]) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![programs::cswatch().into()];
    command.extend(["--uri", uri, "--db", DB, "--coll", COLL, "--snapshot"].map(Into::into));
    command.extend(["--resume-file".into(), folder.join("resume.json").into()]);
    command.extend(options.iter().map(Into::into));
    command
}

/// Prints the tables.
pub(crate) fn measure(server: &Server, peers: &Peers, documents: u64, rounds: usize) -> Result<()> {
    progress(&format!("writing {documents} documents"));
    let bytes = write(server, documents)?;
    for (programs, title) in [
        (&ALL[..], String::new()),
        (&FILTERED[..], format!(", with `--match '{MATCH}'`")),
    ] {
        let mut figures: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
        // The first round warms the server's cache.
        for round in 0..=rounds {
            for (program, figures) in programs.iter().zip(&mut figures) {
                progress(&format!("round {round} of {rounds}: {}", program.name()));
                let folder = guard::temp_dir("bench-");
                let command = program.command(peers, &server.set.uri(), folder.path());
                let before = server.cpu();
                let finished = Running::start(&command)?.drain(program.lines(documents), |_| {})?;
                if round > 0 {
                    figures.push(Figures::of(&finished, server.cpu() - before, documents));
                }
            }
        }
        println!(
            "### Scan of {documents} documents of {} bytes{title}\n",
            bytes / documents
        );
        let names: Vec<String> = programs.iter().map(|program| program.name()).collect();
        print("document", &names, &figures);
    }
    measure_lag(server, documents, rounds)
}

/// Inserts the documents, and returns the number of their bytes.
fn write(server: &Server, documents: u64) -> Result<u64> {
    let coll = server
        .set
        .client()
        .database(DB)
        .collection::<RawDocumentBuf>(COLL);
    let filler = "x".repeat(FILLER);
    let mut bytes = 0;
    for first in (0..documents).step_by(INSERT as usize) {
        let numbers = first..documents.min(first + INSERT);
        let batch: Result<Vec<_>, _> = numbers
            .map(|number| RawDocumentBuf::try_from(&backlog::order(number, &filler)))
            .collect();
        let batch = batch?;
        bytes += batch
            .iter()
            .map(|document| document.as_bytes().len() as u64)
            .sum::<u64>();
        block_on(coll.insert_many(batch))?;
    }
    Ok(bytes)
}

/// Measures the latency from a write to its line while a snapshot of the same collection is read.
fn measure_lag(server: &Server, documents: u64, rounds: usize) -> Result<()> {
    let mut all = Vec::new();
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}: lag during a scan"));
        let folder = guard::temp_dir("bench-");
        let mut running = Running::start(&cswatch(&server.set.uri(), folder.path(), &[]))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let target = server.set.client().database(DB).collection(COLL);
        let stop = Arc::clone(&is_over);
        let writing = runtime().spawn(async move {
            latency::write_until(target, WRITES_PER_SECOND, || stop.load(Ordering::Relaxed)).await
        });
        let mut scanned = 0;
        // Writes before are those of the start.
        let mut begun = None;
        let mut lines = BufReader::new(running.stdout());
        let mut line = Vec::new();
        while scanned < documents {
            line.clear();
            ensure!(lines.read_until(b'\n', &mut line)? > 0, "it exited early");
            if is(&line, "snapshot") {
                scanned += 1;
                begun.get_or_insert_with(latency::micros_now);
            } else if is(&line, "insert") {
                let sent_at = latency::sent_at(&line)?;
                if begun.is_some_and(|begun| begun <= sent_at) {
                    all.push(latency::micros_now().saturating_sub(sent_at) as f64);
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let written = runtime().block_on(writing)??;
        progress(&format!("{written} writes during the scan"));
        // A killed process leaves no report; the next round has its own.
        drop(lines);
        drop(running);
        remove(server)?;
    }
    let all = sorted(all);
    ensure!(!all.is_empty(), "no event during the scan");
    let milliseconds = |part| quantile(&all, part) / 1000.0;
    println!(
        "### Latency from write to line at {WRITES_PER_SECOND} writes/s during a scan, in milliseconds\n"
    );
    println!("| program | p50 | p90 | p99 | longest |\n|---|--:|--:|--:|--:|");
    println!(
        "| cswatch --snapshot | {:.1} | {:.1} | {:.1} | {:.1} |\n",
        milliseconds(0.5),
        milliseconds(0.9),
        milliseconds(0.99),
        milliseconds(1.0),
    );
    Ok(())
}

/// Returns whether a line is of this operation type.
fn is(line: &[u8], kind: &str) -> bool {
    let text = format!(r#""operationType":"{kind}""#);
    // Behind the token.
    let head = &line[..line.len().min(300)];
    head.windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Removes the documents that were inserted during a scan.
fn remove(server: &Server) -> Result<()> {
    let coll = server
        .set
        .client()
        .database(DB)
        .collection::<bson::Document>(COLL);
    let marked = bson::doc! { "mark": { "$regex": format!("^{}", latency::MARK) } };
    block_on(coll.delete_many(marked)).context("the inserted documents")?;
    Ok(())
}
