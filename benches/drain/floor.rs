//! The floor: the driver that `cswatch` is built on, which reads raw events and discards them. It takes only the time of the server and
//! the driver, so no program on this driver can be faster.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bson::{Document, RawDocumentBuf, Timestamp, doc};
use mongodb::Client;

/// The default of `cswatch`.
const BATCH_SIZE: u32 = 1000;

/// The mark of the few documents that a sparse filter selects.
pub(crate) const RARE: &str = "rare";

/// The arguments, which are those of the peers.
#[derive(clap::Args)]
pub(crate) struct Args {
    uri: String,
    db: String,
    coll: String,
    /// Start of the stream: the two halves of a cluster time.
    time: u32,
    increment: u32,
    /// Number of events to read.
    count: u64,
    /// Print the mark in the document of each event on a line. Without it, print one line at the end: the number of bytes of all events.
    #[arg(long)]
    marks: bool,
    /// Read only the events of documents that are marked as [`RARE`].
    #[arg(long)]
    rare: bool,
}

/// Reads events and discards them.
pub(crate) fn run(args: &Args) -> Result<()> {
    // As in `cswatch`: a reply wakes only the thread that reads it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(drain(args))?;
    runtime.shutdown_background();
    Ok(())
}

async fn drain(args: &Args) -> Result<()> {
    let client = Client::with_uri_str(&args.uri).await?;
    let coll = client.database(&args.db).collection::<Document>(&args.coll);
    let start = Timestamp {
        time: args.time,
        increment: args.increment,
    };
    let filter = args
        .rare
        .then(|| doc! { "$match": { "fullDocument.mark": RARE } });
    let watch = coll
        .watch()
        .pipeline(filter)
        .start_at_operation_time(start)
        .batch_size(BATCH_SIZE);
    let mut stream = watch.await?.with_type::<RawDocumentBuf>();
    let mut stdout = std::io::stdout().lock();
    let mut bytes = 0;
    let mut remaining = args.count;
    while remaining > 0 {
        let Some(event) = stream.next_if_any().await? else {
            continue;
        };
        remaining -= 1;
        bytes += event.as_bytes().len();
        if args.marks {
            let document = event.get_document("fullDocument")?;
            let mark = document.get_str("mark").context("a marked document")?;
            writeln!(stdout, "{mark}")?;
        }
    }
    if !args.marks {
        writeln!(stdout, "{bytes}")?;
    }
    Ok(())
}
