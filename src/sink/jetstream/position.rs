//! Where a watch resumes: what the end of the stream and the checkpoint in the bucket say together.

use bson::Timestamp;

use crate::config::NatsConfig;
use crate::deployment::{Comparison, DeploymentId, Difference};
use crate::error::{Failure, Kind};
use crate::time;
use crate::token::ResumeToken;

use super::checkpoint::{CheckpointStore, SavedCheckpoint};
use super::failures::Trouble;
use super::log::{Log, Tail};

/// What the stream and the bucket hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Position {
    /// The end of the stream.
    pub(crate) tail: Tail,
    /// The checkpoint in the bucket.
    pub(crate) saved: Option<SavedCheckpoint>,
}

impl Position {
    /// Reads both.
    ///
    /// # Errors
    /// The reason why one of them cannot be read, or is not cswatch's.
    pub(crate) async fn read(log: &Log, checkpoint: &mut CheckpointStore) -> Result<Self, Trouble> {
        let saved = checkpoint.read().await?;
        let tail = log.tail().await?;
        Ok(Self { tail, saved })
    }

    /// Returns the token to resume after; `None` if there is none.
    pub(crate) fn resume_token(&self) -> Option<&ResumeToken> {
        let saved = self.saved.as_ref();
        let Some(newest) = &self.tail.newest else {
            return saved.map(|saved| &saved.checkpoint.token);
        };
        // A checkpoint with a later sequence is about messages that the server has lost: they are delivered again.
        let is_current = |saved: &&SavedCheckpoint| {
            (newest.sequence..=self.tail.last_sequence).contains(&saved.sequence)
        };
        let token = saved
            .filter(is_current)
            .map(|saved| &saved.checkpoint.token);
        Some(token.unwrap_or(&newest.token))
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

fn other_deployment(stream: &str, why: &str) -> Failure {
    Failure::new(Kind::ResumeFile, format!("stream {stream} {why}")).hint(
        "connect to the deployment that it belongs to, or give another --nats-stream and --nats-subject",
    )
}
