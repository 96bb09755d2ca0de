//! Operation types as they are counted: the server's own names, with one place for those it may learn yet.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::RawDocumentBuf;

/// The names that are counted apart; see <https://www.mongodb.com/docs/manual/reference/change-events/>. The last one is for
/// events whose type is none of them, or was taken out by the pipeline.
const NAMES: [&str; 20] = [
    "insert",
    "update",
    "replace",
    "delete",
    "drop",
    "rename",
    "dropDatabase",
    "invalidate",
    "create",
    "createIndexes",
    "startIndexBuild",
    "abortIndexBuild",
    "dropIndexes",
    "modify",
    "shardCollection",
    "reshardCollection",
    "refineCollectionShardKey",
    "reshardBlockingWrites",
    "endOfTransaction",
    "other",
];

const OTHER: usize = NAMES.len() - 1;

/// Events by operation type, counted by one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([u64; NAMES.len()]);

impl<'a> FromIterator<&'a RawDocumentBuf> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a RawDocumentBuf>>(events: I) -> Self {
        let mut tally = Self::default();
        for event in events {
            let name = event.get_str("operationType").unwrap_or_default();
            let index = NAMES[..OTHER].iter().position(|known| *known == name);
            tally.0[index.unwrap_or(OTHER)] += 1;
        }
        tally
    }
}

/// Events by operation type, read by others while they are counted.
#[derive(Debug, Default)]
pub(super) struct Totals([AtomicU64; NAMES.len()]);

impl Totals {
    /// Adds what was counted.
    pub(super) fn add(&self, tally: &Tally) {
        for (total, count) in self.0.iter().zip(tally.0) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Each type that came, and how often.
    pub(super) fn by_name(&self) -> Vec<(&'static str, u64)> {
        let totals = self.0.iter().map(|total| total.load(Ordering::Relaxed));
        NAMES
            .into_iter()
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
        let tally: Tally = events.iter().collect();
        let totals = Totals::default();
        totals.add(&tally);
        assert_eq!(
            totals.by_name(),
            [("insert", 1), ("update", 2), ("other", 3)]
        );
    }
}
