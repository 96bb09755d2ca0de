//! Throughput, resource use and latency of `cswatch` on a real server, compared with the bare driver (the floor), pymongo and the Node
//! driver. Prints the tables of BENCHMARKS.md on stdout and its progress on stderr.
//!
//! `cargo bench --bench drain`, or a single table: `cargo bench --bench drain -- latency`

mod backlog;
mod first_line;
mod floor;
mod jetstream;
mod large_events;
mod latency;
mod median;
mod namespaces;
mod peers;
mod program;
mod publisher;
mod run;
mod scan;
mod scan_floor;
mod server;
mod sparse;
mod table;
mod throughput;
mod usage;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use peers::Peers;
use server::Server;

/// Compare cswatch with the bare driver, pymongo and the Node driver.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Tables to measure (default: all).
    tables: Vec<Table>,
    /// Runs of each program; a figure is their median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Events in the backlog; a second backlog has ten times as many.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Documents of a snapshot.
    #[arg(long, default_value_t = 1_000_000)]
    documents: u64,
    /// Passed by `cargo bench`.
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
    Jetstream,
    LargeEvents,
    Namespaces,
    Sparse,
    Scan,
}

/// Length of the backlog for the sparse filter, relative to the other.
const SPARSE_FACTOR: u64 = 5;

/// The role in which a run starts this binary again.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Floor(floor::Args),
    #[command(hide = true)]
    Publisher(publisher::Args),
    ScanFloor(scan_floor::Args),
    #[command(hide = true)]
    Usage(usage::Args),
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Floor(args)) => floor::run(&args),
        Some(Role::Publisher(args)) => publisher::run(&args),
        Some(Role::ScanFloor(args)) => scan_floor::run(&args),
        Some(Role::Usage(args)) => usage::run(&args),
        None => measure(&args),
    }
}

fn measure(args: &Args) -> Result<()> {
    let wants = |table| args.tables.is_empty() || args.tables.contains(&table);
    let peers = Peers::installed()?;
    let server = Server::start()?;
    println!("{}\n", server.description(&peers)?);
    if wants(Table::Throughput) {
        throughput::measure(&server, &peers, args.events, args.rounds)?;
    }
    if wants(Table::Latency) {
        latency::measure(&server, &peers, args.rounds)?;
    }
    if wants(Table::FirstLine) {
        first_line::measure(&server, &peers, args.rounds)?;
    }
    if wants(Table::Jetstream) {
        jetstream::measure(&server, &peers, args.events, args.rounds)?;
    }
    if wants(Table::LargeEvents) {
        large_events::measure(&server, &peers)?;
    }
    if wants(Table::Namespaces) {
        namespaces::measure(&server, args.events, args.rounds)?;
    }
    if wants(Table::Sparse) {
        sparse::measure(&server, args.events * SPARSE_FACTOR, args.rounds)?;
    }
    if wants(Table::Scan) {
        scan::measure(&server, &peers, args.documents, args.rounds)?;
    }
    Ok(())
}

/// Prints progress on stderr.
fn progress(text: &str) {
    eprintln!("drain: {text}");
}
