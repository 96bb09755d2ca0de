//! What a watch tells of itself while it runs: counters, how far behind it is, a status line, metrics and health. Takes notes of what
//! the other rooms do, and changes nothing of it.

mod heartbeat;
mod http;
mod lag;
mod metrics;
mod monitor;
mod operation_counts;
mod status;
mod systemd;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bson::Timestamp;

use crate::queue::ByteBudget;

use self::lag::LagInput;
use self::operation_counts::Totals;

pub(crate) use self::heartbeat::{Heartbeat, HeartbeatFile};
pub(crate) use self::http::MetricsServer;
pub(crate) use self::lag::Lag;
pub(crate) use self::monitor::{ClusterTimes, Monitor, Reporters};
pub(crate) use self::operation_counts::OperationCounts;
pub(crate) use self::status::StatusLine;

/// A stream is not called silent before this, whatever `--max-await` is: failovers take up to half of it.
const MIN_REPLY_AGE_LIMIT: Duration = Duration::from_secs(60);

/// Shared notes on one watch. Cloned into every room that has something to tell.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// Beyond this a time_since_reply means that the server is lost.
    max_reply_age: Duration,
    events: Totals,
    bytes: AtomicU64,
    saves: AtomicU64,
    failed_saves: AtomicU64,
    is_open: AtomicBool,
    queue: OnceLock<ByteBudget>,
    stream: Mutex<StreamState>,
}

/// What is no counter.
#[derive(Debug, Default)]
struct StreamState {
    /// Where the stream started.
    start: Option<Timestamp>,
    position: Option<Timestamp>,
    last_was_empty: Option<bool>,
    last_reply: Option<Instant>,
    present: Option<(Timestamp, Instant)>,
    /// The oldest time that a stream can start at.
    oldest: Option<Timestamp>,
    outage: Option<Instant>,
    reconnects: BTreeMap<&'static str, u64>,
    saved: Option<SystemTime>,
}

impl Telemetry {
    /// State on a watch that begins now. `max_await` is how long the server may take for a reply on purpose.
    pub(crate) fn new(max_await: Duration) -> Self {
        Self(Arc::new(State {
            began: Instant::now(),
            max_reply_age: MIN_REPLY_AGE_LIMIT.max(max_await * 3),
            events: Totals::default(),
            bytes: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            failed_saves: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
            queue: OnceLock::new(),
            stream: Mutex::default(),
        }))
    }

    fn stream(&self) -> MutexGuard<'_, StreamState> {
        // Whoever panicked with it left at worst an older note.
        let stream = &self.0.stream;
        stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue whose bytes are told.
    pub(crate) fn watch_queue(&self, budget: &ByteBudget) {
        // One queue a watch.
        let _ = self.0.queue.set(budget.clone());
    }

    /// The stream starts after this time.
    pub(crate) fn starts_at(&self, time: Timestamp) {
        let mut stream = self.stream();
        stream.start = Some(time);
        stream.position = Some(time);
    }

    /// The stream is open.
    pub(crate) fn opened(&self) {
        self.0.is_open.store(true, Ordering::Relaxed);
    }

    /// The stream gave a reply.
    pub(crate) fn reply_received(&self) {
        self.opened();
        let mut stream = self.stream();
        stream.last_reply = Some(Instant::now());
        stream.outage = None;
    }

    /// The stream has ended, and is opened again because of this. It is not there until the server replies.
    pub(crate) fn reconnects(&self, reason: &'static str) {
        self.0.is_open.store(false, Ordering::Relaxed);
        let mut stream = self.stream();
        stream.outage.get_or_insert_with(Instant::now);
        *stream.reconnects.entry(reason).or_default() += 1;
    }

    /// Lines of these events, of so many bytes, were accepted by the output; `time` is the last one's.
    pub(crate) fn printed(&self, counts: &OperationCounts, bytes: u64, time: Option<Timestamp>) {
        self.0.events.add(counts);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut stream = self.stream();
        stream.position = time.or(stream.position);
        stream.last_was_empty = Some(false);
    }

    /// Nothing more happened up to this time.
    pub(crate) fn caught_up(&self, time: Timestamp) {
        let mut stream = self.stream();
        stream.position = Some(time);
        stream.last_was_empty = Some(true);
    }

    /// The position file was written, or could not be.
    pub(crate) fn saved(&self, is_saved: bool) {
        if is_saved {
            self.0.saves.fetch_add(1, Ordering::Relaxed);
            self.stream().saved = Some(SystemTime::now());
        } else {
            self.0.failed_saves.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the server's cluster time is now.
    fn present_is(&self, present: Timestamp) {
        self.stream().present = Some((present, Instant::now()));
    }

    /// From when on the server has the history.
    fn oldest_is(&self, oldest: Timestamp) {
        self.stream().oldest = Some(oldest);
    }

    /// All of it at one moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = &self.0;
        let stream = self.stream();
        let position = stream.position;
        let present = stream
            .present
            .map(|(present, asked)| (present, asked.elapsed()));
        let is_open = state.is_open.load(Ordering::Relaxed);
        let queue_bytes = state.queue.get().map_or(0, ByteBudget::used);
        let lag = LagInput {
            // Of a stream that is not there, nobody knows what it would give.
            last_was_empty: stream.last_was_empty.filter(|_| is_open),
            has_waiting: queue_bytes > 0,
            position,
            present,
            time_since_reply: stream.last_reply.map(|last_reply| last_reply.elapsed()),
            max_reply_age: state.max_reply_age,
        }
        .lag();
        let headroom = stream.oldest.zip(position).map(|(oldest, position)| {
            let seconds = position.time.saturating_sub(oldest.time);
            Duration::from_secs(seconds.into())
        });
        Snapshot {
            running: state.began.elapsed(),
            max_reply_age: state.max_reply_age,
            events: state.events.by_name(),
            bytes: state.bytes.load(Ordering::Relaxed),
            start: stream.start,
            position,
            present: present.map(|(present, _)| present),
            lag,
            headroom,
            is_open,
            outage: stream.outage.map(|began| began.elapsed()),
            reconnects: stream.reconnects.clone(),
            saves: state.saves.load(Ordering::Relaxed),
            failed_saves: state.failed_saves.load(Ordering::Relaxed),
            saved: stream.saved,
            queue_bytes,
        }
    }
}

/// A watch at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Since the watch began.
    pub running: Duration,
    /// Beyond this a time_since_reply means that the server is lost.
    pub max_reply_age: Duration,
    /// Events printed, by operation type; types that never came are not in it.
    pub events: Vec<(&'static str, u64)>,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Where the stream started.
    pub start: Option<Timestamp>,
    /// The newest position.
    pub position: Option<Timestamp>,
    /// The server's cluster time when it was last asked for.
    pub present: Option<Timestamp>,
    /// How far behind.
    pub lag: Lag,
    /// How long the watch may stop before the server no longer has what comes after the position; `None` is unknown.
    pub headroom: Option<Duration>,
    /// Whether the stream is open.
    pub is_open: bool,
    /// How long there has been no stream, during an outage.
    pub outage: Option<Duration>,
    /// Streams opened again, by reason.
    pub reconnects: BTreeMap<&'static str, u64>,
    /// Positions saved.
    pub saves: u64,
    /// Positions that could not be saved.
    pub failed_saves: u64,
    /// When the position was last saved.
    pub saved: Option<SystemTime>,
    /// Bytes of events that wait to be written.
    pub queue_bytes: u64,
}

impl Snapshot {
    /// Events of all types.
    pub(crate) fn printed(&self) -> u64 {
        self.events.iter().map(|(_, count)| count).sum()
    }

    /// Whether the server was last_reply lately, or the watch has just begun.
    pub(crate) fn is_replying(&self) -> bool {
        self.lag.time_since_reply.unwrap_or(self.running) <= self.max_reply_age
    }
}
