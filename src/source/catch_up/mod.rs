//! Parallel catch-up: several cursors read a backlog in slices of time, and the slices are forwarded in order, so that the output is what
//! one cursor would deliver. An error in a slice ends the catch-up when the slice's turn comes, not before.

mod plan;
mod slice;

use std::cell::RefCell;
use std::time::Duration;

use bson::Timestamp;
use futures::future::join_all;
use tokio::sync::{Notify, mpsc};

use super::cursor::{Cursor, End, EventSink, Opening};
use super::position::{StartPoint, StreamPosition};
use super::target::{Deployment, Target};

use self::plan::{Next, Plan};
use self::slice::{Excess, Part, Shared, Slice};

/// Maximum number of events in one reply. Events beyond the end of a slice are wasted work of the server.
const MAX_BATCH: u32 = 500;

/// Longest wait of the server for an event of a slice. The end of a slice may come after the last event there is, and shows in an empty reply
/// then, which the next slice waits for.
const MAX_AWAIT: Duration = Duration::from_millis(250);

/// The settings that all cursors of a catch-up share.
pub(super) struct CatchUp<'a> {
    /// The deployment, and the definition of the stream.
    pub(super) target: &'a Target,
    /// How each cursor is opened.
    pub(super) opening: Opening,
    /// Maximum number of cursors that read at the same time.
    pub(super) streams: usize,
    /// Called for each cursor that was opened. Its first reply may take as long as `--max-await`.
    pub(super) opened: &'a dyn Fn(),
}

impl CatchUp<'_> {
    /// Forwards everything after `position` to `queue_sink`, in order, until the last slice has caught up with the present.
    pub(super) async fn forward(
        &self,
        position: StreamPosition,
        present: Timestamp,
        queue_sink: &mut impl EventSink,
    ) -> End {
        let shared = Shared {
            plan: RefCell::new(Plan::new(present)),
            changed: Notify::new(),
        };
        // No more slices wait for their turn than are read, so that the memory they hold is bounded even when the reader of the output
        // stalls.
        let (slices, in_order) = mpsc::channel(self.streams - 1);
        let first = self.read_from(position, &shared, slices.clone());
        let others = (1..self.streams).map(|_| self.read_ahead(&shared, slices.clone()));
        let reading = async {
            futures::join!(first, join_all(others));
            std::future::pending().await
        };
        tokio::select! {
            end = forward_in_order(in_order, queue_sink) => end,
            end = reading => end,
        }
    }

    /// Reads the first slice, which starts at `position`, and then others.
    async fn read_from(&self, position: StreamPosition, shared: &Shared, slices: Slices) {
        let (slice, parts) = Slice::new(0, shared, Some(position.clone()));
        if slices.send(parts).await.is_ok() && self.read(slice, position.start()).await {
            self.read_ahead(shared, slices).await;
        }
    }

    /// Reads one slice after another, each after all planned so far, until a slice would start in the present.
    async fn read_ahead(&self, shared: &Shared, slices: Slices) {
        while let Some((number, start)) = self.next_slice(shared).await {
            tracing::debug!("slice {number} starts at {start}");
            let (slice, parts) = Slice::new(number, shared, None);
            if slices.send(parts).await.is_err() || !self.read(slice, StartPoint::At(start)).await {
                return;
            }
        }
    }

    /// Reads a slice. Returns whether it was read to its end, so that the cursor may read another one.
    async fn read(&self, mut slice: Slice<'_>, start: StartPoint<'_>) -> bool {
        let opening = Opening {
            batch_size: self.opening.batch_size.min(MAX_BATCH),
            max_await: self.opening.max_await.min(MAX_AWAIT),
            ..self.opening
        };
        let end = match Cursor::open(self.target, start, opening).await {
            Ok(cursor) => {
                (self.opened)();
                cursor.forward(&self.target.connection, &mut slice).await
            }
            Err(end) => end,
        };
        let is_end_reached = matches!(end, End::Reached);
        slice.end(end);
        is_end_reached
    }

    /// Waits until the next slice can be planned. Returns its number and start; `None` when there is no backlog left, or when the server
    /// does not report its present.
    async fn next_slice(&self, shared: &Shared) -> Option<(usize, Timestamp)> {
        loop {
            let next = shared.plan.borrow_mut().add_next();
            match next {
                Next::Slice(number, start) => return Some((number, start)),
                Next::Unknown => shared.changed.notified().await,
                Next::Present => {
                    // Time has passed while the backlog was read: ask the server for its present again.
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

/// The channel of slices in the order of the stream; each is a channel of its parts.
type Slices = mpsc::Sender<mpsc::UnboundedReceiver<Part>>;

/// Forwards the slices in order, each to its end.
async fn forward_in_order(
    mut slices: mpsc::Receiver<mpsc::UnboundedReceiver<Part>>,
    queue_sink: &mut impl EventSink,
) -> End {
    while let Some(mut parts) = slices.recv().await {
        let mut excess = Excess::new();
        while let Some(part) = parts.recv().await {
            let forwarded = match part {
                Part::Events(events, permit) => {
                    let forwarded = queue_sink.events(events).await;
                    excess.release(permit);
                    forwarded
                }
                Part::CaughtUp(waiting) => match waiting.take() {
                    Some(reply) => queue_sink.caught_up(reply).await,
                    None => Ok(()),
                },
                Part::End(End::Reached) => Ok(()),
                Part::End(end) => Err(end),
            };
            if let Err(end) = forwarded {
                return end;
            }
        }
    }
    End::Closed
}
