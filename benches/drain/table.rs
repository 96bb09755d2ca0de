//! The figures of one run of a program, and the table of several programs.

use std::time::Duration;

use crate::median::{median, sorted};
use crate::run::Finished;

/// Figures of one run of a program.
pub(crate) struct Figures {
    per_second: f64,
    /// CPU time of the program for each event or document, in microseconds.
    cpu: f64,
    /// CPU time of the server for each during the run, in microseconds.
    server_cpu: f64,
    /// Peak resident memory in MiB.
    peak: f64,
}

impl Figures {
    /// Returns the figures of a run that read `count` events or documents.
    pub(crate) fn of(finished: &Finished, server_cpu: Duration, count: u64) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        Self {
            per_second: count as f64 / finished.time.as_secs_f64(),
            cpu: each(finished.usage.cpu),
            server_cpu: each(server_cpu),
            peak: finished.usage.peak as f64 / f64::from(1 << 20),
        }
    }
}

/// Prints the figures of the programs with these names, the first of which is the floor. `noun` is what they read.
pub(crate) fn print(noun: &str, names: &[String], figures: &[Vec<Figures>]) {
    let of = |index: usize, figure: fn(&Figures) -> f64| median(figures[index].iter().map(figure));
    let floor_rate = of(0, |figures| figures.per_second);
    let floor_cpu = of(0, |figures| figures.cpu);
    println!(
        "| program | {noun}s/s | range | × floor | CPU µs/{noun} | × floor | peak RSS MiB | server CPU µs/{noun} |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (index, name) in names.iter().enumerate() {
        let rates = sorted(figures[index].iter().map(|figures| figures.per_second));
        let rate = of(index, |figures| figures.per_second);
        let cpu = of(index, |figures| figures.cpu);
        println!(
            "| {name} | {rate:.0} | {:.0} to {:.0} | {:.2} | {cpu:.2} | {:.1} | {:.1} | {:.1} |",
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
