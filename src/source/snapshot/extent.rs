//! How much a snapshot has to read, and whether the user may read it, for `cswatch check`.

use bson::doc;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::error::Error;

use crate::config::StreamSpec;
use crate::snapshot::Collection;

use super::super::classify::{self, UNAUTHORIZED};
use super::super::connection::Connection;
use super::collections;
use super::estimate;

/// Number of collections that are asked for at the same time.
const CONCURRENT_REQUESTS: usize = 8;

/// How much a snapshot has to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The number of collections.
    pub(crate) collections: u64,
    /// The number of documents in them.
    pub(crate) documents: u64,
    /// The bytes of these documents; `None` if the user may not read statistics.
    pub(crate) bytes: Option<u64>,
}

/// Why the extent is unknown.
#[derive(Debug)]
pub(in super::super) struct Unmeasured {
    /// The driver's error.
    pub(in super::super) error: Error,
    /// The collection that it is about; `None` for an error of the list.
    pub(in super::super) collection: Option<Collection>,
}

/// Asks the server how much a snapshot of `spec` has to read.
///
/// # Errors
/// When a collection cannot be read, or the list of them.
pub(in super::super) async fn measure(
    connection: &Connection,
    spec: &StreamSpec,
) -> Result<Extent, Unmeasured> {
    let listed = collections::list(connection, spec, None).await;
    let listed = listed.map_err(|error| Unmeasured {
        error,
        collection: None,
    })?;
    let empty = Extent {
        collections: 0,
        documents: 0,
        bytes: Some(0),
    };
    let extents = listed.into_iter().map(|collection| async move {
        let extent = measure_collection(connection, &collection).await;
        extent.map_err(|error| Unmeasured {
            error,
            collection: Some(collection),
        })
    });
    let extents = stream::iter(extents).buffer_unordered(CONCURRENT_REQUESTS);
    let add = |sum: Extent, extent: Extent| Extent {
        collections: sum.collections + extent.collections,
        documents: sum.documents + extent.documents,
        bytes: sum.bytes.zip(extent.bytes).map(|(sum, bytes)| sum + bytes),
    };
    extents
        .try_fold(empty, |sum, extent| async move { Ok(add(sum, extent)) })
        .await
}

async fn measure_collection(
    connection: &Connection,
    Collection { db, coll, .. }: &Collection,
) -> mongodb::error::Result<Extent> {
    // A count needs the privilege that the snapshot needs.
    let documents = estimate::count(connection, db, coll).await?;
    let bytes = match size(connection, db, coll).await {
        Ok(bytes) => Some(bytes),
        Err(error) if classify::code(&error) == Some(UNAUTHORIZED) => None,
        Err(error) => return Err(error),
    };
    Ok(Extent {
        collections: 1,
        documents,
        bytes,
    })
}

/// Returns the bytes of all documents of a collection, on all shards.
async fn size(connection: &Connection, db: &str, coll: &str) -> mongodb::error::Result<u64> {
    let pipeline = [
        doc! { "$collStats": { "storageStats": {} } },
        // The statistics have 14 KB; a double holds what one shard stores.
        doc! { "$project": { "size": { "$toDouble": "$storageStats.size" } } },
    ];
    let command = doc! { "aggregate": coll, "pipeline": &pipeline[..], "cursor": {} };
    let shards = connection.all(db, command).await?;
    let sizes = shards.iter().filter_map(|shard| shard.get_f64("size").ok());
    Ok(sizes.sum::<f64>() as u64)
}
