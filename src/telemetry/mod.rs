//! What a watch tells of itself while it runs: counters, how far behind it is, a status line, metrics and health. Takes notes of what
//! the other rooms do, and changes nothing of it.

mod heartbeat;
mod lag;
mod metrics;
mod observe;
mod operation;
mod server;
mod status;
#[cfg(unix)]
mod supervisor;
#[cfg(not(unix))]
#[path = "unsupervised.rs"]
mod supervisor;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bson::Timestamp;

use crate::queue::Room;

use self::lag::Sight;
use self::operation::Totals;

pub use self::heartbeat::{Heartbeat, HeartbeatFile};
pub use self::lag::Lag;
pub use self::observe::{Audience, Telling};
pub use self::operation::Tally;
pub use self::server::Server;
pub use self::status::StatusLine;
pub(crate) use self::status::{above_line, seconds};

/// A stream is not called silent before this, whatever `--max-await` is: failovers take up to half of it.
const LEAST_SILENCE: Duration = Duration::from_secs(60);

/// Shared notes on one watch. Cloned into every room that has something to tell.
#[derive(Debug, Clone)]
pub struct Telemetry(Arc<Notes>);

#[derive(Debug)]
struct Notes {
    began: Instant,
    /// Beyond this a silence means that the server is lost.
    longest_silence: Duration,
    events: Totals,
    bytes: AtomicU64,
    saves: AtomicU64,
    failed_saves: AtomicU64,
    is_open: AtomicBool,
    queue: OnceLock<Room>,
    changing: Mutex<Changing>,
}

/// What is no counter.
#[derive(Debug, Default)]
struct Changing {
    /// Where the stream started.
    start: Option<Timestamp>,
    position: Option<Timestamp>,
    last_was_empty: Option<bool>,
    heard: Option<Instant>,
    present: Option<(Timestamp, Instant)>,
    /// The oldest time that a stream can start at.
    oldest: Option<Timestamp>,
    outage: Option<Instant>,
    reconnects: BTreeMap<&'static str, u64>,
    saved: Option<SystemTime>,
}

impl Telemetry {
    /// Notes on a watch that begins now. `max_await` is how long the server may take for a reply on purpose.
    pub fn new(max_await: Duration) -> Self {
        Self(Arc::new(Notes {
            began: Instant::now(),
            longest_silence: LEAST_SILENCE.max(max_await * 3),
            events: Totals::default(),
            bytes: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            failed_saves: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
            queue: OnceLock::new(),
            changing: Mutex::default(),
        }))
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // Whoever panicked with it left at worst an older note.
        let notes = &self.0.changing;
        notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue whose bytes are told.
    pub fn watch_queue(&self, room: &Room) {
        // One queue a watch.
        let _ = self.0.queue.set(room.clone());
    }

    /// The stream starts after this time.
    pub fn starts_at(&self, time: Timestamp) {
        let mut changing = self.changing();
        changing.start = Some(time);
        changing.position = Some(time);
    }

    /// The stream is open.
    pub fn opened(&self) {
        self.0.is_open.store(true, Ordering::Relaxed);
    }

    /// The stream gave a reply.
    pub fn heard(&self) {
        self.opened();
        let mut changing = self.changing();
        changing.heard = Some(Instant::now());
        changing.outage = None;
    }

    /// The stream has ended, and is opened again because of this. It is not there until the server replies.
    pub fn reconnects(&self, reason: &'static str) {
        self.0.is_open.store(false, Ordering::Relaxed);
        let mut changing = self.changing();
        changing.outage.get_or_insert_with(Instant::now);
        *changing.reconnects.entry(reason).or_default() += 1;
    }

    /// Lines of these events, of so many bytes, were accepted by the output; `time` is the last one's.
    pub fn printed(&self, tally: &Tally, bytes: u64, time: Option<Timestamp>) {
        self.0.events.add(tally);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut changing = self.changing();
        changing.position = time.or(changing.position);
        changing.last_was_empty = Some(false);
    }

    /// Nothing more happened up to this time.
    pub fn caught_up(&self, time: Timestamp) {
        let mut changing = self.changing();
        changing.position = Some(time);
        changing.last_was_empty = Some(true);
    }

    /// The position file was written, or could not be.
    pub fn saved(&self, is_saved: bool) {
        if is_saved {
            self.0.saves.fetch_add(1, Ordering::Relaxed);
            self.changing().saved = Some(SystemTime::now());
        } else {
            self.0.failed_saves.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the server's cluster time is now.
    fn present_is(&self, present: Timestamp) {
        self.changing().present = Some((present, Instant::now()));
    }

    /// From when on the server has the history.
    fn oldest_is(&self, oldest: Timestamp) {
        self.changing().oldest = Some(oldest);
    }

    /// All of it at one moment.
    pub fn snapshot(&self) -> Snapshot {
        let notes = &self.0;
        let changing = self.changing();
        let position = changing.position;
        let present = changing
            .present
            .map(|(present, asked)| (present, asked.elapsed()));
        let is_open = notes.is_open.load(Ordering::Relaxed);
        let queue_bytes = notes.queue.get().map_or(0, Room::taken);
        let lag = Sight {
            // Of a stream that is not there, nobody knows what it would give.
            last_was_empty: changing.last_was_empty.filter(|_| is_open),
            has_waiting: queue_bytes > 0,
            position,
            present,
            silence: changing.heard.map(|heard| heard.elapsed()),
            longest_silence: notes.longest_silence,
        }
        .lag();
        let headroom = changing.oldest.zip(position).map(|(oldest, position)| {
            let seconds = position.time.saturating_sub(oldest.time);
            Duration::from_secs(seconds.into())
        });
        Snapshot {
            running: notes.began.elapsed(),
            longest_silence: notes.longest_silence,
            events: notes.events.by_name(),
            bytes: notes.bytes.load(Ordering::Relaxed),
            start: changing.start,
            position,
            present: present.map(|(present, _)| present),
            lag,
            headroom,
            is_open,
            outage: changing.outage.map(|began| began.elapsed()),
            reconnects: changing.reconnects.clone(),
            saves: notes.saves.load(Ordering::Relaxed),
            failed_saves: notes.failed_saves.load(Ordering::Relaxed),
            saved: changing.saved,
            queue_bytes,
        }
    }
}

/// A watch at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Since the watch began.
    pub running: Duration,
    /// Beyond this a silence means that the server is lost.
    pub longest_silence: Duration,
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
    pub fn printed(&self) -> u64 {
        self.events.iter().map(|(_, count)| count).sum()
    }

    /// Whether the server was heard lately, or the watch has just begun.
    pub fn is_heard(&self) -> bool {
        self.lag.silence.unwrap_or(self.running) <= self.longest_silence
    }
}
