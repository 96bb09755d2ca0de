//! Throughput of `cswatch` into NATS JetStream, compared with `cswatch` into a pipe, with a bare publisher of the same lines, and with
//! a script of pymongo and nats-py. One nats-server with file storage, and a cluster of three with three replicas.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use testkit::events::as_start;
use testkit::guard;
use testkit::nats::{NatsClient, NatsCluster, NatsServer};
use testkit::programs;

use crate::backlog::{self, Backlog};
use crate::median::{median, sorted};
use crate::peers::Peers;
use crate::program::RESUME_FILE;
use crate::progress;
use crate::run::Running;
use crate::server::{DB, Server};

/// Events that the script delivers, relative to the others: it waits for each acknowledgement.
const SCRIPT_SHARE: u64 = 10;

/// The replicas of the cluster.
const REPLICAS: usize = 3;

/// A measured program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `cswatch` into a pipe.
    Pipe,
    /// async-nats, with the lines that `cswatch` prints.
    Publisher,
    /// `cswatch --nats`.
    Cswatch,
    /// pymongo and nats-py.
    Script,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "cswatch into a pipe",
            Self::Publisher => "bare async-nats publisher of the same lines",
            Self::Cswatch => "cswatch into JetStream",
            Self::Script => "pymongo and nats-py",
        }
    }
}

/// What the programs deliver, and where.
struct Bench<'a> {
    server: &'a Server,
    peers: &'a Peers,
    backlog: Backlog,
    /// The lines of the backlog, in a file.
    lines: PathBuf,
}

/// Figures of one run of a program.
struct Figures {
    events_per_second: f64,
    /// CPU time of the program per event, in microseconds.
    cpu: f64,
}

/// Prints both tables.
pub(crate) fn measure(server: &Server, peers: &Peers, events: u64, rounds: usize) -> Result<()> {
    progress(&format!("writing a backlog of {events} events"));
    let coll = format!("jetstream_{events}");
    let backlog = Backlog::write(server, coll, events, |number| backlog::order(number, ""))?;
    let folder = guard::temp_dir("lines-");
    let bench = Bench {
        server,
        peers,
        backlog,
        lines: folder.path().join("lines.jsonl"),
    };
    let mut lines = Vec::new();
    bench.run(Program::Pipe, "", None, &mut |chunk| {
        lines.extend_from_slice(chunk);
    })?;
    fs::write(&bench.lines, &lines)?;
    println!(
        "### {events} events of {} bytes into NATS JetStream\n",
        lines.len() as u64 / events
    );
    let single = NatsServer::start();
    println!("One server, file storage:\n");
    let programs = [
        Program::Pipe,
        Program::Publisher,
        Program::Cswatch,
        Program::Script,
    ];
    bench.table(&programs, &single.url(), &single.client(), 1, rounds)?;
    drop(single);
    let cluster = NatsCluster::start(REPLICAS);
    println!("Three servers on the same machine, three replicas, file storage:\n");
    let programs = [Program::Publisher, Program::Cswatch];
    bench.table(
        &programs,
        &cluster.url(),
        &cluster.client(),
        REPLICAS,
        rounds,
    )
}

impl Bench<'_> {
    /// Measures programs with one NATS deployment, and prints a table.
    fn table(
        &self,
        programs: &[Program],
        url: &str,
        client: &NatsClient,
        replicas: usize,
        rounds: usize,
    ) -> Result<()> {
        let mut figures: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
        // The first round warms up.
        for round in 0..=rounds {
            for (program, figures) in programs.iter().zip(&mut figures) {
                progress(&format!("round {round} of {rounds}: {}", program.name()));
                let nats = (client, replicas);
                let measured = self.run(*program, url, Some(nats), &mut |_| {})?;
                if round > 0 {
                    figures.push(measured);
                }
            }
        }
        println!("| program | events/s | range | CPU µs/event |");
        println!("|---|--:|--:|--:|");
        let rate_of = |figures: &[Figures]| median(figures.iter().map(|one| one.events_per_second));
        for (program, figures) in programs.iter().zip(&figures) {
            let rates = sorted(figures.iter().map(|one| one.events_per_second));
            println!(
                "| {} | {:.0} | {:.0} to {:.0} | {:.2} |",
                program.name(),
                rate_of(figures),
                rates[0],
                rates[rates.len() - 1],
                median(figures.iter().map(|one| one.cpu)),
            );
        }
        let rate = |wanted: Program| {
            let index = programs.iter().position(|program| *program == wanted);
            index.map_or(f64::INFINITY, |index| rate_of(&figures[index]))
        };
        let slower = rate(Program::Pipe).min(rate(Program::Publisher));
        println!(
            "\ncswatch into JetStream delivers {:.2} of the slower of the two above it.\n",
            rate(Program::Cswatch) / slower
        );
        Ok(())
    }

    /// Runs a program once, and checks what it delivered.
    fn run(
        &self,
        program: Program,
        url: &str,
        nats: Option<(&NatsClient, usize)>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Figures> {
        let folder = guard::temp_dir("bench-");
        let events = match program {
            Program::Script => self.backlog.events / SCRIPT_SHARE,
            _ => self.backlog.events,
        };
        let command = self.command(program, url, events, folder.path());
        let finished = match (program, nats) {
            (Program::Pipe, _) | (_, None) => Running::start(&command)?.drain(events, take)?,
            (_, Some((client, replicas))) => {
                client.delete_stream(STREAM);
                client.delete_stream(BUCKET_STREAM);
                // As cswatch creates it.
                client.create_stream(stream::Config {
                    name: STREAM.to_owned(),
                    subjects: vec![format!("{STREAM}.>")],
                    num_replicas: replicas,
                    ..stream::Config::default()
                });
                let finished = Running::start(&command)?.wait()?;
                let stored = client.count(STREAM);
                ensure!(stored == events, "{stored} messages instead of {events}");
                finished
            }
        };
        Ok(Figures {
            events_per_second: events as f64 / finished.time.as_secs_f64(),
            cpu: per_event(finished.usage.cpu, events),
        })
    }

    fn command(&self, program: Program, url: &str, events: u64, folder: &Path) -> Vec<OsString> {
        let uri = self.server.set.uri();
        let count = events.to_string();
        let start = as_start(self.backlog.start);
        let cswatch = |sink: [OsString; 2]| {
            let mut command: Vec<OsString> = vec![programs::cswatch().into()];
            command.extend(
                [
                    ["--uri", &uri],
                    ["--db", DB],
                    ["--coll", &self.backlog.coll],
                    ["--start", &start],
                    ["--count", &count],
                ]
                .into_iter()
                .flatten()
                .map(OsString::from),
            );
            command.extend(sink);
            command
        };
        match program {
            Program::Pipe => cswatch(["--resume-file".into(), folder.join(RESUME_FILE).into()]),
            Program::Cswatch => cswatch(["--nats".into(), url.into()]),
            Program::Publisher => {
                let this = std::env::current_exe().expect("the path of this program");
                let subject = format!("{STREAM}.{DB}.{}.insert", self.backlog.coll);
                vec![
                    this.into(),
                    "publisher".into(),
                    url.into(),
                    subject.into(),
                    self.lines.clone().into(),
                ]
            }
            Program::Script => {
                let mut command = self.peers.nats_script();
                let time = [self.backlog.start.time, self.backlog.start.increment];
                command.extend([&uri, DB, &self.backlog.coll].map(OsString::from));
                command.extend(time.map(|half| half.to_string().into()));
                command.extend([count.into(), url.into()]);
                command
            }
        }
    }
}

/// The stream that cswatch delivers into by default, and the stream of its bucket.
const STREAM: &str = "cswatch";
const BUCKET_STREAM: &str = "KV_cswatch_cswatch";

/// Returns a time per event in microseconds.
fn per_event(time: Duration, events: u64) -> f64 {
    time.as_secs_f64() * 1e6 / events as f64
}
