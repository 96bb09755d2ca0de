//! The floor: the driver that `cswatch` is built on, raw events, nothing done with them. What it takes is the server's and the
//! driver's time; nothing on this driver is faster.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bson::{Document, RawDocumentBuf, Timestamp};
use mongodb::Client;

/// As `cswatch` asks for by default.
const BATCH_SIZE: u32 = 1000;

/// The same arguments as the peers'.
#[derive(clap::Args)]
pub(crate) struct Args {
    uri: String,
    db: String,
    coll: String,
    /// Where the stream starts: the two halves of a cluster time.
    time: u32,
    increment: u32,
    /// Events until the end.
    count: u64,
    /// Print a line for each event: the mark that its document carries. Otherwise one line at the end: the bytes of all events.
    #[arg(long)]
    marks: bool,
}

/// Reads events and discards them.
pub(crate) fn run(args: &Args) -> Result<()> {
    // As `cswatch` runs: what comes wakes the thread that reads it, and no other before it.
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
    let watch = coll
        .watch()
        .start_at_operation_time(start)
        .batch_size(BATCH_SIZE);
    let mut stream = watch.await?.with_type::<RawDocumentBuf>();
    let mut stdout = std::io::stdout().lock();
    let mut bytes = 0;
    let mut left = args.count;
    while left > 0 {
        let Some(event) = stream.next_if_any().await? else {
            continue;
        };
        left -= 1;
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
