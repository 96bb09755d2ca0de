//! The server's side of the stream: its cursor, and the commands it was sent.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};

use crate::deadline::{DEADLINE, poll};
use crate::replica_set::ReplicaSet;
use crate::runtime::block_on;
use crate::scenario::Scenario;

/// The one change stream on a scenario's database, as the primary describes it.
pub struct LiveCursor {
    /// Its id.
    pub id: i64,
    /// The session it belongs to.
    pub session: Document,
    /// The operation id of the `getMore` that runs; `None` between two of them.
    pub get_more: Option<Bson>,
    /// Events it has sent.
    pub returned: i64,
    /// Replies it has sent, empty ones too.
    pub replies: i64,
}

impl LiveCursor {
    /// The cursor as it is now; `None` when there is none.
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
            // Without a majority there is no primary, and the stream goes on.
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

    /// Waits for one that is `wanted`.
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

/// How many `aggregate` commands the primary was sent so far.
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
