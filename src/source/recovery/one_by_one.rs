//! Replies of one event, for a stream that fails on a reply: they deliver every event before the one that the server fails on, and are small
//! enough for a slow connection. Once the events of the failed reply have passed, replies are full again.

use mongodb::error::Error;

use crate::error::Failure;
use crate::source::classify;
use crate::source::failing_event;
use crate::source::position::StreamPosition;
use crate::source::start;
use crate::source::target::Target;

use super::{Recovery, Replies, SplitStage};

/// What a reply was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Reply {
    /// This number of events.
    Events(usize),
    /// None: the stream has caught up.
    Empty,
}

impl Recovery {
    /// Reads one event at a time from now on, until as many have passed as the failed reply can have held.
    pub(super) fn read_one_by_one(&mut self, target: &Target) {
        self.replies = Replies::OneEvent;
        self.one_by_one_left = target.spec.batch_size as usize;
    }

    /// Takes the next step towards an event that the server fails on: reads one event at a time, which delivers the events before it; when the
    /// stream then fails again, searches for the event. Returns whether a step was taken; not if `error` is about no event.
    ///
    /// # Errors
    /// Exit code 8, with the event.
    pub(super) async fn step_towards_failing_event(
        &mut self,
        target: &Target,
        error: &Error,
        position: &StreamPosition,
    ) -> Result<bool, Failure> {
        let Some(code) = classify::code(error) else {
            return Ok(false);
        };
        let has_split = self.split == SplitStage::On;
        if self.replies == Replies::Full {
            let is_step = opens(target, position, has_split).await;
            if is_step {
                self.read_one_by_one(target);
            }
            return Ok(is_step);
        }
        match failing_event::find(target, position, has_split, code).await {
            Some(event) => Err(event.failure(error, &target.spec)),
            None => Ok(false),
        }
    }

    /// Records a reply. Returns whether replies are full again, so that the stream must be opened anew.
    pub(in crate::source) fn record_reply(&mut self, reply: Reply) -> bool {
        if self.replies == Replies::Full {
            self.reply_received();
            return false;
        }
        let timeouts = self.since_reply.timeouts;
        self.reply_received();
        self.one_by_one_left = match reply {
            Reply::Events(count) => self.one_by_one_left.saturating_sub(count),
            Reply::Empty => 0,
        };
        let is_over = self.one_by_one_left == 0;
        if is_over {
            self.replies = Replies::Full;
        }
        // A reply of one event does not prove that a full one comes in time.
        if reply != Reply::Empty {
            self.since_reply.timeouts = timeouts;
        }
        is_over
    }
}

/// Returns whether the server opens the stream at `position` as long as it reads no event.
async fn opens(target: &Target, position: &StreamPosition, has_split: bool) -> bool {
    let Ok(start) = position.start().option() else {
        return false;
    };
    let spec = target.spec.clone().with_split_stage(has_split);
    let opening = start::open_and_close(&target.connection, &spec, start, 0);
    opening.await.is_ok()
}
