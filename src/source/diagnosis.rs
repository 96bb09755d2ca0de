//! Diagnosis of an error reply: whether the server refuses a stage of the filter, the resume token, or any stream. Hundreds of codes mean
//! an invalid filter, several of them also mean an invalid token or a fault that passes. So the command is sent again in parts.

use std::time::Duration;

use mongodb::error::Error;

use crate::config::StreamSpec;
use crate::token::ResumeToken;

use super::classify::{self, Verdict};
use super::connection::Connection;
use super::start;
use super::target::Target;

/// Time for a diagnosis. A filter of many megabytes takes the server seconds each time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The part of the command that the server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Culprit {
    /// A stage of the filter. Holds the flag that it came from.
    Stage(String),
    /// The resume token.
    Token,
    /// Not the filter and not the token: a stream without them fails too.
    Stream,
    /// No part: the error did not repeat, or no event was read that causes it.
    Unknown,
}

/// Returns the part of the command that `error` is about. `opened` is the token after which the stream was opened, if it was.
pub(super) async fn culprit(
    target: &Target,
    error: &Error,
    opened: Option<&ResumeToken>,
) -> Culprit {
    let Target {
        connection, spec, ..
    } = target;
    let Some(code) = classify::code(error) else {
        return Culprit::Unknown;
    };
    let diagnosis = Diagnosis {
        connection,
        spec,
        code,
    };
    let found = match tokio::time::timeout(TIMEOUT, diagnosis.run(error, opened)).await {
        Ok(Some(culprit)) => culprit,
        Ok(None) | Err(_) => Culprit::Unknown,
    };
    tracing::debug!(code, "the server refuses: {found:?}");
    found
}

/// The result of one part of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Opens,
    /// The error to be diagnosed.
    SameError,
    /// Another error that does not pass as far as known: two stages may be invalid.
    OtherError,
}

struct Diagnosis<'a> {
    connection: &'a Connection,
    spec: &'a StreamSpec,
    /// The code of the error.
    code: i32,
}

impl Diagnosis<'_> {
    /// Returns the culprit; `None` if the replies contradict each other, because a fault began or passed in between.
    async fn run(&self, error: &Error, opened: Option<&ResumeToken>) -> Option<Culprit> {
        let all = self.spec.pipeline.len();
        match self.open(0).await? {
            Reply::SameError => return Some(Culprit::Stream),
            Reply::OtherError => return None,
            Reply::Opens => {}
        }
        if all > 0 && self.open(all).await? == Reply::SameError {
            let stage = self.first_refused_stage(all).await?;
            // Once more, to distinguish it from a fault that comes and goes.
            let is_same =
                self.open(0).await? == Reply::Opens && self.open(all).await? == Reply::SameError;
            let origin = self.spec.origins.get(stage)?;
            return is_same.then(|| Culprit::Stage(origin.clone()));
        }
        let token = opened.filter(|_| classify::may_be_bad_token(error))?;
        let bare = self.first_stages(0);
        let with_token = start::check_token(self.connection, &bare, token).await;
        let is_token =
            self.reply(with_token)? == Reply::SameError && self.open(0).await? == Reply::Opens;
        is_token.then_some(Culprit::Token)
    }

    /// Returns the index of the stage with which the pipeline is refused first, by binary search.
    async fn first_refused_stage(&self, all: usize) -> Option<usize> {
        let (mut accepted, mut refused) = (0, all);
        while accepted + 1 < refused {
            let middle = accepted.midpoint(refused);
            match self.open(middle).await? {
                Reply::Opens => accepted = middle,
                Reply::SameError | Reply::OtherError => refused = middle,
            }
        }
        Some(refused - 1)
    }

    /// Opens a stream at the present with the first stages of the filter.
    async fn open(&self, stages: usize) -> Option<Reply> {
        let spec = self.first_stages(stages);
        let opened = start::token(self.connection, &spec, None).await;
        self.reply(opened.map(drop))
    }

    fn first_stages(&self, stages: usize) -> StreamSpec {
        StreamSpec {
            pipeline: self.spec.pipeline[..stages].to_vec(),
            ..self.spec.clone()
        }
    }

    fn reply(&self, opened: mongodb::error::Result<()>) -> Option<Reply> {
        match opened {
            Ok(()) => Some(Reply::Opens),
            Err(error) if classify::code(&error) == Some(self.code) => Some(Reply::SameError),
            Err(error) => match classify::classify(&error) {
                Verdict::Fatal | Verdict::Doubt | Verdict::EventTooLarge => Some(Reply::OtherError),
                _ => None,
            },
        }
    }
}
