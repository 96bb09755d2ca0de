//! A bare publisher: async-nats with the lines of a file, as many in flight as `cswatch` has. It reads no MongoDB and encodes nothing, so
//! a program on async-nats that does both can hardly be faster.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::Result;
use async_nats::jetstream;

/// Messages and bytes in flight, as in `cswatch`.
const MAX_MESSAGES: usize = 4000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    url: String,
    subject: String,
    /// The file with the lines.
    lines: PathBuf,
}

/// Publishes the lines, and waits for every acknowledgement.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(publish(args))?;
    runtime.shutdown_background();
    Ok(())
}

async fn publish(args: &Args) -> Result<()> {
    let lines = std::fs::read(&args.lines)?;
    let urls: Vec<&str> = args.url.split(',').collect();
    let client = async_nats::connect(&urls[..]).await?;
    let context = jetstream::context::ContextBuilder::new()
        .max_ack_inflight(MAX_MESSAGES)
        .build(client);
    let mut in_flight = VecDeque::new();
    let mut bytes = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        while in_flight.len() >= MAX_MESSAGES || bytes > MAX_BYTES {
            let Some((acknowledged, length)) = in_flight.pop_front() else {
                break;
            };
            let acknowledged: jetstream::context::PublishAckFuture = acknowledged;
            acknowledged.await?;
            bytes -= length;
        }
        bytes += line.len();
        let payload = line.to_vec().into();
        let published = context.publish(args.subject.clone(), payload).await?;
        in_flight.push_back((published, line.len()));
    }
    for (acknowledged, _) in in_flight {
        acknowledged.await?;
    }
    Ok(())
}
