//! The publisher: takes events from the queue ([`receiving`]), sends them as messages, and moves the checkpoint with their acknowledgements
//! ([`acknowledging`]), in order. After any doubt about what is stored it reads the end of the stream, and continues from there
//! ([`resuming`]).

mod acknowledging;
mod receiving;
mod resuming;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::error::{Failure, Kind};
use crate::extjson::Mode;
use crate::queue::{InFlight, Message as Queued, Receiver};
use crate::sink::limits::Limits;
use crate::snapshot::{SnapshotChunk, SnapshotProgress};
use crate::telemetry::Telemetry;
use crate::token::ResumeToken;

use super::acknowledgements::{Acknowledgements, Reply};
use super::checkpoint::{CheckpointStore, Save, Saving};
use super::client::Connection;
use super::failures::Trouble;
use super::lease::{Lease, Loss};
use super::log::{Log, Tail};
use super::message::{Encoder, Message};
use super::window::Window;

/// The longest wait for the next acknowledgement while messages are in flight.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// `--count` or `--until` was reached.
    LimitReached,
    /// The queue is empty and its sender is gone.
    Drained,
    /// The stream does not continue where this process left it, for this reason. The watch is to start again after its last message.
    Restart(String),
}

/// Settings of a publisher.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Extended JSON mode of the lines.
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    /// Longest outage before giving up; `None` retries without limit.
    pub(crate) retry_for: Option<Duration>,
    /// Whether events are published that the stream may hold already.
    pub(crate) is_rewound: bool,
    /// How far the snapshot has come that is being read, if there is one.
    pub(crate) snapshot: Option<SnapshotProgress>,
}

/// Publishes the events of a queue.
pub(crate) struct Publisher {
    log: Log,
    lease: Lease,
    checkpoint: CheckpointStore,
    encoder: Encoder,
    limits: Limits,
    telemetry: Telemetry,
    backoff: Backoff,
    window: Window,
    /// Lines that were received and are not in the window yet.
    pending: VecDeque<RawDocumentBuf>,
    /// The part of the snapshot that the pending lines are of; `None` for events.
    chunk: Option<Box<SnapshotChunk>>,
    /// How far the snapshot has come with the last message, if one is being read in this run.
    progress: Option<SnapshotProgress>,
    /// The newest empty reply while a snapshot is being read.
    caught_up: Option<ResumeToken>,
    /// The share of the queue that the pending events have.
    in_flight: Option<InFlight>,
    /// The number of events that were taken.
    taken: u64,
    /// How the delivery ends, once no more events are taken.
    end: Option<Result<End, Failure>>,
    /// When the last message was acknowledged, or the first one sent.
    last_progress: Instant,
    /// Whether nothing was acknowledged since messages were sent anew.
    is_stuck: bool,
    is_rewound: bool,
    losses: watch::Receiver<u64>,
    saving: Option<Saving>,
}

/// What happened next.
enum Event {
    Reply(Option<Reply>),
    Queued(Option<(Queued, InFlight)>),
    LeaseLost(Loss),
    ConnectionLost,
    NoReply,
    SaveDue,
    Saved(Save),
}

impl Publisher {
    /// Creates a publisher that continues a stream after `tail`, for as long as `lease` is held.
    pub(crate) fn new(
        log: Log,
        lease: Lease,
        checkpoint: CheckpointStore,
        tail: &Tail,
        settings: Settings,
        telemetry: Telemetry,
    ) -> Self {
        let connection = &log.connection;
        Self {
            encoder: Encoder::new(settings.mode, &connection.config),
            limits: settings.limits,
            telemetry,
            backoff: Connection::backoff(settings.retry_for),
            window: Window::after(tail),
            pending: VecDeque::new(),
            chunk: None,
            progress: settings.snapshot,
            caught_up: None,
            in_flight: None,
            taken: 0,
            end: None,
            last_progress: Instant::now(),
            is_stuck: false,
            is_rewound: settings.is_rewound,
            losses: connection.losses(),
            saving: None,
            log,
            lease,
            checkpoint,
        }
    }

    /// Publishes what `queue` holds until its sender is gone, a limit is reached, or the stream has another writer. Then saves the
    /// checkpoint and releases the lease.
    ///
    /// # Errors
    /// Exit code 6 when an event cannot be stored, 7 when there is no server for longer than `--retry-for`, 8 when it refuses.
    pub(crate) async fn run(mut self, mut queue: Receiver) -> Result<End, Failure> {
        let result = self.publish_all(&mut queue).await;
        // From now on nothing is received: the sender ends.
        drop(queue);
        self.telemetry.set_in_flight(0, 0);
        // A lease that is held stays so: this process takes it again at once. Late messages of one that lost it are no reason to give it up.
        if !matches!(&result, Ok(End::Restart(_))) {
            self.checkpoint.save_last(self.saving.take()).await;
            self.lease.release().await;
        }
        result
    }

    async fn publish_all(&mut self, queue: &mut Receiver) -> Result<End, Failure> {
        let mut replies = match self.resubscribe().await? {
            Ok(replies) => replies,
            Err(end) => return Ok(end),
        };
        loop {
            let event = match self.next_step(&mut replies, queue).await? {
                Step::Event(event) => event,
                Step::Continue => continue,
                Step::End(end) => return Ok(end),
            };
            let doubt = match event {
                Event::Reply(Some(reply)) => self.handle_reply(reply)?,
                Event::Reply(None) => Some("the client is closed".to_owned()),
                Event::Queued(Some((message, in_flight))) => {
                    self.receive(message, in_flight);
                    None
                }
                Event::Queued(None) => {
                    self.end.get_or_insert(Ok(End::Drained));
                    None
                }
                Event::LeaseLost(loss) => return Ok(End::Restart(describe(&loss))),
                Event::ConnectionLost => Some("the connection was lost".to_owned()),
                Event::NoReply => Some(format!(
                    "no acknowledgement for {ACKNOWLEDGEMENT_TIMEOUT:?}"
                )),
                Event::SaveDue => {
                    self.saving = self.checkpoint.begin_save();
                    None
                }
                Event::Saved(save) => {
                    self.saving = None;
                    match self.checkpoint.end_save(save) {
                        true => None,
                        false => match self.adopt_checkpoint().await? {
                            Some(end) => return Ok(end),
                            None => None,
                        },
                    }
                }
            };
            if let Some(reason) = doubt {
                match self.resume(&reason).await? {
                    Ok(new) => replies = new,
                    Err(end) => return Ok(end),
                }
            }
        }
    }

    /// Does what can be done without waiting, or waits for the next event.
    async fn next_step(
        &mut self,
        replies: &mut Acknowledgements,
        queue: &mut Receiver,
    ) -> Result<Step, Failure> {
        if let Some(reply) = replies.try_next() {
            return Ok(Step::Event(Event::Reply(Some(reply))));
        }
        if self.window.has_room()
            && let Some(event) = self.pending.pop_front()
        {
            let message = self.encode(&event)?;
            if self.window.is_empty() {
                self.last_progress = Instant::now();
            }
            self.window.push(message);
        }
        if self.window.has_unsent() {
            // A process that was stopped for a while notices here that another one delivers.
            if !self.lease.is_held() {
                return Ok(Step::End(End::Restart(describe(&self.lease.lost().await))));
            }
            self.send(replies).await?;
            return Ok(Step::Continue);
        }
        if self.pending.is_empty() {
            self.end_chunk();
            self.in_flight = None;
            if self.window.is_empty()
                && let Some(end) = self.end.take()
            {
                return end.map(Step::End);
            }
        }
        self.telemetry
            .set_in_flight(self.window.len(), self.window.bytes());
        let has_in_flight = !self.window.is_empty();
        let wants_more = self.end.is_none() && self.pending.is_empty() && self.window.has_room();
        let no_reply_at = self.last_progress + ACKNOWLEDGEMENT_TIMEOUT;
        let save_at = (self.checkpoint.due()).filter(|_| self.saving.is_none());
        let event = tokio::select! {
            biased;
            loss = self.lease.lost() => Event::LeaseLost(loss),
            // Without messages in flight nothing is in doubt.
            Ok(()) = self.losses.changed(), if has_in_flight => Event::ConnectionLost,
            reply = replies.next() => Event::Reply(reply),
            save = saved(&mut self.saving) => Event::Saved(save),
            message = queue.next(), if wants_more => Event::Queued(message),
            () = tokio::time::sleep_until(no_reply_at.into()), if has_in_flight => Event::NoReply,
            () = sleep_until(save_at) => Event::SaveDue,
        };
        Ok(Step::Event(event))
    }

    /// Sends the next message.
    async fn send(&mut self, replies: &Acknowledgements) -> Result<(), Failure> {
        let is_rewound = self.is_rewound;
        let Some((sequence, message)) = self.window.next_unsent() else {
            return Ok(());
        };
        let connection = &self.log.connection;
        let headers = message.headers(&connection.config.stream, sequence, is_rewound);
        let sent = connection
            .client
            .publish_with_reply_and_headers(
                message.subject.clone(),
                replies.subject_of(sequence),
                headers,
                message.payload.clone(),
            )
            .await;
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                let limit = connection.client.max_payload();
                let failure = too_large(message, limit, "max_payload of the NATS server");
                self.end_before(sequence, failure);
                Ok(())
            }
            Err(error) => Err(Failure::new(
                Kind::Output,
                format!("cannot publish to {}: {error}", message.subject),
            )),
        }
    }

    /// Ends with `failure` once every message before the one with this sequence is acknowledged. A user who skips that event must not skip
    /// others.
    fn end_before(&mut self, sequence: u64, failure: Failure) {
        self.window.truncate(sequence);
        self.pending.clear();
        self.end = Some(Err(failure));
    }

    /// Decides whose checkpoint is in the bucket. Returns the end if it is another writer's.
    async fn adopt_checkpoint(&mut self) -> Result<Option<End>, Failure> {
        match self.checkpoint.adopt().await {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(End::Restart(format!(
                "another writer saved a checkpoint of stream {}",
                self.log.name()
            )))),
            Err(Trouble::Lasting(failure)) => Err(failure),
            // Tried again with the next save.
            Err(Trouble::Passing(_)) => Ok(None),
        }
    }
}

/// What to do next.
enum Step {
    Event(Event),
    Continue,
    End(End),
}

/// Returns why a lease is not held any more, in one clause.
pub(crate) fn describe(loss: &Loss) -> String {
    match loss {
        Loss::TakenBy(holder) => format!("{holder} took over the lease"),
        Loss::Expired => "the lease could not be renewed".to_owned(),
    }
}

/// Waits for the save under way; without end if there is none.
async fn saved(saving: &mut Option<Saving>) -> Save {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

/// Waits until `time`; without end if there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Returns the failure of an event with more bytes than a limit of the server allows; `limit` is 0 if it is unknown.
fn too_large(message: &Message, limit: usize, name: &str) -> Failure {
    let Message { subject, id, .. } = message;
    let bytes = message.payload.len();
    let limit = match limit {
        0 => String::new(),
        limit => format!(" ({limit} bytes)"),
    };
    Failure::new(
        Kind::Output,
        format!("the event {subject} with the token {id} has {bytes} bytes, more than the {name} allows{limit}"),
    )
    .hint(format!(
        "raise the {name}, make events smaller with --pipeline '[{{$unset: \"fullDocument.FIELD\"}}]', or skip this one with --start-after '{id}'"
    ))
}
