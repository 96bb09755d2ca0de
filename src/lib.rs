//! A watcher of MongoDB change streams: prints one line of Extended JSON per event, and loses nothing across restarts.
//!
//! Data flows one way: `cli` (arguments) → `config` (validated settings) → `source` (raw BSON, async) → `queue` → `sink` (lines of `extjson`,
//! written to stdout or a file) → `checkpoint`. `watch` connects them, and starts and ends a watch. The one invariant: a checkpoint is saved
//! only after the line of its event was written.
//!
//! The interface of cswatch is its command line. The items that this library exports are for the program, benchmarks, tests and fuzz targets.

mod backoff;
mod checkpoint;
mod cli;
mod coalesce;
mod commands;
mod config;
mod count;
mod deployment;
mod error;
pub mod extjson;
mod files;
mod logging;
mod platform;
mod queue;
mod redaction;
pub mod shell_syntax;
mod shutdown;
mod sink;
mod snapshot;
mod source;
mod telemetry;
mod text;
mod threads;
mod time;
pub mod token;
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;

use self::cli::{Cli, Command, WatchArgs};
use self::shutdown::Signals;

pub use self::checkpoint::Checkpoint;
pub use self::error::{Failure, Kind};
pub use self::source::assemble;

/// Runs the command given by the command line of this process, and returns its exit code.
pub fn run() -> ExitCode {
    logging::redact_panics();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(failure) => {
            logging::start(cli::log_of_usage_error());
            return ended(Err(failure.into()));
        }
    };
    logging::start(cli::log(match &cli.command {
        Some(Command::Check(check)) => &check.watch.log,
        _ => &cli.watch.log,
    }));
    if let Err(error) = platform::survive_file_size_limit() {
        tracing::debug!("cannot handle SIGXFSZ: {error}");
    }
    let result = on_large_stack(|| match &cli.command {
        Some(command) => run_command(command),
        None => run_watch(&cli.watch),
    });
    ended(result)
}

/// Reports the error of a run, and returns its exit code.
fn ended(result: anyhow::Result<u8>) -> ExitCode {
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            logging::error(&error);
            error::exit_code(&error)
        }
    };
    logging::flush();
    ExitCode::from(code)
}

/// Stack of the thread that runs the driver. The driver and bson decode replies recursively and without a limit: a server that nests a
/// document 8,000 levels deep overflows the 8 MB that the first thread has (measured with driver 3.9.1). Only what is used takes memory.
const STACK_BYTES: usize = 512 * 1024 * 1024;

/// Calls `run` on a thread with a large stack, or on this one if the system refuses that.
fn on_large_stack<T: Send>(run: impl Fn() -> T + Sync) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("driver".to_owned())
            .stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, &run) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => {
                tracing::debug!("cannot start a thread with a large stack: {error}");
                run()
            }
        }
    })
}

/// Runs a command and returns the exit code.
fn run_command(command: &Command) -> anyhow::Result<u8> {
    let mut code = 0;
    let mut text = Vec::new();
    match command {
        Command::Completions { shell } => {
            commands::completions::write(*shell, cli::command_for_completions(), &mut text)?;
        }
        Command::Man { command } => cli::write_manual(command.as_deref(), &mut text)?,
        Command::Health(args) => {
            let text = commands::health::check(&cli::health(args)?)?;
            sink::print_if_open(text.as_bytes())?;
            return Ok(code);
        }
        Command::Check(args) => {
            let config = cli::watch(&args.watch)?;
            let report = runtime()?.block_on(commands::check::run(&config));
            code = report.exit_code();
            let report = match args.json {
                true => report.json(),
                false => report.text(sink::is_colored(config.output.color)),
            };
            text = report.into_bytes();
        }
        Command::Token(args) => commands::token::run(&cli::token(args))?,
    }
    sink::print(&text)?;
    Ok(code)
}

fn run_watch(args: &WatchArgs) -> anyhow::Result<u8> {
    if args.filter.explain {
        let config = cli::watch(args)?;
        config::report_advice(&config.advice);
        let command = match args.output.format {
            None => commands::explain::shell_calls(&config)?,
            Some(_) => commands::explain::extended_json(&config)?,
        };
        sink::print(redaction::redacted(&format!("{command}\n")).as_bytes())?;
        return Ok(0);
    }
    platform::keep_freed_memory();
    let runtime = runtime()?;
    let result = runtime.block_on(watch(args.clone()));
    // A thread that is stuck in a write, or a task that waits for a dead server, must not keep the process alive.
    runtime.shutdown_background();
    result
}

/// Runs a watch. Listens for signals before it opens any file, because a disk that hangs must not keep the process alive.
async fn watch(args: WatchArgs) -> anyhow::Result<u8> {
    let mut signals = Signals::listen(args.output.output.is_some())?;
    let config = tokio::select! {
        config = threads::run("arguments", move || cli::watch(&args)) => config??,
        () = signals.shutdown_requested() => return Ok(0),
    };
    watch::run(config, signals).await?;
    Ok(0)
}

/// Creates a runtime that runs on this thread only, so that data from the server wakes the reading task directly: waking another thread
/// first took 50 µs of each reply. Writing blocks, and has its own thread.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
