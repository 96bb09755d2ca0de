//! The sink of a stream: checks its tokens, sends its events to the queue, and keeps its position.

use bson::{RawDocument, RawDocumentBuf};

use crate::queue::{Message, Sender};

use super::connection::Connection;
use super::cursor::{EmptyReply, End, EventSink};
use super::position::StreamPosition;
use super::recovery::Reply;
use super::snapshot::{Turn, Turns};
use super::token_guard::TokenGuard;

/// A sink that sends events to the queue and keeps the position.
pub(super) struct QueueSink<'a, F> {
    /// The position after the last event that was sent.
    pub(super) position: &'a mut StreamPosition,
    pub(super) guard: &'a mut TokenGuard,
    pub(super) connection: &'a Connection,
    pub(super) queue: &'a Sender,
    /// The turns at the queue, while there is a snapshot.
    pub(super) turns: Option<&'a Turns>,
    /// Called for each reply. Returns whether another cursor must be opened after it.
    pub(super) on_reply: F,
}

impl<F> QueueSink<'_, F> {
    /// Records that everything up to the position was sent.
    fn moved(&self, is_caught_up: bool) {
        if let Some(turns) = self.turns {
            turns.stream_moved(self.position.token(), is_caught_up);
        }
    }
}

impl<F: FnMut(Reply) -> bool> EventSink for QueueSink<'_, F> {
    fn is_new(&mut self, event: &RawDocument) -> bool {
        self.position.is_before(event)
    }

    async fn events(&mut self, mut events: Vec<RawDocumentBuf>) -> Result<(), End> {
        let mut new_position = self.position.clone();
        let checked = self
            .guard
            .check_events(self.connection, &mut events, &mut new_position)
            .await;
        let refused = checked.map_err(End::Failed)?;
        // A server that repeats one event makes no progress.
        let is_superseded = new_position.token() != self.position.token()
            && (self.on_reply)(Reply::Events(events.len()));
        let _turn = turn(self.turns).await;
        self.queue.send(Message::Events(events)).await?;
        *self.position = new_position;
        self.moved(false);
        match refused {
            Some(failure) => Err(End::Refused(failure)),
            None => superseded(is_superseded),
        }
    }

    async fn caught_up(&mut self, reply: EmptyReply) -> Result<(), End> {
        let is_superseded = reply.is_for_get_more && (self.on_reply)(Reply::Empty);
        if let Some(token) = reply.token {
            let checked = self.guard.is_valid(self.connection, &token).await;
            if checked.map_err(End::Failed)?.map_err(End::Refused)? {
                self.position.advance(token);
            }
        }
        let caught_up = Message::CaughtUp(self.position.token().clone());
        let _turn = turn(self.turns).await;
        self.queue.send(caught_up).await?;
        self.moved(reply.is_for_get_more);
        superseded(is_superseded)
    }
}

/// Waits for the turn, if there is a snapshot.
async fn turn(turns: Option<&Turns>) -> Option<Turn<'_>> {
    match turns {
        Some(turns) => Some(turns.take().await),
        None => None,
    }
}

fn superseded(is_superseded: bool) -> Result<(), End> {
    match is_superseded {
        true => Err(End::Superseded),
        false => Ok(()),
    }
}
