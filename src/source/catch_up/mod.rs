//! A backlog read side by side: the way to the present is cut into slices of time, several cursors read them ahead, and they are
//! handed on in order, so that what comes out is what one cursor would give. A fault in a slice ends the whole when its turn comes.

mod plan;
mod slice;

use std::cell::RefCell;

use bson::Timestamp;
use futures::future::join_all;
use tokio::sync::{Notify, mpsc};

use super::cursor::{Cursor, End, Opening, Sink};
use super::position::{StartPoint, StreamPosition};
use super::target::{Deployment, Target};

use self::plan::{Next, Plan};
use self::slice::{Excess, Part, Shared, Slice};

/// Events in one reply at most: what a cursor sent beyond the end of its slice was produced in vain.
const MAX_BATCH: u32 = 500;

/// What all cursors of a catch-up have in common.
pub(super) struct CatchUp<'a> {
    /// The deployment, and what is watched.
    pub(super) target: &'a Target,
    /// How each cursor is opened.
    pub(super) opening: Opening,
    /// How many cursors read at the same time.
    pub(super) streams: usize,
    /// Told of each cursor that is open. Its first reply may take as long as `--max-await`.
    pub(super) opened: &'a dyn Fn(),
}

impl CatchUp<'_> {
    /// Hands everything after `position` to `queue_sink`, in order, and goes on with one cursor in the present.
    pub(super) async fn pump(
        &self,
        position: StreamPosition,
        present: Timestamp,
        queue_sink: &mut impl Sink,
    ) -> End {
        let shared = Shared {
            plan: RefCell::new(Plan::new(present)),
            changed: Notify::new(),
        };
        // As many wait for their turn as are read: what is held is bounded, whoever takes it.
        let (slices, in_order) = mpsc::channel(self.streams - 1);
        let first = self.read_from(position, &shared, slices.clone());
        let others = (1..self.streams).map(|_| self.read_ahead(&shared, slices.clone()));
        let reading = async {
            futures::join!(first, join_all(others));
            std::future::pending().await
        };
        tokio::select! {
            end = hand_on(in_order, queue_sink) => end,
            end = reading => end,
        }
    }

    /// Reads the first slice, and then others.
    async fn read_from(&self, position: StreamPosition, shared: &Shared, slices: Slices) {
        let (slice, parts) = Slice::new(0, shared, Some(position.clone()));
        if slices.send(parts).await.is_ok() && self.read(slice, position.start()).await {
            self.read_ahead(shared, slices).await;
        }
    }

    /// Reads one slice after another, each ahead of all before it, until the present is near.
    async fn read_ahead(&self, shared: &Shared, slices: Slices) {
        while let Some((number, start)) = self.next_slice(shared).await {
            tracing::debug!("slice {number} begins at {start}");
            let (slice, parts) = Slice::new(number, shared, None);
            if slices.send(parts).await.is_err() || !self.read(slice, StartPoint::At(start)).await {
                return;
            }
        }
    }

    /// Reads a slice. Answers whether it was read to its end and another one makes sense.
    async fn read(&self, mut slice: Slice<'_>, start: StartPoint<'_>) -> bool {
        let opening = Opening {
            batch_size: self.opening.batch_size.min(MAX_BATCH),
            ..self.opening
        };
        let end = match Cursor::open(self.target, start, opening).await {
            Ok(cursor) => {
                (self.opened)();
                cursor.pump(&self.target.connection, &mut slice).await
            }
            Err(end) => end,
        };
        let reached = matches!(end, End::Reached);
        slice.end(end);
        reached
    }

    async fn next_slice(&self, shared: &Shared) -> Option<(usize, Timestamp)> {
        loop {
            let next = shared.plan.borrow_mut().add_next();
            match next {
                Next::Slice(number, start) => return Some((number, start)),
                Next::Unknown => shared.changed.notified().await,
                Next::Present => {
                    // The present has moved on while the backlog was read.
                    let present = Deployment::of(&self.target.connection)
                        .await
                        .ok()?
                        .operation_time?;
                    shared.plan.borrow_mut().set_present(present);
                    let next = shared.plan.borrow_mut().add_next();
                    match next {
                        Next::Slice(number, start) => return Some((number, start)),
                        Next::Unknown => {}
                        Next::Present => return None,
                    }
                }
            }
        }
    }
}

/// Where slices announce themselves, in the order of the stream.
type Slices = mpsc::Sender<mpsc::UnboundedReceiver<Part>>;

/// Hands slices on in order, each to its end.
async fn hand_on(
    mut slices: mpsc::Receiver<mpsc::UnboundedReceiver<Part>>,
    queue_sink: &mut impl Sink,
) -> End {
    while let Some(mut parts) = slices.recv().await {
        let mut excess = Excess::new();
        while let Some(part) = parts.recv().await {
            let handed_on = match part {
                Part::Events(events, permit) => {
                    let handed_on = queue_sink.events(events).await;
                    excess.leave(permit);
                    handed_on
                }
                Part::CaughtUp(waiting) => match waiting.take() {
                    Some(empty) => queue_sink.caught_up(empty).await,
                    None => Ok(()),
                },
                Part::End(End::Reached) => Ok(()),
                Part::End(end) => Err(end),
            };
            if let Err(end) = handed_on {
                return end;
            }
        }
    }
    End::Closed
}
