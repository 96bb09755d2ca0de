//! Parse, log, run, exit code.

use std::process::ExitCode;

use cswatch::cli::{Cli, Command, Watch};
use cswatch::settings::Settings;
use cswatch::shutdown::Signals;
use cswatch::{commands, error, explain, logging, output, watch};

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    logging::start(&cli.watch.log);
    let result = match &cli.command {
        Some(command) => run_command(command),
        None => run_watch(&cli.watch),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(error::exit_code(&error))
        }
    }
}

fn run_command(command: &Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match command {
        Command::Completions { shell } => commands::completions::write(*shell, &mut text),
        Command::Man => commands::man::write(&mut text)?,
        Command::Token(args) => commands::token::run(args)?,
    }
    Ok(output::print(&text)?)
}

fn run_watch(args: &Watch) -> anyhow::Result<()> {
    let settings = Settings::from_args(args)?;
    if args.filter.explain {
        let command = explain::command(&settings)?;
        return Ok(output::print(format!("{command}\n").as_bytes())?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One beside the main thread: the driver's monitors must go on while the other is busy with a large reply.
        .worker_threads(1)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let signals = Signals::listen(settings.output.file.is_some())?;
        Ok(watch::run(settings, signals).await?)
    });
    // A writer that is stuck in a write, or a monitor that waits for a dead server, must not keep the process.
    runtime.shutdown_background();
    result
}
