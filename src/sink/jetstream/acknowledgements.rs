//! Acknowledgements of published messages: replies to one inbox, each with the sequence that the message was to get.

use async_nats::{Client, StatusCode, Subscriber, jetstream};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;

/// The inbox of the acknowledgements since messages were sent anew. Replies to earlier ones go nowhere.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    inbox: String,
    replies: Subscriber,
}

/// The reply to a message.
#[derive(Debug)]
pub(super) struct Reply {
    /// The sequence that the message was to get; 0 if the reply cannot be of any.
    pub(super) expected: u64,
    pub(super) outcome: Outcome,
}

/// What a reply reports.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The message has this sequence.
    Stored { sequence: u64, is_duplicate: bool },
    /// The server refused it.
    Refused(jetstream::Error),
    /// No stream stores the subject at this moment: there is none, or it has no leader.
    NoStream,
    /// It cannot be read.
    Invalid,
}

/// The fields of a reply. The client's own type tries one variant after the other, which takes several times as long.
#[derive(Deserialize)]
struct Fields {
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<jetstream::Error>,
}

impl Acknowledgements {
    /// Subscribes to a new inbox.
    ///
    /// # Errors
    /// What the client reports.
    pub(super) async fn subscribe(client: &Client) -> Result<Self, String> {
        let inbox = client.new_inbox();
        let replies = client.subscribe(format!("{inbox}.*")).await;
        Ok(Self {
            inbox,
            replies: replies.map_err(|error| error.to_string())?,
        })
    }

    /// Returns the subject of the reply to a message that is to get this sequence.
    pub(super) fn subject_of(&self, sequence: u64) -> String {
        let mut buffer = itoa::Buffer::new();
        let number = buffer.format(sequence);
        let mut subject = String::with_capacity(self.inbox.len() + 1 + number.len());
        subject.push_str(&self.inbox);
        subject.push('.');
        subject.push_str(number);
        subject
    }

    /// Waits for the next reply; `None` when the client is closed. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Reply> {
        self.replies.next().await.map(|message| Reply::of(&message))
    }

    /// Returns the next reply if it is here.
    pub(super) fn try_next(&mut self) -> Option<Reply> {
        self.next().now_or_never().flatten()
    }
}

impl Reply {
    fn of(message: &async_nats::Message) -> Self {
        let number = message.subject.rsplit('.').next();
        let outcome = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Outcome::NoStream
        } else {
            match serde_json::from_slice::<Fields>(&message.payload) {
                Ok(Fields {
                    error: Some(error), ..
                }) => Outcome::Refused(error),
                Ok(Fields {
                    seq: Some(sequence),
                    duplicate,
                    ..
                }) => Outcome::Stored {
                    sequence,
                    is_duplicate: duplicate,
                },
                Ok(_) | Err(_) => Outcome::Invalid,
            }
        };
        Self {
            expected: number.and_then(|number| number.parse().ok()).unwrap_or(0),
            outcome,
        }
    }
}
