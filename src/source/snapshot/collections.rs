//! The collections in scope.

use bson::{Bson, Document, doc};

use crate::config::{Scope, StreamSpec};
use crate::snapshot::Collection;
use crate::source::connection::Connection;

/// Returns the collections in scope, sorted.
pub(super) async fn list(
    connection: &Connection,
    spec: &StreamSpec,
) -> mongodb::error::Result<Vec<Collection>> {
    let dbs = match &spec.scope {
        Scope::Deployment => {
            let reply = connection
                .run(
                    "admin",
                    doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true },
                )
                .await?;
            let dbs = reply.get_array("databases").cloned().unwrap_or_default();
            dbs.iter()
                .filter_map(|db| Some(db.as_document()?.get_str("name").ok()?.to_owned()))
                .collect()
        }
        scope => vec![scope.database().to_owned()],
    };
    let mut collections = Vec::new();
    for db in dbs {
        let list = doc! { "listCollections": 1, "filter": { "type": "collection" }, "cursor": { "batchSize": 100_000 } };
        let reply = connection.run(&db, list).await?;
        let found = reply.get_document("cursor")?.get_array("firstBatch")?;
        let found = found.iter().filter_map(Bson::as_document);
        collections.extend(found.filter_map(|found| collection(&db, found)));
    }
    collections.retain(|one| spec.includes(&one.db, &one.coll));
    collections.sort();
    Ok(collections)
}

fn collection(db: &str, found: &Document) -> Option<Collection> {
    let uuid = found.get_document("info").ok()?.get("uuid")?;
    let Bson::Binary(uuid) = uuid else {
        return None;
    };
    Some(Collection {
        uuid: uuid.to_uuid().ok(),
        db: db.to_owned(),
        coll: found.get_str("name").ok()?.to_owned(),
    })
}
