//! One run of a program: its stdout is a pipe that is read to its end, its stderr a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeReader, Read as _, pipe};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testkit::guard::Process;

use crate::usage::Usage;

/// Maximum time from the last line to the exit of the process.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum bytes per read: the capacity of a pipe.
const READ_SIZE: usize = 64 * 1024;

/// A running program.
pub(crate) struct Running {
    process: Process,
    stdout: PipeReader,
    started: Instant,
    /// Holds its resource usage and its stderr.
    files: TempDir,
}

/// The result of a run.
pub(crate) struct Finished {
    /// Time from the start of the process until its last line was read.
    pub(crate) time: Duration,
    pub(crate) usage: Usage,
}

impl Running {
    /// Starts `command` and measures its resource usage.
    pub(crate) fn start(command: &[OsString]) -> Result<Self> {
        let files = testkit::guard::temp_dir("run-");
        let (stdout, writer) = pipe()?;
        let stderr = File::create(files.path().join("stderr"))?;
        let this = std::env::current_exe()?;
        let started = Instant::now();
        let process = Process::spawn(&this, |process| {
            process
                .arg("usage")
                .arg(files.path().join("usage"))
                .args(command);
            process.stdout(writer).stderr(stderr);
        })?;
        Ok(Self {
            process,
            stdout,
            started,
            files,
        })
    }

    /// Returns its stdout.
    pub(crate) fn stdout(&mut self) -> &mut PipeReader {
        &mut self.stdout
    }

    /// Returns the time at which it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Waits for its exit. It must print nothing.
    pub(crate) fn wait(self) -> Result<Finished> {
        let started = self.started;
        let finished = self.drain(0, |_| {})?;
        Ok(Finished {
            time: started.elapsed(),
            ..finished
        })
    }

    /// Reads the rest of its stdout, which must have `lines` lines, passes each chunk to `take` and waits for its exit.
    pub(crate) fn drain(mut self, lines: u64, mut take: impl FnMut(&[u8])) -> Result<Finished> {
        let mut buffer = vec![0; READ_SIZE];
        let mut seen = 0;
        let mut last = self.started;
        loop {
            let length = self.stdout.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            let chunk = &buffer[..length];
            last = Instant::now();
            seen += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
            take(chunk);
        }
        let time = last - self.started;
        let stderr = || fs::read_to_string(self.files.path().join("stderr")).unwrap_or_default();
        ensure!(
            seen == lines,
            "{seen} lines instead of {lines}\n{}",
            stderr()
        );
        let status = self
            .process
            .wait_for(EXIT_TIMEOUT)
            .context("it does not exit")?;
        ensure!(status.success(), "{status}\n{}", stderr());
        let usage = Usage::from_report(Path::new(&self.files.path().join("usage")))?;
        Ok(Finished { time, usage })
    }
}
