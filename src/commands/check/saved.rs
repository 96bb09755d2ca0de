//! The checkpoint that a watch would resume after: in a resume file, or in the stream that it delivers to.

use std::path::PathBuf;

use bson::Timestamp;

use crate::checkpoint::Checkpoint;
#[cfg(feature = "nats")]
use crate::config::NatsConfig;
use crate::deployment::DeploymentId;
use crate::error::Failure;
#[cfg(feature = "nats")]
use crate::sink::jetstream::Position;
use crate::snapshot::SnapshotProgress;
use crate::token::ResumeToken;

/// A saved checkpoint.
pub(super) enum Saved {
    /// In the resume file with this path.
    InFile(PathBuf, Box<Checkpoint>),
    /// In a stream.
    #[cfg(feature = "nats")]
    InStream(Box<InStream>),
}

/// A checkpoint in the stream of a delivery.
#[cfg(feature = "nats")]
pub(super) struct InStream {
    config: NatsConfig,
    position: Position,
    /// The token to resume after.
    token: ResumeToken,
}

impl Saved {
    /// Returns the checkpoint of a stream, if it holds one.
    #[cfg(feature = "nats")]
    pub(super) fn in_stream(config: &NatsConfig, position: Position) -> Option<Self> {
        let token = position.resume_token()?.clone();
        let config = config.clone();
        Some(Self::InStream(Box::new(InStream {
            config,
            position,
            token,
        })))
    }

    /// Returns the token to resume after.
    pub(super) fn token(&self) -> &ResumeToken {
        match self {
            Self::InFile(_, checkpoint) => &checkpoint.token,
            #[cfg(feature = "nats")]
            Self::InStream(saved) => &saved.token,
        }
    }

    /// Returns how far its snapshot has come; `None` if the watch began without one.
    pub(super) fn snapshot(&self) -> Option<SnapshotProgress> {
        match self {
            Self::InFile(_, checkpoint) => checkpoint.snapshot.clone(),
            #[cfg(feature = "nats")]
            Self::InStream(saved) => saved.position.snapshot(),
        }
    }

    /// Returns the checkpoint in a resume file.
    pub(super) fn in_file(&self) -> Option<&Checkpoint> {
        match self {
            Self::InFile(_, checkpoint) => Some(checkpoint),
            #[cfg(feature = "nats")]
            Self::InStream(_) => None,
        }
    }

    /// Checks that it belongs to the deployment with this identity, at its cluster time `now`.
    ///
    /// # Errors
    /// Exit code 5 when it does not.
    pub(super) fn ensure_deployment(
        &self,
        identity: &DeploymentId,
        now: Option<Timestamp>,
    ) -> Result<(), Failure> {
        match self {
            Self::InFile(path, checkpoint) => checkpoint.ensure_deployment(path, identity, now),
            #[cfg(feature = "nats")]
            Self::InStream(saved) => {
                let InStream {
                    config, position, ..
                } = &**saved;
                position.ensure_deployment(config, identity, now)
            }
        }
    }
}
