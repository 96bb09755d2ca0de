//! What follows a doubt about what is stored: a refusal, a lost connection, an acknowledgement that does not come.

use std::time::Instant;

use crate::error::Failure;

use super::super::acknowledgements::Acknowledgements;
use super::super::chain::{self, Unexpected};
use super::super::failures::{self, Request, Trouble};
use super::super::log::{self, Log, Tail};
use super::super::window::{Comparison, Window};
use super::acknowledging::Acknowledged;
use super::{End, Publisher};

impl Publisher {
    /// Finds out what is stored, and makes the rest unsent. Returns the new inbox, or the end if the stream does not continue where this
    /// process left it.
    pub(super) async fn resume(
        &mut self,
        reason: &str,
    ) -> Result<Result<Acknowledgements, End>, Failure> {
        tracing::debug!(
            "NATS: reading the end of stream {}: {reason}",
            self.log.name()
        );
        if let Some(violation) = self.log.connection.take_violation() {
            let config = &self.log.connection.config;
            return Err(failures::not_permitted(
                config,
                Request::Publish,
                &violation,
            ));
        }
        self.backoff.begin_outage();
        if std::mem::replace(&mut self.is_stuck, true) {
            self.backoff.wait(reason).await?;
        }
        loop {
            self.losses.mark_unchanged();
            let reason = match read_end(&self.log, &self.window).await {
                Ok((tail, None)) => return self.continue_after(&tail).await,
                Ok((_, Some(unexpected))) => return self.break_off(unexpected).await.map(Err),
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(reason)) => reason,
            };
            self.backoff.wait(&reason).await?;
        }
    }

    async fn continue_after(
        &mut self,
        tail: &Tail,
    ) -> Result<Result<Acknowledgements, End>, Failure> {
        let name = self.log.name();
        match self.window.compare(tail) {
            Comparison::Stored(count) => {
                for _ in 0..count {
                    self.acknowledge_first(Acknowledged::ByTheStream);
                }
                self.telemetry.redelivered(self.window.rewind());
                self.last_progress = Instant::now();
                self.resubscribe().await
            }
            Comparison::Lost => Ok(Err(End::Restart(format!(
                "stream {name} lost messages that were acknowledged: its last one is {}, it was {}",
                tail.last_sequence,
                self.window.stored()
            )))),
            Comparison::OtherWriter => Ok(Err(End::Restart(format!(
                "another writer stored messages in stream {name}"
            )))),
        }
    }

    pub(super) async fn resubscribe(&mut self) -> Result<Result<Acknowledgements, End>, Failure> {
        let subscribed = Acknowledgements::subscribe(&self.log.connection.client).await;
        // Fails only when the client is closed, which it is at the end of its runtime.
        Ok(subscribed.map_err(|error| End::Restart(format!("the client is closed: {error}"))))
    }

    /// Ends because a message of another writer has the place of one of the window. Records that those after it do not count.
    ///
    /// # Errors
    /// Exit code 6 when another program published it.
    async fn break_off(&mut self, unexpected: Unexpected) -> Result<End, Failure> {
        while self.window.stored() + 1 < unexpected.sequence {
            self.acknowledge_first(Acknowledged::ByTheStream);
        }
        self.checkpoint.record_broken(unexpected.sequence);
        let name = self.log.name();
        if !unexpected.is_of_cswatch {
            return Err(log::displaced(name, unexpected.sequence));
        }
        let reason = format!("another writer stored messages in stream {name}");
        self.checkpoint.save_last(self.saving.take()).await;
        Ok(End::Restart(reason))
    }
}

/// Reads the end of the stream, and finds the first of the messages there that is not the one of the window.
async fn read_end(log: &Log, window: &Window) -> Result<(Tail, Option<Unexpected>), Trouble> {
    let tail = log.tail().await?;
    let sequences = window.stored() + 1..tail.last_sequence.min(window.end()) + 1;
    let is_expected = |sequence, id: &str| {
        let message = window.get(sequence);
        message.is_some_and(|message| message.has_id(id))
    };
    Ok((
        tail,
        chain::first_unexpected(log, sequences, is_expected).await?,
    ))
}
