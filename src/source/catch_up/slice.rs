//! A slice of a backlog: the events of one cursor up to the start of the next slice, held until the slice's turn comes.

use std::cell::RefCell;

use bson::{RawDocument, RawDocumentBuf};
use tokio::sync::{Notify, mpsc};

use crate::coalesce::{Coalescer, Waiting};
use crate::queue::{ByteBudget, Permit, bytes_of};

use super::plan::{self, Plan, SLICE_BYTES};
use crate::source::cursor::{EmptyReply, End, EventSink};
use crate::source::position::StreamPosition;

/// The plan, and a notification of its changes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: RefCell<Plan>,
    pub(super) changed: Notify,
}

/// Bytes that a slice may hold during its turn. Its events then move to the queue, which has its own bound.
const BYTES_IN_TURN: u32 = 512 * 1024;

/// The part of a slice's byte budget that is given up during its turn.
#[derive(Debug)]
pub(super) struct Excess(u32);

impl Excess {
    /// Returns the excess of one slice.
    pub(super) fn new() -> Self {
        Self(SLICE_BYTES - BYTES_IN_TURN)
    }

    /// Gives up the bytes of `permit` for good while there is excess; after that, returns them to the slice.
    pub(super) fn release(&mut self, permit: Permit) {
        if let Some(left) = self.0.checked_sub(permit.bytes()) {
            self.0 = left;
            permit.forget();
        }
    }
}

/// A part of a slice, to be forwarded in its turn.
#[derive(Debug)]
pub(super) enum Part {
    /// Events, and the permit for their bytes.
    Events(Vec<RawDocumentBuf>, Permit),
    /// An empty reply, joined with those that follow it while it waits.
    CaughtUp(Waiting<EmptyReply>),
    /// The end of the slice; nothing follows.
    End(End),
}

/// A slice that is being read.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    number: usize,
    shared: &'a Shared,
    /// The position of the first slice, which may begin with events that were forwarded before; `None` for the others.
    position: Option<StreamPosition>,
    parts: mpsc::UnboundedSender<Part>,
    /// The empty reply that was sent last.
    caught_up: Coalescer<EmptyReply>,
    budget: ByteBudget,
}

impl<'a> Slice<'a> {
    /// Creates slice `number`, and returns it with the receiver of its parts.
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

    /// Sends the end of the slice.
    pub(super) fn end(self, end: End) {
        // Fails only when the whole catch-up has ended.
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

impl EventSink for Slice<'_> {
    fn is_new(&mut self, event: &RawDocument) -> bool {
        let position = self.position.as_ref();
        position.is_none_or(|position| position.is_before(event))
    }

    async fn events(&mut self, mut events: Vec<RawDocumentBuf>) -> Result<(), End> {
        // The events are in order, so that a binary search finds the start of the next slice, which may have been planned a moment ago.
        let within = events.partition_point(|event| !self.is_beyond(event));
        let is_end_reached = within < events.len();
        events.truncate(within);
        let is_next_known = (self.shared.plan.borrow_mut()).record_batch(self.number, &events);
        if is_next_known {
            self.shared.changed.notify_waiters();
        }
        let permit = self.budget.acquire(bytes_of(&events)).await;
        self.caught_up.seal();
        self.send(Part::Events(events, permit))?;
        if is_end_reached {
            Err(End::Reached)
        } else {
            Ok(())
        }
    }

    async fn caught_up(&mut self, reply: EmptyReply) -> Result<(), End> {
        let (end, present) = {
            let plan = self.shared.plan.borrow();
            (plan.end(self.number), plan.present())
        };
        let is_reached = |end| {
            reply
                .token
                .as_ref()
                .is_some_and(|token| token.time() >= end)
        };
        if end.is_some_and(is_reached) {
            return Err(End::Reached);
        }
        let is_in_present = end.is_none() && reply.is_for_get_more && is_reached(present);
        // A stalled output must not make an idle stream take up memory.
        let joined = |older: EmptyReply, newer: EmptyReply| EmptyReply {
            token: newer.token.or(older.token),
            is_for_get_more: older.is_for_get_more || newer.is_for_get_more,
        };
        if let Some(waiting) = self.caught_up.add(reply, joined) {
            self.send(Part::CaughtUp(waiting))?;
        }
        match is_in_present {
            true => Err(End::Superseded),
            false => Ok(()),
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
        let empty = |is_for_get_more| EmptyReply {
            token: None,
            is_for_get_more,
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
