//! The deadline of every wait, and the polling loop for states that send no event.

use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a single wait may take. It is enough for elections, initial syncs and slow shared machines, and short enough
/// to notice a hang.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The longest time to read or to deliver a long backlog, after elections if there were any.
pub const BACKLOG_DEADLINE: Duration = Duration::from_secs(120);

/// The longest time until a server has started or is ready. Under Wine on a busy machine a start takes half a minute (measured on MongoDB
/// 7.0.28); one that fails ends the process, which is noticed at once.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(120);

/// Pause between two polls of a state: short compared to an election, long compared to the poll itself.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Calls `state` until it returns a value. Returns `None` if it returned none within `limit`.
///
/// Only for states that cannot be waited for: a line in a log file, the role of a member, the end of a process within a limit.
pub fn poll<T>(limit: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = state() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}
