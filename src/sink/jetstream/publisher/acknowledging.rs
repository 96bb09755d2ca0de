//! What the server replies to messages: those that are stored leave the window, and move the checkpoint, in order.

use std::time::Instant;

use crate::error::Failure;
use crate::telemetry::{CountedType, OperationCounts};
use crate::token::ResumeToken;

use super::super::acknowledgements::{Outcome, Reply};
use super::super::checkpoint::Moved;
use super::super::failures::{Request, Trouble};
use super::{Publisher, too_large};

/// The message of the server for a message larger than the stream allows.
const MESSAGE_TOO_LARGE: async_nats::jetstream::ErrorCode =
    async_nats::jetstream::ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM;

/// How it is known that a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledged {
    ByReply,
    ByTheStream,
}

impl Publisher {
    /// Handles the reply to a message. Returns why it is in doubt what is stored, if it is.
    pub(super) fn handle_reply(&mut self, reply: Reply) -> Result<Option<String>, Failure> {
        let Reply { expected, outcome } = reply;
        match outcome {
            _ if !self.window.is_in_flight(expected) => Ok(None),
            Outcome::Stored { sequence, .. } if sequence == expected => {
                let next = self.window.stored() + 1;
                if sequence > next {
                    // A message of another writer may have its place.
                    return Ok(Some(format!("message {next} was not acknowledged")));
                }
                self.acknowledge_first(Acknowledged::ByReply);
                Ok(None)
            }
            Outcome::Stored {
                sequence,
                is_duplicate,
            } => {
                // The server remembers a message with this token at another place: one of an earlier run, or one that was removed.
                self.is_rewound |= is_duplicate;
                Ok(Some(format!(
                    "message {expected} was acknowledged as number {sequence}"
                )))
            }
            Outcome::Refused(error) => {
                if error.error_code() == MESSAGE_TOO_LARGE
                    && let Some(message) = self.window.get(expected)
                {
                    let limit = format!("max_msg_size of stream {}", self.log.name());
                    let failure = too_large(message, 0, &limit);
                    self.end_before(expected, failure);
                    return Ok(None);
                }
                match self.log.connection.refused(Request::Publish, &error) {
                    Trouble::Passing(reason) => Ok(Some(reason)),
                    Trouble::Lasting(failure) => Err(failure),
                }
            }
            Outcome::NoStream => Ok(Some(format!(
                "no server stores messages of stream {} at this moment",
                self.log.name()
            ))),
            Outcome::Invalid => Ok(Some("an acknowledgement cannot be read".to_owned())),
        }
    }

    /// Records that the first message of the window is stored.
    pub(super) fn acknowledge_first(&mut self, acknowledged: Acknowledged) {
        let Some(kept) = self.window.pop_stored() else {
            return;
        };
        self.last_progress = Instant::now();
        if acknowledged == Acknowledged::ByReply {
            self.telemetry.acknowledged(kept.sent_at.elapsed());
        }
        if std::mem::take(&mut self.is_stuck) {
            self.backoff.reset();
        }
        let message = kept.message;
        let sequence = self.window.stored();
        let bytes = message.payload.len() as u64;
        let time = message.token.time();
        self.checkpoint
            .record(message.token, sequence, Moved::ByEvent);
        let mut counts = OperationCounts::default();
        counts.add(message.counted);
        if message.counted == CountedType::SNAPSHOT {
            self.telemetry.printed_snapshot(&counts, bytes);
            if let Some(progress) = message.progress {
                self.checkpoint.record_snapshot(*progress);
            }
        } else {
            self.telemetry.printed(&counts, bytes, Some(time));
        }
        if let Some(progress) = kept.progress {
            self.record_progress(progress);
        }
        if let Some(token) = &kept.caught_up {
            self.record_caught_up(token);
        }
    }

    /// Records that nothing else happened up to `token`, and that every event before is stored.
    pub(super) fn record_caught_up(&mut self, token: &ResumeToken) {
        let sequence = self.window.stored();
        self.checkpoint
            .record(token.clone(), sequence, Moved::ByEmptyReply);
        self.telemetry.caught_up(token.time());
    }
}
