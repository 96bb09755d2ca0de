//! A bare publisher: async-nats with the lines of a file, as many in flight as `cswatch` has. It reads no MongoDB and encodes nothing, so
//! a program on async-nats that does both can hardly be faster.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue, jetstream};

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
    /// The stream, which is empty: send the headers of `cswatch`, with which this stream alone stores a line, once and in its place.
    #[arg(long)]
    exactly_once: Option<String>,
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
    let mut last_sequence = 0_u64;
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
        let subject = args.subject.clone();
        let published = match &args.exactly_once {
            None => context.publish(subject, payload).await?,
            Some(stream) => {
                let mut headers = HeaderMap::new();
                headers.insert(NATS_MESSAGE_ID, token_of(line)?);
                headers.insert(NATS_EXPECTED_STREAM, stream.as_str());
                headers.insert(
                    NATS_EXPECTED_LAST_SEQUENCE,
                    HeaderValue::from(last_sequence),
                );
                last_sequence += 1;
                context
                    .publish_with_headers(subject, headers, payload)
                    .await?
            }
        };
        in_flight.push_back((published, line.len()));
    }
    for (acknowledged, _) in in_flight {
        acknowledged.await?;
    }
    Ok(())
}

/// Returns the resume token of a line, with which it begins.
fn token_of(line: &[u8]) -> Result<&str> {
    let token = std::str::from_utf8(line)?
        .strip_prefix(r#"{"_id":{"_data":""#)
        .and_then(|rest| rest.split('"').next());
    token.context("a line without a resume token")
}
