//! What a program used: CPU time and peak memory, from the kernel's own account. That account is one for all children of a process
//! that were waited for, so each program is started by a process of its own: this binary in another role.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use testkit::guard::Process;

/// No program under measurement runs longer.
const LIMIT: Duration = Duration::from_secs(1800);

/// How the process that waits for a program is started.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the account goes.
    report: PathBuf,
    /// What is run, and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// What a program used from its start to its end.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time, user and system, of all threads.
    pub(crate) cpu: Duration,
    /// Largest resident memory, in bytes.
    pub(crate) peak: u64,
}

/// Runs a program to its end, on the same stdin, stdout and stderr, and writes down what it used.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().context("a program")?;
    let mut child = Process::spawn(Path::new(program), |command| {
        command.args(rest);
    })?;
    let status = child.wait_for(LIMIT).context("it does not end")?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        program.display()
    );
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    fs::write(&args.report, format!("{cpu} {}", usage.max_rss()))?;
    Ok(())
}

impl Usage {
    /// From what [`run`] wrote.
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
