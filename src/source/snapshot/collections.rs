//! The collections that a snapshot reads, in the order in which it reads them.

use bson::{Bson, Document, RawDocument, Timestamp, Uuid, doc};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::config::{Scope, StreamSpec, UNWATCHED};
use crate::snapshot::Collection;

use super::super::classify::{self, UNAUTHORIZED};
use super::super::connection::Connection;

/// Number of databases whose collections are listed at the same time.
const CONCURRENT_LISTS: usize = 8;

/// Returns the collections of `spec`, in the order of the scan: no views, no time series, no system collections. Those that were created up
/// to `time` are among them, also if the server that replies is a secondary.
///
/// # Errors
/// The driver's.
pub(in super::super) async fn list(
    connection: &Connection,
    spec: &StreamSpec,
    time: Option<Timestamp>,
) -> mongodb::error::Result<Vec<Collection>> {
    let (databases, filter) = match &spec.scope {
        Scope::Deployment => (databases(connection, time).await?, doc! {}),
        Scope::Database(db) => (vec![db.clone()], doc! {}),
        Scope::Collections(db, colls) => (vec![db.clone()], doc! { "name": { "$in": colls } }),
        Scope::Collection(db, coll) => (vec![db.clone()], doc! { "name": coll }),
    };
    let lists = databases.into_iter().map(|db| {
        let filter = filter.clone();
        async move { list_database(connection, spec, &db, filter, time).await }
    });
    let lists = stream::iter(lists).buffer_unordered(CONCURRENT_LISTS);
    let mut collections: Vec<Collection> = lists.try_concat().await?;
    collections.sort();
    Ok(collections)
}

/// Returns the names of the databases that have a change stream.
async fn databases(
    connection: &Connection,
    time: Option<Timestamp>,
) -> mongodb::error::Result<Vec<String>> {
    let mut command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true };
    command.extend(read_concern(time));
    let reply = connection.run("admin", command).await?;
    let databases = reply.get_array("databases").into_iter().flatten();
    let names = databases.filter_map(|database| database.as_document()?.get_str("name").ok());
    Ok(names
        .filter(|name| !UNWATCHED.contains(name))
        .map(ToOwned::to_owned)
        .collect())
}

/// Returns the collections of `db` that match `filter` and are in `spec`.
async fn list_database(
    connection: &Connection,
    spec: &StreamSpec,
    db: &str,
    filter: Document,
    time: Option<Timestamp>,
) -> mongodb::error::Result<Vec<Collection>> {
    let mut command = doc! { "listCollections": 1, "filter": filter };
    command.extend(read_concern(time));
    let listed = match connection.all(db, command.clone()).await {
        Err(error) if classify::code(&error) == Some(UNAUTHORIZED) => {
            // A user without the privilege to list collections may still list the names of those that it can read.
            command.extend(doc! { "nameOnly": true, "authorizedCollections": true });
            connection.all(db, command).await?
        }
        listed => listed?,
    };
    Ok(listed
        .iter()
        .filter_map(|listed| collection(db, listed))
        .filter(|found| spec.includes(&found.db, &found.coll))
        .collect())
}

/// Returns the read concern with which a server waits until it knows everything up to `time`. The two lists accept no level but local.
fn read_concern(time: Option<Timestamp>) -> Option<(String, Bson)> {
    let read_concern = doc! { "afterClusterTime": time? };
    Some(("readConcern".to_owned(), read_concern.into()))
}

/// Returns a collection in the reply to `listCollections`; `None` for a view, a time series or a system collection.
fn collection(db: &str, listed: &RawDocument) -> Option<Collection> {
    let coll = listed.get_str("name").ok()?;
    if listed.get_str("type").ok()? != "collection" || coll.starts_with("system.") {
        return None;
    }
    let uuid = listed
        .get_document("info")
        .and_then(|info| info.get_binary("uuid"));
    let uuid = uuid.ok().and_then(|uuid| uuid.bytes.try_into().ok());
    Some(Collection {
        uuid: uuid.map(Uuid::from_bytes),
        db: db.to_owned(),
        coll: coll.to_owned(),
    })
}
