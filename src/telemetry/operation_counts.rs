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
            counts.add(CountedType::of_event(event.get_str("operationType").ok()));
        }
        counts
    }
}

/// What one line counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CountedType(usize);

impl CountedType {
    /// What a line of a snapshot counts as.
    #[cfg(any(feature = "nats", test))]
    pub(crate) const SNAPSHOT: Self = Self(SNAPSHOT);

    /// Returns what an event of this type counts as.
    pub(crate) fn of_event(operation_type: Option<&str>) -> Self {
        Self(
            operation_type
                .and_then(OperationType::index_of)
                .unwrap_or(OTHER),
        )
    }
}

impl OperationCounts {
    /// Returns the counts of lines of a snapshot.
    pub(crate) fn of_snapshot(lines: usize) -> Self {
        let mut counts = Self::default();
        counts.0[SNAPSHOT] = lines as u64;
        counts
    }

    /// Counts another line.
    pub(crate) fn add(&mut self, CountedType(index): CountedType) {
        self.0[index] += 1;
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
            rawdoc! { "_id": {}, "operationType": "teleport" },
            rawdoc! { "_id": {}, "operationType": 7 },
            rawdoc! { "_id": {} },
        ];
        let mut counts: OperationCounts = events.iter().collect();
        counts.add(CountedType::SNAPSHOT);
        let totals = OperationTotals::default();
        totals.add(&counts);
        totals.add(&OperationCounts::of_snapshot(2));
        assert_eq!(
            totals.by_name(),
            [("insert", 1), ("update", 2), ("snapshot", 3), ("other", 3)]
        );
    }
}
