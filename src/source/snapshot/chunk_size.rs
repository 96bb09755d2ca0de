//! The number of documents in a chunk: as many as keep the stream waiting for a short time only, and take up little memory.

use std::time::Duration;

/// Bytes of lines to aim at. As many as the queue holds: the server then prepares a chunk while the one before is written.
const TARGET_BYTES: usize = 2 * 1024 * 1024;

/// Time of a command to aim at. The stream waits meanwhile.
const TARGET_TIME: Duration = Duration::from_millis(250);

/// The largest growth from one chunk to the next.
const MAX_GROWTH: f64 = 4.0;

/// The number of documents in the next chunk.
#[derive(Debug)]
pub(super) struct ChunkSize {
    limit: u32,
    max: u32,
    /// The number of documents among which one made a chunk fail. Until they have passed, the number does not grow.
    doubtful: u32,
}

impl ChunkSize {
    /// Creates the size of the first chunk. `max` is the largest size.
    pub(super) fn new(first: u32, max: u32) -> Self {
        Self {
            limit: first.min(max),
            max,
            doubtful: 0,
        }
    }

    /// Returns the number of documents.
    pub(super) fn get(&self) -> u32 {
        self.limit
    }

    /// Adapts the size after a chunk with lines of this many bytes that took this long.
    pub(super) fn adapt(&mut self, bytes: usize, elapsed: Duration) {
        self.doubtful = self.doubtful.saturating_sub(self.limit);
        let by_bytes = TARGET_BYTES as f64 / bytes.max(1) as f64;
        let by_time = TARGET_TIME.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
        let mut factor = by_bytes.min(by_time).min(MAX_GROWTH);
        if self.doubtful > 0 {
            factor = factor.min(1.0);
        }
        self.limit = ((f64::from(self.limit) * factor) as u32).clamp(1, self.max);
    }

    /// Halves the size after a chunk that failed. Returns false if it was one document.
    pub(super) fn halve(&mut self) -> bool {
        self.doubtful = self.doubtful.max(self.limit);
        let can_halve = self.limit > 1;
        self.limit = (self.limit / 2).max(1);
        can_halve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    #[test]
    fn adapts_to_bytes_and_time() {
        let mut size = ChunkSize::new(1000, 1000);
        size.adapt(16 * TARGET_BYTES, FAST);
        assert_eq!(size.get(), 62);
        size.adapt(TARGET_BYTES / 2, FAST);
        assert_eq!(size.get(), 124);
        size.adapt(0, 2 * TARGET_TIME);
        assert_eq!(size.get(), 62);
        size.adapt(usize::MAX, FAST);
        assert_eq!(size.get(), 1);
        for _ in 0..6 {
            size.adapt(0, FAST);
        }
        assert_eq!(size.get(), 1000);
    }

    #[test]
    fn reaches_a_document_that_fails_in_few_steps() {
        let mut size = ChunkSize::new(1000, 1000);
        let (failing, mut at, mut steps) = (777, 0, 0);
        loop {
            steps += 1;
            if at + size.get() <= failing {
                at += size.get();
                size.adapt(0, FAST);
            } else if !size.halve() {
                break;
            }
        }
        assert_eq!(at, failing);
        assert!(steps < 25, "{steps}");
    }
}
