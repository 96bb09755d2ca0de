//! Operation types as they are counted: the server's own names, with one place for those it may learn yet.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::RawDocumentBuf;

use crate::config::OperationType;

/// The place of events whose type is undocumented, or was removed by the pipeline.
const OTHER: usize = OperationType::ALL.len();

/// Documented types and [`OTHER`].
const TYPES: usize = OTHER + 1;

/// Events by operation type, counted by one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OperationCounts([u64; TYPES]);

impl<'a> FromIterator<&'a RawDocumentBuf> for OperationCounts {
    fn from_iter<I: IntoIterator<Item = &'a RawDocumentBuf>>(events: I) -> Self {
        let mut counts = Self::default();
        for event in events {
            let name = event.get_str("operationType").unwrap_or_default();
            counts.0[OperationType::index_of(name).unwrap_or(OTHER)] += 1;
        }
        counts
    }
}

/// Events by operation type, read by others while they are counted.
#[derive(Debug, Default)]
pub(super) struct Totals([AtomicU64; TYPES]);

impl Totals {
    /// Adds what was counted.
    pub(super) fn add(&self, counts: &OperationCounts) {
        for (total, count) in self.0.iter().zip(counts.0) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Each type that came, and how often.
    pub(super) fn by_name(&self) -> Vec<(&'static str, u64)> {
        let totals = self.0.iter().map(|total| total.load(Ordering::Relaxed));
        let names = OperationType::ALL.iter().map(|known| known.name);
        names
            .chain(["other"])
            .zip(totals)
            .filter(|(_, total)| *total > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn counts_each_type_by_the_servers_name_and_the_rest_together() {
        let events = [
            rawdoc! { "_id": {}, "operationType": "update" },
            rawdoc! { "_id": {}, "operationType": "insert" },
            rawdoc! { "_id": {}, "operationType": "update" },
            rawdoc! { "_id": {}, "operationType": "teleport" },
            rawdoc! { "_id": {}, "operationType": 7 },
            rawdoc! { "_id": {} },
        ];
        let counts: OperationCounts = events.iter().collect();
        let totals = Totals::default();
        totals.add(&counts);
        assert_eq!(
            totals.by_name(),
            [("insert", 1), ("update", 2), ("other", 3)]
        );
    }
}
