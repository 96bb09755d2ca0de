//! How long a test waits, and the one polling loop, for what sends no event to wait for.

use std::thread;
use std::time::{Duration, Instant};

/// The longest any single wait may take. Elections, initial syncs and slow shared machines fit; a
/// hang does not stay unseen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks at a state that can only be asked for: short beside an election, long
/// beside the question itself.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until there is an answer. `None` when there was none within `limit`.
///
/// Only for what offers nothing to block on: a line in a log file, the role of a member, the end of
/// a process within a limit.
pub fn poll<T>(limit: Duration, mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = answer() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}
