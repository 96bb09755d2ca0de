//! The memory that events of 15 MB take.

use anyhow::Result;
use bson::{Bson, Document, doc};
use testkit::guard;

use crate::backlog::Backlog;
use crate::peers::Peers;
use crate::program::{Program, Task};
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

const EVENTS: u64 = 20;

/// Bytes of a document's text, just under what a document may have.
const TEXT_BYTES: usize = 15_000_000;

/// Numbers in a document of the same size: a type, a position of up to seven digits and its end, the value.
const NUMBERS: i32 = 1_170_000;

/// Prints the table.
pub(crate) fn measure(server: &Server, peers: &Peers) -> Result<()> {
    println!("### Peak RSS with {EVENTS} events of 15 MB, in MiB\n");
    println!("| program | one text | an array of numbers |\n|---|--:|--:|");
    say(&format!("writing {EVENTS} events of 15 MB, twice"));
    let text = |_| doc! { "text": "x".repeat(TEXT_BYTES) };
    let numbers = |_| doc! { "numbers": (0..NUMBERS).map(Bson::Int32).collect::<Vec<_>>() };
    let documents: [&dyn Fn(u64) -> Document; 2] = [&text, &numbers];
    let mut backlogs = Vec::new();
    for (kind, document) in ["text", "numbers"].iter().zip(documents) {
        let coll = format!("large_{kind}");
        backlogs.push(Backlog::written(server, coll, EVENTS, document)?);
    }
    for program in PROGRAMS {
        say(&program.name());
        let mut row = format!("| {}", program.name());
        for backlog in &backlogs {
            let folder = guard::temp_dir("kept-");
            let task = Task {
                uri: &server.set.uri(),
                db: DB,
                coll: &backlog.coll,
                start: backlog.start,
                count: backlog.events,
                by_line: false,
            };
            let command = program.command(peers, &task, folder.path());
            let finished = Running::start(&command)?.drain(program.lines(&task), |_| {})?;
            row += &format!(" | {:.0}", finished.usage.peak as f64 / f64::from(1 << 20));
        }
        println!("{row} |");
    }
    println!();
    Ok(())
}
