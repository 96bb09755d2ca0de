//! Counts of lines by operation type: the server's names, `snapshot`, and `other` for types that this version does not know.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::RawDocumentBuf;

use crate::config::OperationType;
use crate::snapshot;

/// Index of the lines of a snapshot.
const SNAPSHOT: usize = OperationType::ALL.len();

/// Index of the events whose type is not documented, or was removed by the pipeline.
const OTHER: usize = SNAPSHOT + 1;

/// Number of documented types, the snapshot and [`OTHER`].
const TYPES: usize = OTHER + 1;

/// Counts of some events by operation type, collected by one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OperationCounts([u64; TYPES]);

impl<'a> FromIterator<&'a RawDocumentBuf> for OperationCounts {
    fn from_iter<I: IntoIterator<Item = &'a RawDocumentBuf>>(events: I) -> Self {
        let mut counts = Self::default();
        for event in events {
            let name = event.get_str("operationType").unwrap_or_default();
            let index = match name {
                snapshot::OPERATION_TYPE => SNAPSHOT,
                name => OperationType::index_of(name).unwrap_or(OTHER),
            };
            counts.0[index] += 1;
        }
        counts
    }
}

/// Counts of all events of a watch by operation type. Other threads may read them while they grow.
#[derive(Debug, Default)]
pub(super) struct OperationTotals([AtomicU64; TYPES]);

impl OperationTotals {
    /// Adds `counts` to the totals.
    pub(super) fn add(&self, counts: &OperationCounts) {
        for (total, count) in self.0.iter().zip(counts.0) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Returns the name and the total of each type that came.
    pub(super) fn by_name(&self) -> Vec<(&'static str, u64)> {
        let totals = self.0.iter().map(|total| total.load(Ordering::Relaxed));
        let names = OperationType::ALL.iter().map(|known| known.name);
        names
            .chain([snapshot::OPERATION_TYPE, "other"])
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
    fn counts_documented_types_by_name_and_all_others_together() {
        let events = [
            rawdoc! { "_id": {}, "operationType": "update" },
            rawdoc! { "_id": {}, "operationType": "insert" },
            rawdoc! { "_id": {}, "operationType": "update" },
            rawdoc! { "_id": {}, "operationType": "snapshot" },
            rawdoc! { "_id": {}, "operationType": "teleport" },
            rawdoc! { "_id": {}, "operationType": 7 },
            rawdoc! { "_id": {} },
        ];
        let counts: OperationCounts = events.iter().collect();
        let totals = OperationTotals::default();
        totals.add(&counts);
        assert_eq!(
            totals.by_name(),
            [("insert", 1), ("update", 2), ("snapshot", 1), ("other", 3)]
        );
    }
}
