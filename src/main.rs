//! Parse, log, run, exit code.

use std::process::ExitCode;

use cswatch::cli::{Cli, Command, Watch};
use cswatch::settings::Settings;
use cswatch::shutdown::Signals;
use cswatch::{commands, error, explain, logging, memory, output, watch};

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    logging::start(match &cli.command {
        Some(Command::Check(check)) => &check.watch.log,
        _ => &cli.watch.log,
    });
    let result = match &cli.command {
        Some(command) => run_command(command),
        None => run_watch(&cli.watch),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(error::exit_code(&error))
        }
    }
}

/// Runs it, and answers the exit code.
fn run_command(command: &Command) -> anyhow::Result<u8> {
    let mut code = 0;
    let mut text = Vec::new();
    match command {
        Command::Completions { shell } => commands::completions::write(*shell, &mut text),
        Command::Man => commands::man::write(&mut text)?,
        Command::Health(args) => text = commands::health::check(args)?.into_bytes(),
        Command::Check(args) => {
            let settings = Settings::from_args(&args.watch)?;
            let report = runtime()?.block_on(commands::check::run(&settings));
            code = report.exit_code();
            text = match args.json {
                true => report.json(),
                false => report.text(output::is_coloured(settings.output.color)),
            }
            .into_bytes();
        }
        Command::Token(args) => commands::token::run(args)?,
    }
    output::print(&text)?;
    Ok(code)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // On this thread alone: what comes from the server wakes the task that reads it, and no other thread before it, which took 50 us of
    // each reply. What blocks, writing, has a thread of its own.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn run_watch(args: &Watch) -> anyhow::Result<u8> {
    let settings = Settings::from_args(args)?;
    if args.filter.explain {
        let command = explain::command(&settings)?;
        output::print(format!("{command}\n").as_bytes())?;
        return Ok(0);
    }
    memory::keep_freed();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen(settings.output.file.is_some())?;
        watch::run(settings, signals).await?;
        Ok(0)
    });
    // A writer that is stuck in a write, or a monitor that waits for a dead server, must not keep the process.
    runtime.shutdown_background();
    result
}
