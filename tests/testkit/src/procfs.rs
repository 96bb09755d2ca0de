//! Counters that Linux keeps for a running process: CPU time, memory, context switches.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Ticks per second of the times in `/proc`. The value does not depend on the clock of the kernel
/// (<https://man7.org/linux/man-pages/man7/time.7.html>).
const CLOCK_TICKS: u64 = 100;

/// Returns the CPU time of a process so far, user and system, of all threads.
#[track_caller]
pub fn cpu_time(pid: u32) -> Duration {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process has a stat");
    // The name, in parentheses, may contain spaces; utime and stime are the 12th and 13th fields after it.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 1000 / CLOCK_TICKS)
}

/// Returns the largest resident memory of a process so far, in bytes.
#[track_caller]
pub fn peak_memory(pid: u32) -> u64 {
    status(Path::new(&format!("/proc/{pid}")), "VmHWM") * 1024
}

/// Returns how often the thread with this name has waited so far.
#[track_caller]
pub fn waits_of_thread(pid: u32, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process has threads");
    let thread = threads
        .map(|thread| thread.expect("a thread").path())
        .find(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
    status(&thread.expect(name), "voluntary_ctxt_switches")
}

/// Returns a number from the status of a running process or thread, without its unit.
#[track_caller]
fn status(directory: &Path, name: &str) -> u64 {
    let status =
        fs::read_to_string(directory.join("status")).expect("a running process has a status");
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).expect(name);
    let number = value.trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}
