//! Progress of the scan of a snapshot: what was read, what there is to read, and how long the rest takes.

use std::time::{Duration, Instant};

use crate::count::{counted, grouped};
use crate::time::readable;

/// The counters of a scan.
#[derive(Debug, Clone)]
pub(super) struct ScanState {
    begun_at: Instant,
    finished_after: Option<Duration>,
    pub(super) collections: u64,
    pub(super) begun_collections: u64,
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) estimate: Option<u64>,
}

impl ScanState {
    /// Starts a scan of this number of collections now.
    pub(super) fn begin(collections: u64) -> Self {
        Self {
            begun_at: Instant::now(),
            finished_after: None,
            collections,
            begun_collections: 0,
            documents: 0,
            bytes: 0,
            estimate: None,
        }
    }

    /// Ends it now.
    pub(super) fn finish(&mut self) {
        self.finished_after.get_or_insert(self.begun_at.elapsed());
    }

    /// Returns the scan as it is now.
    pub(super) fn progress(&self) -> Scan {
        Scan {
            is_finished: self.finished_after.is_some(),
            time: self
                .finished_after
                .unwrap_or_else(|| self.begun_at.elapsed()),
            collections: self.collections,
            finished_collections: match self.finished_after {
                Some(_) => self.collections,
                None => self.begun_collections.saturating_sub(1),
            },
            documents: self.documents,
            bytes: self.bytes,
            estimate: self.estimate,
        }
    }
}

/// A scan at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whether all collections were read.
    pub(super) is_finished: bool,
    /// How long the scan has taken in this run.
    pub(super) time: Duration,
    /// Collections to read in this run.
    pub(super) collections: u64,
    /// Collections of which everything was read.
    pub(super) finished_collections: u64,
    /// Documents that were read from the server.
    pub(super) documents: u64,
    /// Bytes of these documents.
    pub(super) bytes: u64,
    /// Documents in all collections when the scan began; `None` while unknown.
    pub(super) estimate: Option<u64>,
}

impl Scan {
    /// Returns the progress for the status line; `None` once the scan is finished.
    pub(super) fn text(&self, per_second: f64) -> Option<String> {
        if self.is_finished {
            return None;
        }
        let documents = match self.estimate {
            Some(estimate) => format!(
                "{} of about {}",
                grouped(self.documents),
                counted(estimate.max(self.documents), "document")
            ),
            None => counted(self.documents, "document"),
        };
        let mut text = format!(
            "snapshot {documents}, {}/s",
            grouped(per_second.round() as u64)
        );
        if let Some(left) = self.time_left() {
            text += &format!(", {} left", readable(left));
        }
        Some(text)
    }

    /// Returns how long the rest takes at the average rate so far; `None` while unknown.
    fn time_left(&self) -> Option<Duration> {
        let left = self.estimate?.checked_sub(self.documents)?;
        if self.documents == 0 {
            return None;
        }
        let seconds = self.time.as_secs_f64() * left as f64 / self.documents as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: Scan = Scan {
        is_finished: false,
        time: Duration::from_secs(10),
        collections: 3,
        finished_collections: 1,
        documents: 1_000_000,
        bytes: 500_000_000,
        estimate: None,
    };

    #[test]
    fn shows_the_total_and_the_time_left_once_they_are_known() {
        assert_eq!(
            SCAN.text(99_999.6).unwrap(),
            "snapshot 1,000,000 documents, 100,000/s"
        );
        let estimated = Scan {
            estimate: Some(3_500_000),
            ..SCAN
        };
        assert_eq!(
            estimated.text(0.0).unwrap(),
            "snapshot 1,000,000 of about 3,500,000 documents, 0/s, 25s left"
        );
    }

    #[test]
    fn never_shows_more_documents_than_there_are() {
        let grown = Scan {
            estimate: Some(1),
            ..SCAN
        };
        assert_eq!(
            grown.text(1.0).unwrap(),
            "snapshot 1,000,000 of about 1,000,000 documents, 1/s"
        );
    }

    #[test]
    fn counts_a_collection_as_finished_when_the_next_one_begins() {
        let mut state = ScanState::begin(2);
        let finished = |state: &ScanState| state.progress().finished_collections;
        assert_eq!(finished(&state), 0);
        state.begun_collections = 2;
        assert_eq!(finished(&state), 1);
        state.finish();
        assert_eq!(finished(&state), 2);
        assert_eq!(state.progress().text(1.0), None);
    }
}
