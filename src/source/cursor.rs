//! One change stream of the driver, from its opening to its end: hands on its events in batches, and notices when no reply comes.
//! Never retries: after any error this stream is dropped, because the driver's object is poisoned then.

use std::pin::pin;
use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf};
use futures::future::join;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken as DriverToken;
use mongodb::error::Error;
use mongodb::options::ChangeStreamOptions;

use crate::config::SPLIT_STAGE;
use crate::config::{Scope, StreamSpec};
use crate::queue::Closed;
use crate::token::ResumeToken;

use super::connection::Connection;
use super::fragments::FragmentAssembler;
use super::position::StartPoint;
use super::target::Target;
use super::watchdog::{RequestTracker, Unanswered};

/// Bytes of events in one batch: large enough for writes of 64 KiB, small enough that the writer begins while the rest is read.
const BATCH_BYTES: usize = 256 * 1024;

/// Why a cursor came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// The server closed it: the watched collection or database is gone.
    Exhausted,
    /// The driver gave it up.
    Failed(Error),
    /// No reply will come.
    Unanswered(Unanswered),
    /// What comes now is another cursor's.
    Reached,
    /// Nobody takes the events any more.
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

/// How one change stream is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// With the stage that splits large events.
    pub(super) split: bool,
    /// Events in one reply at most.
    pub(super) batch_size: u32,
    /// How long to wait for a reply.
    pub(super) reply_timeout: Duration,
}

/// An open change stream.
pub(super) struct Cursor {
    stream: ChangeStream<RawDocumentBuf>,
    opening: Opening,
    requests: RequestTracker,
}

impl Cursor {
    /// Opens a change stream at `start`.
    ///
    /// # Errors
    /// Why it is not open.
    pub(super) async fn open(
        target: &Target,
        start: StartPoint<'_>,
        opening: Opening,
    ) -> Result<Self, End> {
        let Target {
            connection, spec, ..
        } = target;
        let mut pipeline = spec.pipeline.clone();
        if opening.split {
            pipeline.push(bson::doc! { SPLIT_STAGE: {} });
        }
        let options = options(spec, start, opening).map_err(End::Failed)?;
        let client = &connection.client;
        match &spec.scope {
            Scope::Deployment => {
                let watch = client.watch().pipeline(pipeline).with_options(options);
                Self::from_driver(connection, watch.into_future(), opening).await
            }
            Scope::Database(db) | Scope::Collections(db, _) => {
                let db = client.database(db);
                let watch = db.watch().pipeline(pipeline).with_options(options);
                Self::from_driver(connection, watch.into_future(), opening).await
            }
            Scope::Collection(db, coll) => {
                let coll = client.database(db).collection::<Document>(coll);
                let watch = coll.watch().pipeline(pipeline).with_options(options);
                Self::from_driver(connection, watch.into_future(), opening).await
            }
        }
    }

    async fn from_driver<T: serde::de::DeserializeOwned>(
        connection: &Connection,
        watch: impl Future<Output = mongodb::error::Result<ChangeStream<T>>>,
        opening: Opening,
    ) -> Result<Self, End> {
        let requests = RequestTracker::default();
        let watch = pin!(requests.of(watch));
        let reply_timeout = connection.selection_timeout + opening.reply_timeout;
        let stream = requests
            .watch(&connection.connections, watch, reply_timeout)
            .await?
            .map_err(End::Failed)?;
        // The opening is not the first `getMore`'s.
        requests.replied(false);
        Ok(Self {
            stream: stream.with_type(),
            opening,
            requests,
        })
    }

    /// Hands on everything the cursor has to `sink`, until one of them ends it.
    pub(super) async fn pump(self, connection: &Connection, sink: &mut impl Sink) -> End {
        let requests = self.requests.clone();
        requests.of(self.hand_on_all(connection, sink)).await
    }

    async fn hand_on_all(mut self, connection: &Connection, sink: &mut impl Sink) -> End {
        let mut batch = Batch::default();
        let mut assembler = self.opening.split.then(FragmentAssembler::default);
        let mut reply = Reply::new(self.opening.batch_size);
        loop {
            let mut is_answer = false;
            let received = {
                let mut next = pin!(self.stream.next_if_any());
                match futures::poll!(next.as_mut()) {
                    std::task::Poll::Ready(received) => received,
                    std::task::Poll::Pending => {
                        // Nothing more is ready: what there is goes out now, while the server prepares its next reply.
                        let waiting = self.requests.watch(
                            &connection.connections,
                            next,
                            self.opening.reply_timeout,
                        );
                        let (received, sent) = join(waiting, batch.hand_on(sink)).await;
                        if let Err(end) = sent {
                            return end;
                        }
                        reply = reply.next();
                        match received {
                            Ok(received) => {
                                let has_event = matches!(received, Ok(Some(_)));
                                is_answer = self.requests.replied(has_event);
                                received
                            }
                            Err(unanswered) => return unanswered.into(),
                        }
                    }
                }
            };
            let handed_on = match received {
                Ok(Some(event)) => {
                    let is_due = reply.count_one();
                    let whole = match &mut assembler {
                        Some(assembler) => assembler.join(event),
                        None => Some(event),
                    };
                    match whole {
                        Some(event) => Self::take(event, is_due, &mut batch, sink).await,
                        None => Ok(()),
                    }
                }
                Ok(None) => match batch.hand_on(sink).await {
                    // Between two fragments of an event there is no position to start after that would give it whole.
                    Ok(()) if assembler.as_ref().is_none_or(FragmentAssembler::is_empty) => {
                        self.caught_up(is_answer, sink).await
                    }
                    handed_on => handed_on,
                },
                Err(error) => batch.hand_on(sink).await.and(Err(End::Failed(error))),
            };
            if let Err(end) = handed_on {
                return end;
            }
        }
    }

    async fn take(
        event: RawDocumentBuf,
        is_due: bool,
        batch: &mut Batch,
        sink: &mut impl Sink,
    ) -> Result<(), End> {
        if sink.wants(&event) {
            batch.push(event);
        }
        if is_due || batch.bytes >= BATCH_BYTES {
            batch.hand_on(sink).await?;
        }
        Ok(())
    }

    /// An empty reply: tells how far the stream has come, and whether it has come to its end.
    async fn caught_up(&self, is_answer: bool, sink: &mut impl Sink) -> Result<(), End> {
        let token = self.stream.resume_token().and_then(from_driver);
        sink.caught_up(Empty { token, is_answer }).await?;
        // Not alive alone does not say it: it turns so while events are still queued.
        if self.stream.is_alive() {
            Ok(())
        } else {
            Err(End::Exhausted)
        }
    }
}

/// Who takes what a cursor gives.
pub(super) trait Sink {
    /// Whether to hand on `event`, which comes after all that was given before. Else it was handed on before.
    fn wants(&mut self, event: &RawDocument) -> bool;

    /// Takes events in the order of the stream.
    ///
    /// # Errors
    /// Why the cursor is to stop.
    async fn events(&mut self, events: Vec<RawDocumentBuf>) -> Result<(), End>;

    /// Takes an empty reply.
    ///
    /// # Errors
    /// Why the cursor is to stop.
    async fn caught_up(&mut self, empty: Empty) -> Result<(), End>;
}

/// An empty reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Empty {
    /// Nothing more happened up to this.
    pub(super) token: Option<ResumeToken>,
    /// Whether more was asked for. Else it is how a stream was opened, which succeeds also where it then gives nothing.
    pub(super) is_answer: bool,
}

/// How far a reply has been taken, as far as that can be told beside a driver that hides where one ends and, asked for more than it
/// has, sends its next request before it says so.
#[derive(Debug)]
struct Reply {
    events: u32,
    batch_size: u32,
    /// Whether the reply before this had all there was: then this one is news.
    is_news: bool,
}

impl Reply {
    /// The first one.
    fn new(batch_size: u32) -> Self {
        Self {
            events: 0,
            batch_size,
            is_news: true,
        }
    }

    /// The one after it.
    fn next(self) -> Self {
        Self {
            events: 0,
            batch_size: self.batch_size,
            is_news: self.events < self.batch_size,
        }
    }

    /// Counts an event. Answers whether it is to be handed on before the next one is asked for: news because the request would hold it
    /// up, the last of a full reply because it may be where a slice of a backlog ends, and the request would be in vain.
    fn count_one(&mut self) -> bool {
        self.events += 1;
        self.events == self.batch_size || (self.events == 1 && self.is_news)
    }
}

/// Events that wait for more of their reply.
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

    async fn hand_on(&mut self, sink: &mut impl Sink) -> Result<(), End> {
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
    // By its name: the driver's own catch-all variants are not sent as one.
    let named = |mode: &str| bson::Bson::String(mode.to_owned());
    if let Some(mode) = spec.full_document {
        options.full_document = Some(bson::deserialize_from_bson(named(mode))?);
    }
    if let Some(mode) = spec.full_document_before_change {
        options.full_document_before_change = Some(bson::deserialize_from_bson(named(mode))?);
    }
    options.show_expanded_events = spec.expanded_events.then_some(true);
    options.batch_size = Some(opening.batch_size);
    options.max_await_time = Some(spec.max_await);
    match start {
        StartPoint::At(time) => options.start_at_operation_time = Some(time),
        // Never resumeAfter, which does not take the token of an invalidate (error 260).
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
