//! Parts that stall: the watch continues where the stalled part is not its sink, and ends on SIGTERM in any case.

mod disk;
mod ignored_signals;
mod long_replies;
mod metrics_clients;
mod quiet_stream;
mod stderr;
mod supervisor;

use std::fs::{self, File};
use std::io::{PipeReader, Write as _, pipe};
use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use testkit::deadline::{DEADLINE, poll};
use testkit::finished::Finished;
use testkit::running::Running;
use testkit::runtime::block_on;

/// How long lines may still be written after a shutdown was requested.
const GRACE: Duration = Duration::from_secs(3);

/// Time for the rest of a shutdown on a busy machine: closing the driver takes at most 2 s.
const SLACK: Duration = Duration::from_secs(3);

/// Returns a pipe that accepts no more bytes until it is read.
fn full_pipe() -> (PipeReader, File) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe has a size");
    writer.write_all(&vec![b'x'; size]).expect("it fits");
    (reader, File::from(std::os::fd::OwnedFd::from(writer)))
}

/// Inserts documents until the first event is printed, and waits for the event of one more: the stream is open and read.
#[track_caller]
fn wait_printing(running: &mut Running, coll: &Collection<Document>) {
    let printed = poll(DEADLINE, || {
        block_on(coll.insert_one(doc! {})).expect("an insert");
        (running.printed() > 0).then_some(())
    });
    assert!(printed.is_some(), "no event is printed");
    wait_prints_more(running, coll);
}

/// Inserts a document and waits until its event is printed.
#[track_caller]
fn wait_prints_more(running: &mut Running, coll: &Collection<Document>) {
    block_on(coll.insert_one(doc! { "more": 1 })).expect("an insert");
    running.lines_until(|line| line.contains(r#""more""#));
}

/// Waits until the process handles SIGTERM itself; before that, the signal ends it.
#[track_caller]
fn wait_handles_sigterm(running: &Running) {
    let handles = poll(DEADLINE, || {
        let handled = signal_mask(running, "SigCgt");
        (handled & mask(Signal::TERM) != 0).then_some(())
    });
    assert!(handles.is_some(), "SIGTERM is not handled");
}

/// Returns the signals that a mask in the status of a process holds: `SigCgt` those that are handled, `SigIgn` those that are ignored.
#[track_caller]
fn signal_mask(running: &Running, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid()));
    let status = status.expect("a live process has a status");
    let mut fields = status.lines().filter_map(|line| line.split_once(":\t"));
    let (_, digits) = fields.find(|(field, _)| *field == name).expect(name);
    u64::from_str_radix(digits, 16).expect("hex digits")
}

/// Returns the bit of a signal in a mask.
fn mask(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// Sends SIGTERM, and waits for the end within `limit`.
#[track_caller]
fn terminate_within(running: Running, limit: Duration) -> Finished {
    let sent = Instant::now();
    running.signal(Signal::TERM);
    let finished = running.wait();
    let took = sent.elapsed();
    assert!(took < limit, "{took:?}\n{}", finished.stderr);
    finished
}
