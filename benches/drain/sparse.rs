//! A filter that few events of a long backlog match: the server scans, and the programs wait. `cswatch` compared with the bare driver and
//! the same filter.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bson::Timestamp;
use testkit::events::as_start;
use testkit::programs;

use crate::backlog::{self, Backlog};
use crate::floor::RARE;
use crate::median::median;
use crate::progress;
use crate::run::Running;
use crate::server::{DB, Server};

/// Number of events that match.
const MATCHES: u64 = 10;

/// Prints the table. The programs take turns, so that a busy machine affects each of them.
pub(crate) fn measure(server: &Server, events: u64, rounds: usize) -> Result<()> {
    progress(&format!(
        "writing {events} events, of which {MATCHES} match"
    ));
    let every = events / MATCHES;
    let document = |number| match number % every == every - 1 {
        true => backlog::order(number, RARE),
        false => backlog::order(number, ""),
    };
    let backlog = Backlog::write(server, format!("sparse_{events}"), events, document)?;
    let uri = server.set.uri();
    let programs = [
        (
            "floor: bare driver, the same filter",
            floor(&uri, &backlog)?,
        ),
        ("cswatch, one stream", cswatch(&uri, &backlog, 1)),
        ("cswatch, 2 catch-up streams", cswatch(&uri, &backlog, 2)),
    ];
    let mut firsts: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    // The first round warms the server's cache.
    for round in 0..=rounds {
        for (index, (program, command)) in programs.iter().enumerate() {
            progress(&format!("round {round} of {rounds}: {program}"));
            let running = Running::start(command)?;
            let started = running.started();
            let mut first: Option<Duration> = None;
            let finished = running.drain(MATCHES, |_| {
                first.get_or_insert_with(|| Instant::now() - started);
            })?;
            if round > 0 {
                firsts[index].push(first.context("no line")?.as_secs_f64() * 1000.0);
                times[index].push(finished.time.as_secs_f64());
            }
        }
    }
    println!("### {MATCHES} matches among {events} events\n");
    println!("| program | first line, ms | all lines, s | events scanned/s | × floor |");
    println!("|---|--:|--:|--:|--:|");
    let floor = median(times[0].iter().copied());
    for ((program, _), (first, time)) in programs.iter().zip(firsts.iter().zip(&times)) {
        let first = median(first.iter().copied());
        let time = median(time.iter().copied());
        let rate = events as f64 / time;
        println!(
            "| {program} | {first:.0} | {time:.2} | {rate:.0} | {:.2} |",
            floor / time
        );
    }
    println!();
    Ok(())
}

fn floor(uri: &str, backlog: &Backlog) -> Result<Vec<OsString>> {
    let this = std::env::current_exe()?;
    let Timestamp { time, increment } = backlog.start;
    let numbers = [time.into(), increment.into(), MATCHES].map(|number: u64| number.to_string());
    let mut command: Vec<OsString> = vec![this.into()];
    command.extend(["floor", "--marks", "--rare", uri, DB, &backlog.coll].map(Into::into));
    command.extend(numbers.map(Into::into));
    Ok(command)
}

fn cswatch(uri: &str, backlog: &Backlog, streams: u32) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![programs::cswatch().into()];
    command.extend(["--uri", uri, "--db", DB, "--coll", &backlog.coll].map(Into::into));
    command.extend(["--no-resume", "--start", &as_start(backlog.start)].map(Into::into));
    command.extend(["--count", &MATCHES.to_string()].map(Into::into));
    command.extend(["--catch-up-streams", &streams.to_string()].map(Into::into));
    let filter = format!(r#"{{"fullDocument.mark":"{RARE}"}}"#);
    command.extend(["--match".into(), filter.into()]);
    command
}
