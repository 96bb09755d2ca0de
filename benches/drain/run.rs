//! One run of a program: what it prints comes through a pipe and is read to the end, what it says goes to a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeReader, Read as _, pipe};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testkit::guard::Process;

use crate::usage::Usage;

/// From the last line to the end of the process.
const END: Duration = Duration::from_secs(30);

/// Read at once at most: as much as a pipe holds.
const PIECE: usize = 64 * 1024;

/// A program that runs.
pub(crate) struct Running {
    process: Process,
    stdout: PipeReader,
    started: Instant,
    /// Holds its account and what it says.
    files: TempDir,
}

/// What came of a run.
pub(crate) struct Finished {
    /// From the start of the process to its last line, read.
    pub(crate) time: Duration,
    pub(crate) usage: Usage,
}

impl Running {
    /// Starts `command` with its account kept.
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

    /// Where its lines come from.
    pub(crate) fn stdout(&mut self) -> &mut PipeReader {
        &mut self.stdout
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Reads the lines that are left, `lines` of them, and hands each piece to `take`.
    pub(crate) fn drain(mut self, lines: u64, mut take: impl FnMut(&[u8])) -> Result<Finished> {
        let mut piece = vec![0; PIECE];
        let mut seen = 0;
        let mut last = self.started;
        loop {
            let length = self.stdout.read(&mut piece)?;
            if length == 0 {
                break;
            }
            let piece = &piece[..length];
            last = Instant::now();
            seen += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            take(piece);
        }
        let time = last - self.started;
        let stderr = || fs::read_to_string(self.files.path().join("stderr")).unwrap_or_default();
        ensure!(
            seen == lines,
            "{seen} lines instead of {lines}\n{}",
            stderr()
        );
        let status = self.process.wait_for(END).context("it does not end")?;
        ensure!(status.success(), "{status}\n{}", stderr());
        let usage = Usage::from_report(Path::new(&self.files.path().join("usage")))?;
        Ok(Finished { time, usage })
    }
}
