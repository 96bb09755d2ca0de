//! The chain of messages: whether each one in the stream is the one that cswatch expects there. The server checks every message on its own:
//! if a message of another writer takes the place of one in flight, those sent after it still follow the last one, and are stored without it.

use std::ops::Range;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::failures::Trouble;
use super::log::Log;
use super::message;

/// Messages that are asked for at the same time. Each reply may be as large as the server allows.
const REQUESTS: usize = 8;

/// A message that is not the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unexpected {
    pub(crate) sequence: u64,
    /// Whether it is one of cswatch, from another process; otherwise another program published it.
    pub(crate) is_of_cswatch: bool,
}

/// Returns the first of the messages with these sequences whose message ID is not as `is_expected` says. Messages that were removed are as
/// expected.
///
/// # Errors
/// The reason why a message cannot be read.
pub(super) async fn first_unexpected(
    log: &Log,
    sequences: Range<u64>,
    is_expected: impl Fn(u64, &str) -> bool,
) -> Result<Option<Unexpected>, Trouble> {
    let messages = stream::iter(sequences)
        .map(|sequence| log.message_at(sequence))
        .buffered(REQUESTS);
    let unexpected = messages.try_filter_map(|message| {
        let unexpected = message.and_then(|message| {
            let id = message::id_in(&message.headers).unwrap_or_default();
            (!is_expected(message.sequence, id)).then(|| Unexpected {
                sequence: message.sequence,
                is_of_cswatch: message::token_of(id).is_some(),
            })
        });
        async move { Ok(unexpected) }
    });
    std::pin::pin!(unexpected).try_next().await
}
