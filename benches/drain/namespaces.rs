//! Throughput of `cswatch` on a backlog over many collections: the whole database, compared with the same collections by name and by
//! pattern.

use std::ffi::OsString;

use anyhow::Result;
use bson::{Document, doc};
use testkit::events::as_start;
use testkit::programs;
use testkit::runtime::block_on;

use crate::backlog;
use crate::median::median;
use crate::progress;
use crate::run::Running;
use crate::server::Server;

/// The database of the collections.
const DB: &str = "namespaces";

/// Number of collections.
const COLLECTIONS: u64 = 1000;

/// Documents per insert.
const INSERT: u64 = 10;

/// Prints the table. The programs take turns, so that a busy machine affects each of them.
pub(crate) fn measure(server: &Server, events: u64, rounds: usize) -> Result<()> {
    progress(&format!(
        "writing {events} events into {COLLECTIONS} collections"
    ));
    let db = server.set.client().database(DB);
    let start = server.set.operation_time();
    let inserts = events / INSERT;
    for insert in 0..inserts {
        let coll = db.collection::<Document>(&name(insert % COLLECTIONS));
        let documents = (0..INSERT).map(|number| backlog::order(insert * INSERT + number, ""));
        block_on(coll.insert_many(documents))?;
    }
    std::thread::sleep(backlog::AGE);
    block_on(db.collection::<Document>("later").insert_one(doc! {}))?;

    let named = |option: &str, prefix: &str| -> Vec<OsString> {
        let names = (0..COLLECTIONS).map(|number| format!("{option}={prefix}{}", name(number)));
        names.map(Into::into).collect()
    };
    let programs: [(&str, Vec<OsString>); 5] = [
        ("the whole database", Vec::new()),
        ("`--coll` × 1000", named("--coll", "")),
        (
            "`--ns-include` × 1000",
            named("--ns-include", "namespaces."),
        ),
        (
            "`--ns-include 'namespaces.coll_*'`",
            vec!["--ns-include=namespaces.coll_*".into()],
        ),
        (
            "`--ns-exclude 'namespaces.tmp_*'`",
            vec!["--ns-exclude=namespaces.tmp_*".into()],
        ),
    ];
    let events = inserts * INSERT;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    let mut server_cpu: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    // The first round warms the server's cache.
    for round in 0..=rounds {
        for (index, (program, options)) in programs.iter().enumerate() {
            progress(&format!("round {round} of {rounds}: {program}"));
            let mut command: Vec<OsString> = vec![programs::cswatch().into()];
            command.extend(["--uri", &server.set.uri(), "--db", DB, "--no-resume"].map(Into::into));
            command.extend(["--start".into(), as_start(start).into()]);
            command.extend(["--count".into(), events.to_string().into()]);
            command.extend(options.iter().cloned());
            let before = server.cpu();
            let finished = Running::start(&command)?.drain(events, |_| {})?;
            if round > 0 {
                rates[index].push(events as f64 / finished.time.as_secs_f64());
                let cpu = server.cpu() - before;
                server_cpu[index].push(cpu.as_secs_f64() * 1e6 / events as f64);
            }
        }
    }
    println!("### {events} events of {COLLECTIONS} collections\n");
    println!("| watched | events/s | × whole database | server CPU µs/event |\n|---|--:|--:|--:|");
    let whole = median(rates[0].iter().copied());
    for ((program, _), (rates, cpu)) in programs.iter().zip(rates.iter().zip(&server_cpu)) {
        let rate = median(rates.iter().copied());
        let cpu = median(cpu.iter().copied());
        println!("| {program} | {rate:.0} | {:.2} | {cpu:.1} |", rate / whole);
    }
    println!();
    Ok(())
}

fn name(number: u64) -> String {
    format!("coll_{number:04}")
}
