//! A cursor: one change stream of the driver, from its opening to its end. Forwards the events in batches, and ends when no reply comes.
//! Never retries: after any error the driver's object is unusable, and the cursor must be dropped.

use std::pin::pin;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf};
use futures::future::join;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken as DriverToken;
use mongodb::error::Error;
use mongodb::options::{ChangeStreamOptions, ServerAddress};

use crate::config::{SPLIT_STAGE, Scope, StreamSpec};
use crate::error::Failure;
use crate::queue::Closed;
use crate::token::ResumeToken;

use super::connection::Connection;
use super::fragments::FragmentAssembler;
use super::operation;
use super::owner::Closing;
use super::position::StartPoint;
use super::target::Target;
use super::watchdog::{RequestTracker, Unanswered};

/// Bytes of events in one batch: large enough for writes of 64 KiB, small enough for the writer to start while the rest is read.
const BATCH_BYTES: usize = 256 * 1024;

/// Number of empty replies that may come before half of `--max-await` is over. A server sends a few when a stream is opened.
const MAX_EARLY_REPLIES: u32 = 100;

/// The reason why a cursor ended.
#[derive(Debug)]
pub(super) enum End {
    /// The server closed the cursor: the watched collection or database was dropped or renamed.
    Exhausted,
    /// The driver returned an error.
    Failed(Error),
    /// No reply will come.
    Unanswered(Unanswered),
    /// The server sent something that no stream may contain.
    Refused(Failure),
    /// The cursor reached the end of its slice; another cursor reads what follows.
    Reached,
    /// The stream continues with a cursor that is opened in another way: as many events in a reply as usual, or after a backlog.
    Superseded,
    /// The receiver of the events is gone.
    Closed,
}

impl From<Closed> for End {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

impl From<Unanswered> for End {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

/// How a cursor is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// Whether to add the stage that splits large events.
    pub(super) split: bool,
    /// Maximum number of events in one reply.
    pub(super) batch_size: u32,
    /// Longest time the server waits for an event before it sends an empty reply.
    pub(super) max_await: Duration,
    /// Longest wait for a reply.
    pub(super) reply_timeout: Duration,
}

impl Opening {
    /// Returns whether `server` still works on a request of this client for events. Half of the timeout is longer than it waits for one.
    async fn is_running(&self, connection: &Connection, server: &ServerAddress) -> bool {
        operation::is_running(connection, server, self.reply_timeout / 2).await
    }
}

/// An open change stream.
pub(super) struct Cursor {
    stream: ChangeStream<RawDocumentBuf>,
    opening: Opening,
    /// Longest wait of the server before an empty reply.
    max_await: Duration,
    requests: RequestTracker,
    /// Closes the server's cursor when this one is dropped.
    _closing: Option<Closing>,
}

/// Awaits the opening of a stream by the driver.
async fn opened<T: serde::de::DeserializeOwned>(
    target: &Target,
    requests: &RequestTracker,
    watch: impl Future<Output = mongodb::error::Result<ChangeStream<T>>>,
    opening: Opening,
) -> Result<ChangeStream<RawDocumentBuf>, End> {
    let connection = &target.connection;
    let watch = pin!(requests.track(watch));
    let reply_timeout = connection.selection_timeout + opening.reply_timeout;
    let stream = requests
        .await_reply(
            &connection.pool_events,
            watch,
            reply_timeout,
            async |server| opening.is_running(connection, &server).await,
        )
        .await?
        .map_err(End::Failed)?;
    // The opening must not count as a request of the first `getMore`.
    requests.record_reply(false);
    Ok(stream.with_type())
}

impl Cursor {
    /// Opens a change stream at `start`.
    ///
    /// # Errors
    /// The driver's error, or the reason why no reply came.
    pub(super) async fn open(
        target: &Target,
        start: StartPoint<'_>,
        opening: Opening,
    ) -> Result<Self, End> {
        let Target {
            connection, spec, ..
        } = target;
        let requests = RequestTracker::default();
        let mut closing = Closing::of_stream(connection, &requests);
        let mut pipeline: Vec<Document> = closing.iter().map(Closing::stage).collect();
        pipeline.extend(spec.pipeline.iter().cloned());
        if opening.split {
            pipeline.push(bson::doc! { SPLIT_STAGE: {} });
        }
        let mut options = options(spec, start, opening).map_err(End::Failed)?;
        options.selection_criteria = connection.member_criteria();
        let client = &connection.client;
        let stream = match &spec.scope {
            Scope::Deployment => {
                let watch = client.watch().pipeline(pipeline).with_options(options);
                opened(target, &requests, watch.into_future(), opening).await
            }
            Scope::Database(db) | Scope::Collections(db, _) => {
                let db = client.database(db);
                let watch = db.watch().pipeline(pipeline).with_options(options);
                opened(target, &requests, watch.into_future(), opening).await
            }
            Scope::Collection(db, coll) => {
                let coll = client.database(db).collection::<Document>(coll);
                let watch = coll.watch().pipeline(pipeline).with_options(options);
                opened(target, &requests, watch.into_future(), opening).await
            }
        };
        if let Some(closing) = &mut closing {
            match &stream {
                Ok(_) => closing.opened(),
                Err(End::Failed(error)) => closing.failed(error),
                Err(_) => {}
            }
        }
        let stream = stream?;
        Ok(Self {
            stream,
            opening,
            max_await: spec.max_await,
            _closing: closing,
            requests,
        })
    }

    /// Forwards all events to `sink`, until the cursor ends or the sink ends it.
    pub(super) async fn forward(self, connection: &Connection, sink: &mut impl EventSink) -> End {
        let requests = self.requests.clone();
        requests.track(self.forward_all(connection, sink)).await
    }

    async fn forward_all(mut self, connection: &Connection, sink: &mut impl EventSink) -> End {
        let mut batch = Batch::default();
        let mut assembler = self.opening.split.then(FragmentAssembler::default);
        let mut reply = ReplyProgress::new(self.opening.batch_size);
        let mut pacing = Pacing::default();
        loop {
            let asked_at = Instant::now();
            let mut is_for_get_more = false;
            let received = {
                let mut next = pin!(self.stream.next_if_any());
                match futures::poll!(next.as_mut()) {
                    std::task::Poll::Ready(received) => received,
                    std::task::Poll::Pending => {
                        // No event is ready: forward the batch now, while the server prepares its next reply.
                        let waiting = self.requests.await_reply(
                            &connection.pool_events,
                            next,
                            self.opening.reply_timeout,
                            async |server| self.opening.is_running(connection, &server).await,
                        );
                        let (received, flushed) = join(waiting, batch.flush(sink)).await;
                        if let Err(end) = flushed {
                            return end;
                        }
                        reply = reply.next();
                        match received {
                            Ok(received) => {
                                let has_event = matches!(received, Ok(Some(_)));
                                is_for_get_more = self.requests.record_reply(has_event);
                                received
                            }
                            Err(unanswered) => return unanswered.into(),
                        }
                    }
                }
            };
            let forwarded = match received {
                Ok(Some(event)) => {
                    let is_due = reply.count_event();
                    let complete = match &mut assembler {
                        Some(assembler) => assembler.add(event),
                        None => Ok(Some(event)),
                    };
                    match complete {
                        Ok(Some(event)) => Self::add(event, is_due, &mut batch, sink).await,
                        Ok(None) => Ok(()),
                        Err(failure) => batch.flush(sink).await.and(Err(End::Refused(failure))),
                    }
                }
                Ok(None) => match batch.flush(sink).await {
                    // Between two fragments of an event there is no position from which a stream would give the whole event.
                    Ok(()) => {
                        let forwarded = match &assembler {
                            Some(assembler) if !assembler.is_empty() => Ok(()),
                            _ => self.caught_up(is_for_get_more, sink).await,
                        };
                        pacing.pause(asked_at.elapsed(), self.max_await).await;
                        forwarded
                    }
                    ended => ended,
                },
                Err(error) => batch.flush(sink).await.and(Err(End::Failed(error))),
            };
            if let Err(end) = forwarded {
                return end;
            }
        }
    }

    async fn add(
        event: RawDocumentBuf,
        is_due: bool,
        batch: &mut Batch,
        sink: &mut impl EventSink,
    ) -> Result<(), End> {
        if sink.is_new(&event) {
            batch.push(event);
        }
        if is_due || batch.bytes >= BATCH_BYTES {
            batch.flush(sink).await?;
        }
        Ok(())
    }

    /// Forwards an empty reply: how far the stream has come. Then checks whether the stream has ended.
    async fn caught_up(&self, is_for_get_more: bool, sink: &mut impl EventSink) -> Result<(), End> {
        let token = self.stream.resume_token().and_then(from_driver);
        // Known only after an empty reply: the driver's stream stops being alive while it still holds events.
        let is_alive = self.stream.is_alive();
        sink.caught_up(EmptyReply {
            token,
            is_for_get_more: is_for_get_more && is_alive,
        })
        .await?;
        if is_alive {
            Ok(())
        } else {
            Err(End::Exhausted)
        }
    }
}

/// Pauses after empty replies of a server that does not wait for events, as `maxTimeMS` asks it to: asking again at once would use up a
/// processor on both sides.
#[derive(Debug, Default)]
struct Pacing {
    /// Number of empty replies that came too early.
    early: u32,
}

impl Pacing {
    /// Pauses for the rest of `max_await` after an empty reply that took `waited`, once there were many that came early.
    async fn pause(&mut self, waited: Duration, max_await: Duration) {
        if waited >= max_await / 2 {
            self.early = 0;
            return;
        }
        self.early += 1;
        if self.early > MAX_EARLY_REPLIES {
            tokio::time::sleep(max_await - waited).await;
        }
    }
}

/// The receiver of a cursor's events.
pub(super) trait EventSink {
    /// Returns whether `event`, the next one of the stream, was not forwarded before.
    fn is_new(&mut self, event: &RawDocument) -> bool;

    /// Receives events in the order of the stream.
    ///
    /// # Errors
    /// The reason why the cursor must stop.
    async fn events(&mut self, events: Vec<RawDocumentBuf>) -> Result<(), End>;

    /// Receives an empty reply.
    ///
    /// # Errors
    /// The reason why the cursor must stop.
    async fn caught_up(&mut self, reply: EmptyReply) -> Result<(), End>;
}

/// A reply without events.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EmptyReply {
    /// The token up to which the stream has no more events.
    pub(super) token: Option<ResumeToken>,
    /// Whether it answers a `getMore` and leaves the stream open. Otherwise it belongs to the opening or the end of a stream, and the opening
    /// can succeed where every `getMore` then fails.
    pub(super) is_for_get_more: bool,
}

/// Progress within a reply. It is an estimate: the driver does not show where a reply ends, and when asked for an event that it does not
/// have, it sends the next request before it returns.
#[derive(Debug)]
struct ReplyProgress {
    events: u32,
    batch_size: u32,
    /// Whether the previous reply was not full, so that the stream had caught up and this reply holds new events.
    is_news: bool,
}

impl ReplyProgress {
    /// Returns the progress within the first reply.
    fn new(batch_size: u32) -> Self {
        Self {
            events: 0,
            batch_size,
            is_news: true,
        }
    }

    /// Returns the progress within the next reply.
    fn next(self) -> Self {
        Self {
            events: 0,
            batch_size: self.batch_size,
            is_news: self.events < self.batch_size,
        }
    }

    /// Counts an event. Returns whether to forward it before asking for the next one: a new event because the request would delay it, the
    /// last event of a full reply because a slice of a backlog may end there, and the request would be wasted.
    fn count_event(&mut self) -> bool {
        self.events += 1;
        self.events == self.batch_size || (self.events == 1 && self.is_news)
    }
}

/// Events that wait for the rest of their reply.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<RawDocumentBuf>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, event: RawDocumentBuf) {
        self.bytes += event.as_bytes().len();
        self.events.push(event);
    }

    async fn flush(&mut self, sink: &mut impl EventSink) -> Result<(), End> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        sink.events(std::mem::take(&mut self.events)).await
    }
}

fn options(
    spec: &StreamSpec,
    start: StartPoint<'_>,
    opening: Opening,
) -> mongodb::error::Result<ChangeStreamOptions> {
    let mut options = ChangeStreamOptions::default();
    // Deserialized from the mode's name: the driver does not send its catch-all variants as a plain name.
    let named = |mode: &str| bson::Bson::String(mode.to_owned());
    if let Some(mode) = spec.full_document {
        options.full_document = Some(bson::deserialize_from_bson(named(mode))?);
    }
    if let Some(mode) = spec.full_document_before_change {
        options.full_document_before_change = Some(bson::deserialize_from_bson(named(mode))?);
    }
    options.show_expanded_events = spec.expanded_events.then_some(true);
    options.batch_size = Some(opening.batch_size);
    options.max_await_time = Some(opening.max_await);
    match start {
        StartPoint::At(time) => options.start_at_operation_time = Some(time),
        // Never resumeAfter, which does not accept the token of an invalidate event (error 260).
        StartPoint::After(token) => options.start_after = Some(to_driver(token)?),
    }
    Ok(options)
}

fn to_driver(token: &ResumeToken) -> mongodb::error::Result<DriverToken> {
    Ok(bson::deserialize_from_slice(token.as_raw().as_bytes())?)
}

fn from_driver(token: DriverToken) -> Option<ResumeToken> {
    let raw = bson::serialize_to_raw_document_buf(&token).ok()?;
    ResumeToken::from_raw(&raw).ok()
}
