//! The text of a checkpoint in the bucket: a line about the stream, then the text of a resume file.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Invalid};
use crate::token::ResumeToken;

/// The first line: the stream when the checkpoint was saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// Its last sequence.
    sequence: u64,
    /// Where it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<HeadFirst>,
    /// As [`SavedCheckpoint::broken_at`].
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<u64>,
}

/// [`First`], as it is saved.
#[derive(Debug, Serialize, Deserialize)]
struct HeadFirst {
    token: serde_json::Value,
    created: i128,
}

/// Where a stream begins: it is empty again if its server lost all of its messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct First {
    /// The token that its first message follows.
    pub(crate) token: ResumeToken,
    /// When it was created, as [`super::super::Tail::created`].
    pub(crate) created: i128,
}

/// A checkpoint in the bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SavedCheckpoint {
    pub(crate) checkpoint: Checkpoint,
    /// The last sequence of the stream when it was saved.
    pub(crate) sequence: u64,
    /// Where the stream begins; `None` if it had messages before its first checkpoint.
    pub(crate) first: Option<First>,
    /// The sequence of a message of another writer that took the place of an event. Those after it do not count: the event is not among them.
    pub(crate) broken_at: Option<u64>,
}

impl Head {
    /// Returns the head of a stream whose last sequence is `sequence`. The others are as in [`SavedCheckpoint`].
    ///
    /// # Errors
    /// When the token is not valid BSON.
    pub(super) fn new(
        sequence: u64,
        first: Option<&First>,
        broken_at: Option<u64>,
    ) -> io::Result<Self> {
        let first = match first {
            Some(First { token, created }) => Some(HeadFirst {
                token: serde_json::from_str(&token.to_extended_json().map_err(io::Error::other)?)?,
                created: *created,
            }),
            None => None,
        };
        Ok(Self {
            sequence,
            first,
            broken_at,
        })
    }

    /// Returns the whole value, with the text of a resume file.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn followed_by(&self, text: &str) -> io::Result<Bytes> {
        let head = serde_json::to_string(self)?;
        Ok(format!("{head}\n{text}").into())
    }
}

/// Reads a checkpoint that belongs to this scope and this fingerprint.
///
/// # Errors
/// Why it does not count.
pub(super) fn parse(
    value: &[u8],
    scope: &str,
    fingerprint: &str,
) -> Result<SavedCheckpoint, Invalid> {
    let head_end = value.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, text) = value.split_at(head_end);
    let damaged = || Invalid::Damaged("was not written by cswatch, or is damaged".to_owned());
    let head: Head = serde_json::from_slice(head).map_err(|_| damaged())?;
    let first = match head.first {
        Some(HeadFirst { token, created }) => Some(First {
            token: ResumeToken::parse(&token.to_string()).map_err(|_| damaged())?,
            created,
        }),
        None => None,
    };
    Ok(SavedCheckpoint {
        checkpoint: Checkpoint::parse(text.get(1..).unwrap_or_default(), scope, fingerprint)?,
        sequence: head.sequence,
        first,
        broken_at: head.broken_at,
    })
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::Owner;

    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_everything_else() {
        let owner = Owner {
            scope: "shop.orders".to_owned(),
            fingerprint: "f".to_owned(),
            deployment: crate::deployment::DeploymentId::default(),
        };
        let token = ResumeToken::parse("826B032CA2000000022B0229296E04").unwrap();
        let first = First {
            token: token.clone(),
            created: 5,
        };
        let head = Head::new(7, Some(&first), Some(6)).unwrap();
        let text = owner.text(&token, None, None).unwrap();
        let value = head.followed_by(&text).unwrap();
        let first_line = format!(
            "{{\"sequence\":7,\"first\":{{\"token\":{{\"_data\":\"{}\"}},\"created\":5}},\"broken_at\":6}}",
            token.data()
        );
        let text = str::from_utf8(&value).unwrap();
        assert_eq!(text.lines().next(), Some(first_line.as_str()));
        let saved = parse(&value, "shop.orders", "f").unwrap();
        assert_eq!((saved.sequence, saved.broken_at), (7, Some(6)));
        assert_eq!(saved.first, Some(first));
        assert_eq!(saved.checkpoint.token, token);
        let other = parse(&value, "shop", "f").unwrap_err();
        assert_eq!(other, Invalid::OtherScope("shop.orders".to_owned()));
        for damaged in [
            "",
            "\n",
            "7",
            "{\"sequence\":7}",
            &text[..text.len() - 9],
            &text[1..],
        ] {
            let invalid = parse(damaged.as_bytes(), "shop.orders", "f");
            assert!(matches!(invalid, Err(Invalid::Damaged(_))), "{damaged}");
        }
    }
}
