//! What comes from the queue: events and parts of a snapshot become pending lines, these become messages, and empty replies move the checkpoint.

use bson::RawDocumentBuf;

use crate::error::Failure;
use crate::queue::{InFlight, Message as Queued};
use crate::sink::limits::Allowed;
use crate::snapshot::{SnapshotChunk, SnapshotProgress};
use crate::token::ResumeToken;

use super::super::checkpoint::Moved;
use super::super::message::Message;
use super::{End, Publisher};

impl Publisher {
    /// Takes a message of the queue.
    pub(super) fn receive(&mut self, message: Queued, in_flight: InFlight) {
        match message {
            Queued::Events(events) => {
                let allowed = self.limits.apply(&events, self.taken);
                self.take(events, &allowed, in_flight);
            }
            Queued::Snapshot(mut chunk) => {
                let lines = std::mem::take(&mut chunk.lines).into_lines();
                let allowed = self.limits.apply_count(lines.len(), self.taken);
                self.chunk = Some(chunk);
                self.take(lines, &allowed, in_flight);
            }
            Queued::CaughtUp(token) => {
                if self.limits.is_scanning() {
                    self.caught_up = Some(token.clone());
                }
                self.end_if_reached(&token);
                let until = self.limits.until();
                if until.is_none_or(|until| token.time() <= until.time)
                    && !self.window.add_caught_up(&token)
                {
                    self.record_caught_up(&token);
                }
            }
            // Only an output file can be reopened.
            Queued::Reopen => {}
        }
    }

    /// Takes the lines that the limits allow.
    fn take(&mut self, mut lines: Vec<RawDocumentBuf>, allowed: &Allowed, in_flight: InFlight) {
        lines.truncate(allowed.count);
        self.taken += lines.len() as u64;
        self.pending = lines.into();
        self.in_flight = Some(in_flight);
        if allowed.reaches_limit {
            self.end = Some(Ok(End::LimitReached));
        }
    }

    /// Ends if an empty reply with `token` shows that no event follows that is to be published.
    fn end_if_reached(&mut self, token: &ResumeToken) {
        let until = self.limits.until();
        if until.is_some_and(|until| until.is_reached_at(token)) {
            self.end = Some(Ok(End::LimitReached));
        }
    }

    /// Returns the message of a pending line.
    pub(super) fn encode(&mut self, line: &RawDocumentBuf) -> Result<Message, Failure> {
        let Some(chunk) = &self.chunk else {
            let progress = self.progress.clone().map(Box::new);
            return self.encoder.event(line, progress);
        };
        if let Some(progress) = chunk.progress_after(line) {
            self.progress = Some(progress);
        }
        let progress = self.progress.clone().map(Box::new);
        self.encoder.snapshot_line(line, &chunk.token, progress)
    }

    /// Records that all lines of a part of the snapshot are in the window.
    pub(super) fn end_chunk(&mut self) {
        let Some(chunk) = self.chunk.take() else {
            return;
        };
        if matches!(&self.end, Some(Ok(End::LimitReached) | Err(_))) {
            // Not all of them, maybe: the last message holds how far it has come.
            return;
        }
        let SnapshotChunk {
            progress,
            token,
            time,
            ..
        } = *chunk;
        self.progress = Some(progress.clone());
        if !self.window.add_progress(&progress) {
            let sequence = self.window.stored();
            self.checkpoint.record(token, sequence, Moved::ByEvent);
            self.record_progress(progress.clone());
        }
        if progress == SnapshotProgress::Finished {
            self.limits.end_snapshot(time);
            if let Some(token) = self.caught_up.take() {
                self.end_if_reached(&token);
            }
        }
    }

    /// Records how far the snapshot has come with what is stored.
    pub(super) fn record_progress(&mut self, progress: SnapshotProgress) {
        if progress == SnapshotProgress::Finished {
            self.telemetry.snapshot_finished();
            tracing::info!("the snapshot is complete");
        }
        self.checkpoint.record_snapshot(progress);
    }
}
