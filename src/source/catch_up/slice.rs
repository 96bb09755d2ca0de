//! One slice of a backlog: the events of one cursor up to where the next slice begins, kept until their turn comes.

use std::cell::RefCell;

use bson::{RawDocument, RawDocumentBuf};
use tokio::sync::{Notify, mpsc};

use crate::coalesce::{Coalescer, Waiting};
use crate::queue::{ByteBudget, Permit};

use super::plan::{self, Plan, SLICE_BYTES};
use crate::source::cursor::{Empty, End, Sink};
use crate::source::position::StreamPosition;

/// The plan, and who waits for it to change.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: RefCell<Plan>,
    pub(super) changed: Notify,
}

/// Bytes that a slice may hold once it is handed on itself: then the queue behind it is what is bounded.
const BYTES_IN_TURN: u32 = 512 * 1024;

/// The part of a slice's room that is given up when its turn comes.
#[derive(Debug)]
pub(super) struct Excess(u32);

impl Excess {
    /// Of one slice.
    pub(super) fn new() -> Self {
        Self(SLICE_BYTES - BYTES_IN_TURN)
    }

    /// Gives the room of events back to their slice, or up for good.
    pub(super) fn leave(&mut self, permit: Permit) {
        if let Some(left) = self.0.checked_sub(permit.bytes()) {
            self.0 = left;
            permit.forget();
        }
    }
}

/// What a slice sends to be handed on in its turn.
#[derive(Debug)]
pub(super) enum Part {
    /// Events, and the room they take up.
    Events(Vec<RawDocumentBuf>, Permit),
    /// An empty reply, joined with those that follow it while it waits.
    CaughtUp(Waiting<Empty>),
    /// How it ended; nothing follows.
    End(End),
}

/// A slice that is being read.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    number: usize,
    shared: &'a Shared,
    /// For the first slice, which may begin with events that were handed on before.
    position: Option<StreamPosition>,
    parts: mpsc::UnboundedSender<Part>,
    /// The empty reply that was sent last.
    caught_up: Coalescer<Empty>,
    budget: ByteBudget,
}

impl<'a> Slice<'a> {
    /// Slice `number`, and where its parts come out.
    pub(super) fn new(
        number: usize,
        shared: &'a Shared,
        position: Option<StreamPosition>,
    ) -> (Self, mpsc::UnboundedReceiver<Part>) {
        let (parts, receiver) = mpsc::unbounded_channel();
        let slice = Self {
            number,
            shared,
            position,
            parts,
            caught_up: Coalescer::default(),
            budget: ByteBudget::new(SLICE_BYTES),
        };
        (slice, receiver)
    }

    /// Says how it ended.
    pub(super) fn end(self, end: End) {
        // Nobody to tell when the whole catch-up has ended.
        let _ = self.parts.send(Part::End(end));
    }

    fn send(&self, part: Part) -> Result<(), End> {
        self.parts.send(part).map_err(|_| End::Closed)
    }

    fn is_beyond(&self, event: &RawDocument) -> bool {
        let end = self.shared.plan.borrow().end(self.number);
        end.is_some_and(|end| plan::time_of(event).is_some_and(|time| time >= end))
    }
}

impl Sink for Slice<'_> {
    fn wants(&mut self, event: &RawDocument) -> bool {
        let position = self.position.as_ref();
        position.is_none_or(|position| position.is_before(event))
    }

    async fn events(&mut self, mut events: Vec<RawDocumentBuf>) -> Result<(), End> {
        // In order: a few looks find where the next slice begins, which may have been planned a moment ago.
        let within = events.partition_point(|event| !self.is_beyond(event));
        let reached = within < events.len();
        events.truncate(within);
        if self.shared.plan.borrow_mut().saw(self.number, &events) {
            self.shared.changed.notify_waiters();
        }
        let permit = self.budget.acquire(&events).await;
        self.caught_up.seal();
        self.send(Part::Events(events, permit))?;
        if reached { Err(End::Reached) } else { Ok(()) }
    }

    async fn caught_up(&mut self, empty: Empty) -> Result<(), End> {
        let end = self.shared.plan.borrow().end(self.number);
        if let (Some(end), Some(token)) = (end, &empty.token)
            && token.time() >= end
        {
            return Err(End::Reached);
        }
        // A stalled output must not make an idle stream take up memory.
        let joined = |older: Empty, newer: Empty| Empty {
            token: newer.token.or(older.token),
            is_answer: older.is_answer || newer.is_answer,
        };
        match self.caught_up.add(empty, joined) {
            Some(waiting) => self.send(Part::CaughtUp(waiting)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, rawdoc};

    use super::*;

    #[tokio::test]
    async fn holds_one_empty_reply_however_many_follow_each_other_before_its_turn() {
        let present = Timestamp {
            time: 0x6B03_2CA2,
            increment: 1,
        };
        let shared = Shared {
            plan: RefCell::new(Plan::new(present)),
            changed: Notify::new(),
        };
        let (mut slice, mut parts) = Slice::new(0, &shared, None);
        let empty = |is_answer| Empty {
            token: None,
            is_answer,
        };
        for number in 0..1000 {
            slice.caught_up(empty(number == 0)).await.unwrap();
        }
        slice.events(vec![rawdoc! {}]).await.unwrap();
        slice.caught_up(empty(false)).await.unwrap();
        assert_eq!(parts.len(), 3);
        let Some(Part::CaughtUp(waiting)) = parts.recv().await else {
            panic!("the first part is not an empty reply");
        };
        assert_eq!(waiting.take(), Some(empty(true)));
    }
}
