//! Hands one cursor's events straight on to the queue, and keeps the place.

use bson::{RawDocument, RawDocumentBuf};

use crate::queue::{Delivery, Sender};

use super::cursor::{Empty, End, Sink};
use super::place::Place;

/// The sink of the one ordinary cursor.
pub(super) struct Onward<'a, F> {
    /// Moves along with what was handed on.
    pub(super) place: &'a mut Place,
    /// Where everything goes.
    pub(super) queue: &'a Sender,
    /// Told of each reply.
    pub(super) heard: F,
}

impl<F: FnMut()> Sink for Onward<'_, F> {
    fn wants(&mut self, event: &RawDocument) -> bool {
        self.place.is_before(event)
    }

    async fn events(&mut self, events: Vec<RawDocumentBuf>) -> Result<(), End> {
        (self.heard)();
        let mut behind = self.place.clone();
        if let Some(last) = events.last() {
            behind.pass(last);
        }
        self.queue.send(Delivery::Events(events)).await?;
        *self.place = behind;
        Ok(())
    }

    async fn caught_up(&mut self, empty: Empty) -> Result<(), End> {
        if empty.is_answer {
            (self.heard)();
        }
        if let Some(token) = empty.token {
            self.place.advance(token);
        }
        let caught_up = Delivery::CaughtUp(self.place.token().clone());
        Ok(self.queue.send(caught_up).await?)
    }
}
