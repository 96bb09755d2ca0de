//! The floor of a scan: the driver that `cswatch` is built on, which reads documents with one cursor and discards them.

use std::io::Write as _;

use anyhow::Result;
use bson::{Document, doc};
use futures::StreamExt as _;
use mongodb::Client;

/// The default of `cswatch`.
const BATCH_SIZE: u32 = 1000;

/// The filter of `cswatch --match` in the same measurement.
pub(crate) const MATCH: &str = r#"{"fullDocument.express": false}"#;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    uri: String,
    db: String,
    coll: String,
    /// How documents are read.
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum How {
    /// A find, in the order of the collection.
    Find,
    /// A find in the order of `_id`.
    FindById,
    /// The aggregate of [`MATCH`]: in the order of `_id`, with documents in the form of events, which are undone after the filter.
    Aggregate,
}

impl How {
    /// Returns the name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Find => "floor: bare driver, find, raw documents discarded",
            Self::FindById => "floor: bare driver, find in the order of `_id`",
            Self::Aggregate => "floor: bare driver, the same aggregate",
        }
    }

    /// Returns the argument.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::FindById => "find-by-id",
            Self::Aggregate => "aggregate",
        }
    }
}

/// Reads documents and discards them. Prints one line at the end: the number of their bytes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bytes = runtime.block_on(drain(args))?;
    writeln!(std::io::stdout(), "{bytes}")?;
    runtime.shutdown_background();
    Ok(())
}

async fn drain(args: &Args) -> Result<usize> {
    let client = Client::with_uri_str(&args.uri).await?;
    let coll = client.database(&args.db).collection::<Document>(&args.coll);
    let by_id = doc! { "_id": 1 };
    let mut batches = match args.how {
        How::Find => coll.find(doc! {}).batch_size(BATCH_SIZE).batch().await?,
        How::FindById => {
            let find = coll.find(doc! {}).sort(by_id).batch_size(BATCH_SIZE);
            find.batch().await?
        }
        How::Aggregate => {
            let wrapped = doc! {
                "_id": { "_data": { "$literal": "token" }, "key": "$_id" },
                "operationType": "snapshot",
                "fullDocument": "$$ROOT",
                "ns": { "$literal": { "db": &args.db, "coll": &args.coll } },
                "documentKey": { "_id": "$_id" },
            };
            let filter: Document = serde_json::from_str(MATCH)?;
            let pipeline = [
                doc! { "$sort": by_id },
                doc! { "$replaceWith": wrapped },
                doc! { "$match": filter },
                doc! { "$replaceWith": "$fullDocument" },
            ];
            let aggregate = coll.aggregate(pipeline).batch_size(BATCH_SIZE);
            aggregate.batch().await?
        }
    };
    let mut bytes = 0;
    while let Some(batch) = batches.next().await {
        for document in batch?.doc_slices()? {
            bytes += document?
                .as_document()
                .map_or(0, |document| document.as_bytes().len());
        }
    }
    Ok(bytes)
}
