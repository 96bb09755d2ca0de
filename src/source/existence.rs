//! Whether the watched collections exist. A stream of one that does not is valid, and stays silent until it is created.

use std::time::Duration;

use bson::{Document, doc};

use crate::config::{Scope, listed};

use super::connection::Connection;

/// Time for the list of collections. It is only a remark.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Watched names that do not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What does not exist, for a message.
    pub(crate) message: String,
    /// A similar name that does; empty if there is none.
    pub(crate) hint: String,
}

/// Returns what of `scope` does not exist yet; `None` if all of it does, or the server does not tell.
pub(super) async fn missing(connection: &Connection, scope: &Scope) -> Option<Missing> {
    let found = async {
        match scope {
            Scope::Deployment => None,
            Scope::Database(db) => missing_database(connection, db).await,
            Scope::Collection(db, coll) => {
                missing_collections(connection, db, std::slice::from_ref(coll)).await
            }
            Scope::Collections(db, colls) => missing_collections(connection, db, colls).await,
        }
    };
    tokio::time::timeout(TIMEOUT, found).await.ok().flatten()
}

/// Reports what of `scope` does not exist yet.
pub(super) async fn report(connection: &Connection, scope: &Scope) {
    if let Some(Missing { message, hint }) = missing(connection, scope).await {
        match hint.is_empty() {
            true => tracing::info!("{message}"),
            false => tracing::info!(hint, "{message}"),
        }
    }
}

async fn missing_database(connection: &Connection, db: &str) -> Option<Missing> {
    let command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true };
    let reply = connection.run("admin", command).await.ok()?;
    let names: Vec<String> = names(reply.get_array("databases").ok()?);
    if names.iter().any(|name| name == db) {
        return None;
    }
    Some(Missing {
        message: format!("database {db} does not exist yet; its events appear once it is created"),
        hint: (names.iter().find(|name| name.eq_ignore_ascii_case(db)))
            .map_or_else(String::new, |name| format!("did you mean --db {name}?")),
    })
}

async fn missing_collections(
    connection: &Connection,
    db: &str,
    colls: &[String],
) -> Option<Missing> {
    let names = list(connection, db, doc! { "name": { "$in": colls } }).await?;
    let missing: Vec<&String> = colls.iter().filter(|coll| !names.contains(coll)).collect();
    let first = missing.first()?;
    let full: Vec<String> = missing.iter().map(|coll| format!("{db}.{coll}")).collect();
    let subject = listed(full.iter().map(String::as_str));
    let message = match missing.len() {
        1 => format!("{subject} does not exist yet; its events appear once it is created"),
        _ => format!("{subject} do not exist yet; their events appear once they are created"),
    };
    let similar = doc! { "$expr": { "$eq": [{ "$toLower": "$name" }, { "$toLower": { "$literal": *first } }] } };
    let similar = list(connection, db, similar).await.unwrap_or_default();
    let similar = similar.iter().find(|name| !colls.contains(name));
    Some(Missing {
        message,
        hint: similar.map_or_else(String::new, |name| format!("did you mean --coll {name}?")),
    })
}

/// Returns the names of the collections that match `filter`; `None` if the server does not list all of them in one reply.
async fn list(connection: &Connection, db: &str, filter: Document) -> Option<Vec<String>> {
    let command = doc! {
        "listCollections": 1,
        "nameOnly": true,
        "authorizedCollections": true,
        "filter": filter,
    };
    let reply = connection.run(db, command).await.ok()?;
    let cursor = reply.get_document("cursor").ok()?;
    if cursor.get_i64("id").ok()? != 0 {
        return None;
    }
    Some(names(cursor.get_array("firstBatch").ok()?))
}

fn names(documents: &[bson::Bson]) -> Vec<String> {
    let names = documents
        .iter()
        .filter_map(|document| document.as_document()?.get_str("name").ok());
    names.map(ToOwned::to_owned).collect()
}
