//! Where a watch resumes: what the end of the stream and the checkpoint in the bucket say together.

use bson::Timestamp;

use crate::config::NatsConfig;
use crate::deployment::{Comparison, DeploymentId, Difference};
use crate::error::{Failure, Kind};
use crate::snapshot::SnapshotProgress;
use crate::time;
use crate::token::ResumeToken;

use super::chain;
use super::checkpoint::{CheckpointStore, SavedCheckpoint};
use super::failures::Trouble;
use super::log::{self, Log, Newest, Tail};
use super::message;
use super::window::MAX_MESSAGES;

/// What the stream and the bucket hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Position {
    /// The end of the stream.
    pub(crate) tail: Tail,
    /// The checkpoint in the bucket.
    pub(crate) saved: Option<SavedCheckpoint>,
    /// A message of another program among those of cswatch.
    pub(crate) foreign: Option<Foreign>,
}

/// A message of another program that took the place of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foreign {
    pub(crate) sequence: u64,
    /// The message before it, if that is still there.
    pub(crate) before: Option<Newest>,
}

impl Position {
    /// Reads both.
    ///
    /// # Errors
    /// The reason why one of them cannot be read, or is not cswatch's.
    pub(crate) async fn read(log: &Log, checkpoint: &mut CheckpointStore) -> Result<Self, Trouble> {
        let saved = checkpoint.read().await?;
        Self::of_stream(log, saved).await
    }

    /// Reads the stream, whose checkpoint is `saved`.
    ///
    /// # Errors
    /// The reason why it cannot be read, or is not cswatch's.
    pub(super) async fn of_stream(
        log: &Log,
        saved: Option<SavedCheckpoint>,
    ) -> Result<Self, Trouble> {
        let tail = log.tail().await?;
        let foreign = find_foreign(log, &tail, saved.as_ref()).await?;
        Ok(Self {
            tail,
            saved,
            foreign,
        })
    }

    /// Checks that no message of another program is among those of cswatch.
    ///
    /// # Errors
    /// Exit code 6 when there is one.
    pub(crate) fn ensure_unbroken(&self, nats: &NatsConfig) -> Result<(), Failure> {
        match &self.foreign {
            Some(foreign) => Err(log::displaced(&nats.stream, foreign.sequence)),
            None => Ok(()),
        }
    }

    /// Returns the sequence of the message of another program, the token of the message before it, and how far the snapshot had come with that;
    /// `None` if there is none, it is saved already, or nothing is known about what was before.
    pub(crate) fn before_foreign(&self) -> Option<(u64, ResumeToken, Option<SnapshotProgress>)> {
        let foreign = self.foreign.as_ref().filter(|_| !self.is_broken())?;
        let saved = self.saved.as_ref().map(|saved| &saved.checkpoint);
        let in_bucket = saved.and_then(|saved| saved.snapshot.clone());
        let (token, snapshot) = match &foreign.before {
            // A run that begins when the snapshot is complete does not repeat that in its messages.
            Some(before) => (&before.token, before.snapshot.clone().or(in_bucket)),
            None => (&saved?.token, in_bucket),
        };
        Some((foreign.sequence, token.clone(), snapshot))
    }

    /// Returns whether messages at the end of the stream do not count, because another one has the place of the event before them.
    pub(crate) fn is_broken(&self) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.broken_at.is_some())
    }

    /// Returns the token to resume after; `None` if there is none.
    pub(crate) fn resume_token(&self) -> Option<&ResumeToken> {
        let saved = self.saved.as_ref();
        let Some(newest) = &self.tail.newest else {
            let saved = saved?;
            let first = saved.first.as_ref();
            let is_emptied = saved.sequence > self.tail.last_sequence;
            return match first.filter(|first| first.created == self.tail.created) {
                // The server has lost all messages. A stream that was purged keeps its last sequence.
                Some(first) if is_emptied => Some(&first.token),
                None if is_emptied && first.is_none() => None,
                // It was purged, or deleted and created again.
                _ => Some(&saved.checkpoint.token),
            };
        };
        if let Some(saved) = saved.filter(|saved| saved.broken_at.is_some()) {
            let token = &saved.checkpoint.token;
            // A line of a snapshot comes with the token of the time when it was read.
            let is_newer = token.is_after(&newest.token);
            return Some(if is_newer { &newest.token } else { token });
        }
        // A checkpoint with a later sequence is about messages that the server has lost: they are delivered again.
        let is_current = |saved: &&SavedCheckpoint| {
            (newest.sequence..=self.tail.last_sequence).contains(&saved.sequence)
        };
        let token = saved
            .filter(is_current)
            .map(|saved| &saved.checkpoint.token);
        Some(token.unwrap_or(&newest.token))
    }

    /// Returns how far the snapshot of the stream has come; `None` if it began without one.
    pub(crate) fn snapshot(&self) -> Option<SnapshotProgress> {
        let newest = self.tail.newest.as_ref();
        let in_message = newest.and_then(|newest| newest.snapshot.clone());
        let Some(saved) = &self.saved else {
            return in_message;
        };
        let in_bucket = saved.checkpoint.snapshot.clone()?;
        let resumed = self.resume_token();
        let first = saved.first.as_ref().map(|first| &first.token);
        match newest {
            Some(newest)
                if newest.sequence > saved.sequence && !self.is_broken()
                    || self.has_lost_messages() =>
            {
                // A run that begins when the snapshot is complete does not repeat that in its messages.
                Some(in_message.unwrap_or(in_bucket))
            }
            None if self.has_lost_messages() && resumed == first => Some(SnapshotProgress::Begun),
            _ => Some(in_bucket),
        }
    }

    /// Returns whether the checkpoint is about messages that the server has lost.
    fn has_lost_messages(&self) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.sequence > self.tail.last_sequence)
    }

    /// Returns whether there were messages, of which nothing is left to resume after.
    pub(crate) fn has_lost_its_start(&self) -> bool {
        self.resume_token().is_none() && (self.tail.last_sequence > 0 || self.saved.is_some())
    }

    /// Checks that the messages and the checkpoint belong to the deployment that was reached, at its cluster time `now`.
    ///
    /// # Errors
    /// Exit code 5 when they belong to another one.
    pub(crate) fn ensure_deployment(
        &self,
        nats: &NatsConfig,
        current: &DeploymentId,
        now: Option<Timestamp>,
    ) -> Result<(), Failure> {
        // A standalone server has no cluster time, and no change streams either.
        let Some(now) = now else { return Ok(()) };
        let stream = &nats.stream;
        let saved = self.saved.as_ref().map(|saved| &saved.checkpoint);
        if let Some(saved) = saved
            && let Comparison::Different(difference) = saved.deployment.compare(current, now)
        {
            let why = match difference {
                Difference::Topology { saved, now } => {
                    format!("belongs to {saved}, this one is {now}")
                }
                Difference::Id { part, saved, now } => format!(
                    "belongs to another deployment of the same name: its {part} is {saved}, this one's is {now}"
                ),
            };
            return Err(other_deployment(stream, &why));
        }
        match self.resume_token() {
            Some(token) if time::is_ahead(token.time(), now) => Err(other_deployment(
                stream,
                &format!(
                    "belongs to another deployment or to a later state of this one: its checkpoint {}",
                    time::ahead_of_server(token.time(), now)
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Finds a message of another program that took the place of an event: the one that the checkpoint names, or one that the last run has not
/// noticed. Only messages that were in flight together can be such.
async fn find_foreign(
    log: &Log,
    tail: &Tail,
    saved: Option<&SavedCheckpoint>,
) -> Result<Option<Foreign>, Trouble> {
    let Some(newest) = &tail.newest else {
        return Ok(None);
    };
    let sequences = match saved.and_then(|saved| saved.broken_at) {
        Some(sequence) => sequence..sequence + 1,
        None => {
            let saved = saved.map_or(0, |saved| saved.sequence);
            let in_flight = newest.sequence.saturating_sub(MAX_MESSAGES as u64);
            saved.max(in_flight) + 1..newest.sequence
        }
    };
    let is_of_cswatch = |_, id: &str| message::token_of(id).is_some();
    let Some(found) = chain::first_unexpected(log, sequences, is_of_cswatch).await? else {
        return Ok(None);
    };
    let before = match found.sequence {
        1 => None,
        sequence => log.newest_at(sequence - 1).await?,
    };
    Ok(Some(Foreign {
        sequence: found.sequence,
        before,
    }))
}

fn other_deployment(stream: &str, why: &str) -> Failure {
    Failure::new(Kind::ResumeFile, format!("stream {stream} {why}")).hint(
        "connect to the deployment that it belongs to, or give another --nats-stream and --nats-subject",
    )
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::Checkpoint;

    use super::super::checkpoint::First;
    use super::super::log::Newest;
    use super::*;

    fn token(number: u32) -> ResumeToken {
        ResumeToken::parse(&format!("82{number:08X}000000022B0229296E04")).unwrap()
    }

    /// Message `n` has token `n`; the checkpoint has token 100, and the stream begins after token 0.
    fn position(
        last_sequence: u64,
        newest: Option<u64>,
        saved: Option<(u64, Option<i128>)>,
    ) -> Position {
        Position {
            tail: Tail {
                last_sequence,
                newest: newest.map(|sequence| Newest {
                    sequence,
                    id: String::new(),
                    token: token(sequence.try_into().unwrap()),
                    snapshot: None,
                }),
                created: 1,
            },
            saved: saved.map(|(sequence, created)| SavedCheckpoint {
                checkpoint: Checkpoint {
                    token: token(100),
                    output: None,
                    deployment: DeploymentId::default(),
                    snapshot: None,
                    same_filter: true,
                },
                sequence,
                first: created.map(|created| First {
                    token: token(0),
                    created,
                }),
                broken_at: None,
            }),
            foreign: None,
        }
    }

    fn resumed(
        last_sequence: u64,
        newest: Option<u64>,
        saved: Option<(u64, Option<i128>)>,
    ) -> Option<ResumeToken> {
        let position = position(last_sequence, newest, saved);
        let resumed = position.resume_token().cloned();
        let is_lost = resumed.is_none() && (last_sequence > 0 || saved.is_some());
        assert_eq!(position.has_lost_its_start(), is_lost);
        resumed
    }

    #[test]
    fn resumes_after_the_later_of_message_and_checkpoint_that_the_stream_still_has() {
        let same = Some(1);
        for (last, newest, saved, expected) in [
            (0, None, None, None),
            (7, Some(7), None, Some(7)),
            (7, Some(7), Some((7, same)), Some(100)),
            (7, Some(7), Some((6, same)), Some(7)),
            // The server lost messages after the last one.
            (7, Some(7), Some((8, same)), Some(7)),
            // Messages were removed from the end.
            (7, Some(5), Some((6, same)), Some(100)),
            (7, Some(5), Some((4, same)), Some(5)),
            (7, None, Some((7, same)), Some(100)),
            (7, None, Some((0, same)), Some(100)),
            (7, None, None, None),
            // The server lost all messages; another stream has the name; unknown.
            (0, None, Some((8, same)), Some(0)),
            (0, None, Some((8, Some(2))), Some(100)),
            (0, None, Some((8, None)), None),
            (0, None, Some((0, same)), Some(100)),
        ] {
            let resumed = resumed(last, newest, saved);
            assert_eq!(resumed, expected.map(token), "{last} {newest:?} {saved:?}");
        }
    }

    #[test]
    fn resumes_before_messages_that_follow_one_of_another_writer() {
        for (newest, token_of_checkpoint, expected) in [
            (Some(13), 9, 9),
            // A line of a snapshot that another process read earlier.
            (Some(13), 20, 13),
            // All were removed.
            (None, 9, 9),
        ] {
            let mut position = position(13, newest, Some((10, Some(1))));
            let saved = position.saved.as_mut().unwrap();
            saved.checkpoint.token = token(token_of_checkpoint);
            saved.checkpoint.snapshot = Some(SnapshotProgress::Begun);
            saved.broken_at = Some(11);
            assert!(position.is_broken());
            assert_eq!(
                position.resume_token(),
                Some(&token(expected)),
                "{newest:?}"
            );
            assert_eq!(position.snapshot(), Some(SnapshotProgress::Begun));
        }
    }

    #[test]
    fn saves_what_was_before_a_message_of_another_program() {
        let before = Newest {
            sequence: 10,
            id: String::new(),
            token: token(9),
            snapshot: Some(SnapshotProgress::Finished),
        };
        let mut position = position(13, Some(13), Some((5, Some(1))));
        assert_eq!(position.before_foreign(), None);
        let mut expect = |before: Option<Newest>, expected| {
            position.foreign = Some(Foreign {
                sequence: 11,
                before,
            });
            assert_eq!(position.before_foreign(), expected);
        };
        let finished = Some(SnapshotProgress::Finished);
        expect(Some(before), Some((11, token(9), finished)));
        // The message before it was removed.
        expect(None, Some((11, token(100), None)));
        position.saved = None;
        assert_eq!(position.before_foreign(), None);
    }
}
