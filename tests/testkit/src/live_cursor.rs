//! The cursor of a change stream on the server, and the commands that the server has received.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};

use crate::deadline::{DEADLINE, poll};
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;
use crate::scenario::Scenario;

/// The cursor of the only change stream on a scenario's database, as `$currentOp` shows it.
pub struct LiveCursor {
    /// The cursor id.
    pub id: i64,
    /// The session that it belongs to.
    pub session: Document,
    /// The operation id of the running `getMore`; `None` between two of them.
    pub get_more: Option<Bson>,
    /// Number of events that it has returned.
    pub returned: i64,
    /// Number of replies that it has sent, including empty ones.
    pub replies: i64,
}

impl LiveCursor {
    /// Returns the current state of the cursor; `None` if there is no cursor.
    pub fn now(scenario: &Scenario<'_>) -> Option<LiveCursor> {
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
            doc! { "$match": {
                "ns": { "$regex": format!("^{}\\.", scenario.db().name()) },
                "cursor.tailable": true,
            } },
        ];
        let admin = scenario.set().client().database("admin");
        let found: Vec<Document> = block_on(async {
            // Without a majority there is no primary, but the stream continues.
            let preferred = ReadPreference::PrimaryPreferred { options: None };
            let cursors = admin
                .aggregate(pipeline)
                .selection_criteria(SelectionCriteria::ReadPreference(preferred))
                .await?;
            cursors.try_collect().await
        })
        .expect("$currentOp");
        let found = found.first()?;
        let cursor = found.get_document("cursor").expect("a cursor");
        Some(LiveCursor {
            id: cursor.get_i64("cursorId").expect("a cursor's id"),
            session: found.get_document("lsid").expect("a session").clone(),
            get_more: found.get("opid").cloned(),
            returned: cursor.get_i64("nDocsReturned").expect("a count"),
            replies: cursor.get_i64("nBatchesReturned").expect("a count"),
        })
    }

    /// Waits for a cursor for which `wanted` returns true.
    #[track_caller]
    pub fn wait_for(
        scenario: &Scenario<'_>,
        mut wanted: impl FnMut(&LiveCursor) -> bool,
    ) -> LiveCursor {
        match poll(DEADLINE, || LiveCursor::now(scenario).filter(&mut wanted)) {
            Some(cursor) => cursor,
            None => panic!("no such cursor within {DEADLINE:?}"),
        }
    }
}

/// Returns the number of `aggregate` commands that the primary has received so far.
#[track_caller]
pub fn aggregates(set: &ReplicaSet) -> i64 {
    let status = set.admin(doc! { "serverStatus": 1 });
    status
        .get_document("metrics")
        .and_then(|metrics| metrics.get_document("commands"))
        .and_then(|commands| commands.get_document("aggregate"))
        .and_then(|aggregate| aggregate.get_i64("total"))
        .expect("the server counts its commands")
}
