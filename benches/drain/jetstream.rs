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
    /// The same, with the headers that `cswatch` sends.
    ExactlyOncePublisher,
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
            Self::ExactlyOncePublisher => "the same, with the headers for exactly once",
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
    /// CPU time of the program, of MongoDB and of the NATS servers per event, in microseconds.
    cpu: [f64; 3],
}

/// The NATS servers of a table.
struct Nats<'a> {
    servers: &'a [NatsServer],
    url: String,
    client: NatsClient,
}

impl<'a> Nats<'a> {
    fn new(servers: &'a [NatsServer], url: String, client: NatsClient) -> Self {
        Self {
            servers,
            url,
            client,
        }
    }

    /// Returns the CPU time that the servers have used so far.
    fn cpu(&self) -> Duration {
        self.servers.iter().map(NatsServer::cpu_time).sum()
    }
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
    bench.run(Program::Pipe, None, &mut |chunk| {
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
        Program::ExactlyOncePublisher,
        Program::Cswatch,
        Program::Script,
    ];
    let nats = Nats::new(std::slice::from_ref(&single), single.url(), single.client());
    bench.table(&programs, &nats, rounds)?;
    drop(nats);
    drop(single);
    let cluster = NatsCluster::start(REPLICAS);
    println!("Three servers on the same machine, three replicas, file storage:\n");
    let programs = [
        Program::Publisher,
        Program::ExactlyOncePublisher,
        Program::Cswatch,
    ];
    let nats = Nats::new(cluster.servers(), cluster.url(), cluster.client());
    bench.table(&programs, &nats, rounds)
}

impl Bench<'_> {
    /// Measures programs with one NATS deployment, and prints a table.
    fn table(&self, programs: &[Program], nats: &Nats<'_>, rounds: usize) -> Result<()> {
        let mut figures: Vec<Vec<Figures>> = programs.iter().map(|_| Vec::new()).collect();
        // The first round warms up.
        for round in 0..=rounds {
            for (program, figures) in programs.iter().zip(&mut figures) {
                progress(&format!("round {round} of {rounds}: {}", program.name()));
                let measured = self.run(*program, Some(nats), &mut |_| {})?;
                if round > 0 {
                    figures.push(measured);
                }
            }
        }
        println!(
            "| program | events/s | range | CPU µs/event | MongoDB CPU µs/event | NATS CPU µs/event |"
        );
        println!("|---|--:|--:|--:|--:|--:|");
        let rate_of = |figures: &[Figures]| median(figures.iter().map(|one| one.events_per_second));
        for (program, figures) in programs.iter().zip(&figures) {
            let rates = sorted(figures.iter().map(|one| one.events_per_second));
            println!(
                "| {} | {:.0} | {:.0} to {:.0} | {:.2} | {:.1} | {:.1} |",
                program.name(),
                rate_of(figures),
                rates[0],
                rates[rates.len() - 1],
                median(figures.iter().map(|one| one.cpu[0])),
                median(figures.iter().map(|one| one.cpu[1])),
                median(figures.iter().map(|one| one.cpu[2])),
            );
        }
        let rate = |wanted: Program| {
            let index = programs.iter().position(|program| *program == wanted);
            index.map_or(f64::INFINITY, |index| rate_of(&figures[index]))
        };
        let slower = rate(Program::Pipe).min(rate(Program::Publisher));
        println!(
            "\ncswatch into JetStream delivers {:.2} of the slower one of cswatch into a pipe and the bare publisher, and {:.2} of the publisher that sends the same headers.\n",
            rate(Program::Cswatch) / slower,
            rate(Program::Cswatch) / rate(Program::ExactlyOncePublisher),
        );
        Ok(())
    }

    /// Runs a program once, and checks what it delivered.
    fn run(
        &self,
        program: Program,
        nats: Option<&Nats<'_>>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Figures> {
        let folder = guard::temp_dir("bench-");
        let events = match program {
            Program::Script => self.backlog.events / SCRIPT_SHARE,
            _ => self.backlog.events,
        };
        let url = nats.map_or("", |nats| nats.url.as_str());
        let command = self.command(program, url, events, folder.path());
        let cpu = || {
            let nats = nats.map_or(Duration::ZERO, Nats::cpu);
            (self.server.cpu(), nats)
        };
        let before = cpu();
        let finished = match (program, nats) {
            (Program::Pipe, _) | (_, None) => Running::start(&command)?.drain(events, take)?,
            (
                _,
                Some(Nats {
                    servers, client, ..
                }),
            ) => {
                client.delete_stream(STREAM);
                client.delete_stream(BUCKET_STREAM);
                // As cswatch creates it.
                client.create_stream(stream::Config {
                    name: STREAM.to_owned(),
                    subjects: vec![format!("{STREAM}.>")],
                    num_replicas: servers.len(),
                    ..stream::Config::default()
                });
                let finished = Running::start(&command)?.wait()?;
                let stored = client.count(STREAM);
                ensure!(stored == events, "{stored} messages instead of {events}");
                finished
            }
        };
        let after = cpu();
        let cpu = [finished.usage.cpu, after.0 - before.0, after.1 - before.1];
        Ok(Figures {
            events_per_second: events as f64 / finished.time.as_secs_f64(),
            cpu: cpu.map(|time| per_event(time, events)),
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
            Program::Publisher | Program::ExactlyOncePublisher => {
                let this = std::env::current_exe().expect("the path of this program");
                let subject = format!("{STREAM}.{DB}.{}.insert", self.backlog.coll);
                let mut command = vec![
                    this.into(),
                    "publisher".into(),
                    url.into(),
                    subject.into(),
                    self.lines.clone().into(),
                ];
                if program == Program::ExactlyOncePublisher {
                    command.extend(["--exactly-once", STREAM].map(OsString::from));
                }
                command
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
