//! CPU time and peak memory of a program, as the kernel accounts for them. The kernel sums over all children of a process that were
//! waited for, so each program has its own parent process: this binary in another role.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use testkit::guard::Process;

/// Maximum time of a run.
const RUN_TIMEOUT: Duration = Duration::from_secs(1800);

/// The arguments of the process that waits for a program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// File for the usage.
    report: PathBuf,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Resource usage of a program from start to exit.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time of all threads, user and system.
    pub(crate) cpu: Duration,
    /// Peak resident memory in bytes.
    pub(crate) peak: u64,
}

/// Runs a program with the same stdin, stdout and stderr until it exits, and writes its resource usage to the file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().context("a program")?;
    let mut child = Process::spawn(Path::new(program), |command| {
        command.args(rest);
    })?;
    let status = child.wait_for(RUN_TIMEOUT).context("it does not exit")?;
    ensure!(
        status.success(),
        "{} exited with {status}",
        program.display()
    );
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    fs::write(&args.report, format!("{cpu} {}", usage.max_rss()))?;
    Ok(())
}

impl Usage {
    /// Reads the file that [`run`] wrote.
    pub(crate) fn from_report(report: &Path) -> Result<Self> {
        let text = fs::read_to_string(report)?;
        let (cpu, kibibytes) = text.split_once(' ').context("two numbers")?;
        let kibibytes: u64 = kibibytes.parse()?;
        Ok(Self {
            cpu: Duration::from_micros(cpu.parse()?),
            peak: kibibytes * 1024,
        })
    }
}
