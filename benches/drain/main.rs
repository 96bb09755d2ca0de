//! How fast, at which cost and how soon `cswatch` prints what a real server has, beside the bare driver (the floor) and what others
//! use for it. Prints the tables of BENCHMARKS.md on stdout and says on stderr what it is doing.
//!
//! `cargo bench --bench drain`, or one table of it: `cargo bench --bench drain -- latency`

mod backlog;
mod first_line;
mod floor;
mod large_events;
mod latency;
mod median;
mod peers;
mod program;
mod run;
mod server;
mod throughput;
mod usage;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use peers::Peers;
use server::Server;

/// Measure cswatch beside the bare driver, pymongo and the Node driver.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// The tables to measure; all when none is named.
    tables: Vec<Table>,
    /// Runs of each program for each figure, which is their median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Events in the backlog; a second one has ten times as many.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Throughput,
    Latency,
    FirstLine,
    LargeEvents,
}

/// What this binary is for the run that starts it again.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Floor(floor::Args),
    #[command(hide = true)]
    Usage(usage::Args),
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Floor(args)) => floor::run(&args),
        Some(Role::Usage(args)) => usage::run(&args),
        None => measure(&args),
    }
}

fn measure(args: &Args) -> Result<()> {
    let wants = |table| args.tables.is_empty() || args.tables.contains(&table);
    let peers = Peers::installed()?;
    let server = Server::start()?;
    println!("{}\n", server.described(&peers)?);
    if wants(Table::Throughput) {
        throughput::measure(&server, &peers, args.events, args.rounds)?;
    }
    if wants(Table::Latency) {
        latency::measure(&server, &peers, args.rounds)?;
    }
    if wants(Table::FirstLine) {
        first_line::measure(&server, &peers, args.rounds)?;
    }
    if wants(Table::LargeEvents) {
        large_events::measure(&server, &peers)?;
    }
    Ok(())
}

/// Says what is being done.
fn say(what: &str) {
    eprintln!("drain: {what}");
}
