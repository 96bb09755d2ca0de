//! Telemetry of a watch: counters, lag, status line, metrics, heartbeat and systemd notifications.
//! Records what the other parts report, and never influences them; knows neither the driver nor the files of a watch.

mod connections;
mod delivery;
mod heartbeat;
mod http;
mod lag;
mod metrics;
mod monitor;
mod operation_counts;
mod reporter_thread;
mod scan;
mod status;
mod systemd;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bson::Timestamp;

use crate::queue::ByteBudget;
use crate::snapshot;

use self::delivery::{Delivery, DeliveryRecord};
use self::lag::{Lag, LagInput};
use self::operation_counts::OperationTotals;
use self::scan::{Scan, ScanState};

pub(crate) use self::delivery::LeaseState;
pub(crate) use self::heartbeat::{Heartbeat, HeartbeatFile};
pub(crate) use self::http::MetricsServer;
pub(crate) use self::monitor::{ClusterTimes, Monitor, Reporters};
#[cfg(feature = "nats")]
pub(crate) use self::operation_counts::CountedType;
pub(crate) use self::operation_counts::OperationCounts;
pub(crate) use self::status::StatusLine;

/// The lower bound of [`Snapshot::max_reply_age`], whatever `--max-await` is: a failover takes up to half of it.
const MIN_REPLY_AGE_LIMIT: Duration = Duration::from_secs(60);

/// A shared record of one watch. Each part of the program that has something to report holds a clone.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry(Arc<State>);

/// The record: counters that are updated without a lock, and the state of the stream.
#[derive(Debug)]
struct State {
    started_at: Instant,
    max_reply_age: Duration,
    events: OperationTotals,
    output_bytes: AtomicU64,
    saves: AtomicU64,
    failed_saves: AtomicU64,
    queue: Mutex<Option<ByteBudget>>,
    delivery: DeliveryRecord,
    stream: Mutex<StreamState>,
}

/// The state of the stream. The fields mean what those of [`Snapshot`] and [`LagInput`] mean.
#[derive(Debug, Default)]
struct StreamState {
    is_open: bool,
    start: Option<Timestamp>,
    position: Option<Timestamp>,
    last_was_empty: Option<bool>,
    last_reply: Option<Instant>,
    /// The server's cluster time, and when it was asked for it.
    cluster_time: Option<(Timestamp, Instant)>,
    /// The oldest time that a stream can start at.
    oldest: Option<Timestamp>,
    /// When the outage began; `None` outside of one.
    outage_since: Option<Instant>,
    reconnects: BTreeMap<&'static str, u64>,
    last_save: Option<SystemTime>,
    /// The scan of `--snapshot`; `None` before it begins.
    scan: Option<ScanState>,
}

impl Telemetry {
    /// Creates the record of a watch that starts now. `max_await` is how long the server may wait for an event before it replies.
    pub(crate) fn new(max_await: Duration) -> Self {
        Self(Arc::new(State {
            started_at: Instant::now(),
            max_reply_age: MIN_REPLY_AGE_LIMIT.max(max_await * 3),
            events: OperationTotals::default(),
            output_bytes: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            failed_saves: AtomicU64::new(0),
            queue: Mutex::default(),
            delivery: DeliveryRecord::default(),
            stream: Mutex::default(),
        }))
    }

    fn stream(&self) -> MutexGuard<'_, StreamState> {
        // A thread that panicked while it held the lock left at worst outdated values.
        let stream = &self.0.stream;
        stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Option<ByteBudget>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the budget of the queue, whose used bytes are reported from now on.
    pub(crate) fn watch_queue(&self, budget: &ByteBudget) {
        *self.queue() = Some(budget.clone());
    }

    /// Records that the stream starts after `time`.
    pub(crate) fn starts_at(&self, time: Timestamp) {
        let mut stream = self.stream();
        stream.start = Some(time);
        stream.position = Some(time);
    }

    /// Records that the stream is open. That is a reply of the server: the next one may take as long as `--max-await`.
    pub(crate) fn opened(&self) {
        let mut stream = self.stream();
        if !stream.is_open {
            // An empty reply of the stream before does not prove that this one has caught up.
            stream.last_was_empty = None;
        }
        stream.is_open = true;
        stream.last_reply = Some(Instant::now());
    }

    /// Records a reply of the stream, which ends an outage.
    pub(crate) fn reply_received(&self) {
        let mut stream = self.stream();
        stream.is_open = true;
        stream.last_reply = Some(Instant::now());
        stream.outage_since = None;
    }

    /// Records that the stream ended and is opened again because of `reason`. It counts as closed until it is open or the server replies.
    pub(crate) fn reconnects(&self, reason: &'static str) {
        let mut stream = self.stream();
        stream.is_open = false;
        stream.outage_since.get_or_insert_with(Instant::now);
        *stream.reconnects.entry(reason).or_default() += 1;
    }

    /// Records that the output accepted the lines of these events, `bytes` in total. `time` is the cluster time of the last one.
    pub(crate) fn printed(&self, counts: &OperationCounts, bytes: u64, time: Option<Timestamp>) {
        self.0.events.add(counts);
        self.0.output_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut stream = self.stream();
        stream.position = time.or(stream.position);
        stream.last_was_empty = Some(false);
    }

    /// Returns the number of events whose lines were accepted.
    #[cfg(feature = "nats")]
    pub(crate) fn event_count(&self) -> u64 {
        let counts = self.0.events.by_name();
        counts.iter().map(|(_, count)| count).sum()
    }

    /// Records that the output accepted lines of the snapshot, `bytes` in total. They say nothing about the stream.
    pub(crate) fn printed_snapshot(&self, counts: &OperationCounts, bytes: u64) {
        self.0.events.add(counts);
        self.0.output_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records an empty reply: there are no more events up to `time`.
    pub(crate) fn caught_up(&self, time: Timestamp) {
        let mut stream = self.stream();
        stream.position = Some(time);
        stream.last_was_empty = Some(true);
    }

    /// Records that a checkpoint was saved, or could not be.
    pub(crate) fn saved(&self, is_saved: bool) {
        if is_saved {
            self.0.saves.fetch_add(1, Ordering::Relaxed);
            self.stream().last_save = Some(SystemTime::now());
        } else {
            self.0.failed_saves.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records whether this process holds the lease of its stream. Without it, there is no stream of events.
    #[cfg(feature = "nats")]
    pub(crate) fn set_lease(&self, state: LeaseState) {
        self.0.delivery.set_lease(state);
        if state != LeaseState::Active {
            let mut stream = self.stream();
            stream.is_open = false;
            stream.outage_since = None;
        }
    }

    /// Records that the lease was read just now. A process that stands by is healthy without a stream of events.
    #[cfg(feature = "nats")]
    pub(crate) fn lease_read(&self) {
        if self.0.delivery.lease() == LeaseState::Standby {
            self.stream().last_reply = Some(Instant::now());
        }
    }

    /// Records the messages that are not acknowledged yet, and their bytes.
    #[cfg(feature = "nats")]
    pub(crate) fn set_in_flight(&self, messages: usize, bytes: usize) {
        self.0.delivery.set_in_flight(messages, bytes);
    }

    /// Records that a message was acknowledged this long after it was sent.
    #[cfg(feature = "nats")]
    pub(crate) fn acknowledged(&self, latency: Duration) {
        self.0.delivery.acknowledged(latency);
    }

    /// Records that messages are sent again.
    #[cfg(feature = "nats")]
    pub(crate) fn redelivered(&self, messages: usize) {
        self.0.delivery.redelivered(messages);
    }

    /// Records that the scan of the snapshot begins, with this number of collections.
    pub(crate) fn snapshot_begins(&self, collections: u64) {
        self.stream().scan = Some(ScanState::begin(collections));
    }

    /// Records how many documents there were in all collections of the snapshot when it began.
    pub(crate) fn snapshot_estimate(&self, documents: u64) {
        self.change_scan(|scan| scan.estimate = Some(documents));
    }

    /// Records that the scan of the next collection begins.
    pub(crate) fn snapshot_collection(&self) {
        self.change_scan(|scan| scan.begun_collections += 1);
    }

    /// Records that the scan has read documents, `bytes` in total. They count whether the filter selects them or not.
    pub(crate) fn snapshot_scanned(&self, documents: u64, bytes: u64) {
        self.change_scan(|scan| {
            scan.documents += documents;
            scan.bytes += bytes;
        });
    }

    /// Records that everything was read, in this run or in an earlier one.
    pub(crate) fn snapshot_finished(&self) {
        let mut stream = self.stream();
        stream
            .scan
            .get_or_insert_with(|| ScanState::begin(0))
            .finish();
    }

    fn change_scan(&self, change: impl FnOnce(&mut ScanState)) {
        if let Some(scan) = &mut self.stream().scan {
            change(scan);
        }
    }

    /// Records the server's cluster time, which it was asked for just now.
    fn set_cluster_time(&self, time: Timestamp) {
        self.stream().cluster_time = Some((time, Instant::now()));
    }

    /// Records the oldest time that a stream can start at.
    fn set_oldest(&self, oldest: Timestamp) {
        self.stream().oldest = Some(oldest);
    }

    /// Returns the whole record as it is now.
    fn snapshot(&self) -> Snapshot {
        let state = &self.0;
        let stream = self.stream();
        let position = stream.position;
        let cluster_time = stream
            .cluster_time
            .map(|(time, asked_at)| (time, asked_at.elapsed()));
        let queue_bytes = self.queue().as_ref().map_or(0, ByteBudget::used);
        let delivery = state.delivery.get();
        let lag = LagInput {
            // While the stream is closed, more events may have happened.
            last_was_empty: stream.last_was_empty.filter(|_| stream.is_open),
            has_waiting: queue_bytes > 0 || delivery.in_flight > 0,
            position,
            cluster_time,
            time_since_reply: stream.last_reply.map(|last_reply| last_reply.elapsed()),
            max_reply_age: state.max_reply_age,
        }
        .lag();
        let headroom = stream.oldest.zip(position).map(|(oldest, position)| {
            let seconds = position.time.saturating_sub(oldest.time);
            Duration::from_secs(seconds.into())
        });
        Snapshot {
            uptime: state.started_at.elapsed(),
            max_reply_age: state.max_reply_age,
            events: state.events.by_name(),
            output_bytes: state.output_bytes.load(Ordering::Relaxed),
            start: stream.start,
            position,
            cluster_time: cluster_time.map(|(time, _)| time),
            lag,
            headroom,
            is_open: stream.is_open,
            outage: stream.outage_since.map(|since| since.elapsed()),
            reconnects: stream.reconnects.clone(),
            saves: state.saves.load(Ordering::Relaxed),
            failed_saves: state.failed_saves.load(Ordering::Relaxed),
            last_save: stream.last_save,
            queue_bytes,
            delivery,
            scan: stream.scan.as_ref().map(ScanState::progress),
        }
    }
}

/// The record of a watch at one moment.
#[derive(Debug, Clone)]
struct Snapshot {
    /// Time since the watch started.
    uptime: Duration,
    /// The longest time since the last reply for which the server counts as replying.
    max_reply_age: Duration,
    /// Lines printed, by operation type; without the types that never came.
    events: Vec<(&'static str, u64)>,
    /// Bytes of the lines of these events.
    output_bytes: u64,
    /// Cluster time after which the stream started.
    start: Option<Timestamp>,
    /// Cluster time of the stream position: everything up to it was printed.
    position: Option<Timestamp>,
    /// The server's cluster time when it was last asked for it.
    cluster_time: Option<Timestamp>,
    /// The lag.
    lag: Lag,
    /// How long cswatch may be down before the oplog no longer holds what comes after the position; `None` while unknown.
    headroom: Option<Duration>,
    /// Whether the stream is open.
    is_open: bool,
    /// How long the outage has lasted; `None` outside of one.
    outage: Option<Duration>,
    /// Attempts to open the stream again, by reason.
    reconnects: BTreeMap<&'static str, u64>,
    /// Checkpoints saved.
    saves: u64,
    /// Checkpoints that could not be saved.
    failed_saves: u64,
    /// When a checkpoint was last saved.
    last_save: Option<SystemTime>,
    /// Bytes of events that were read and wait to be written.
    queue_bytes: u64,
    /// The delivery to JetStream.
    delivery: Delivery,
    /// The scan of `--snapshot`; `None` before it begins, and without one.
    scan: Option<Scan>,
}

impl Snapshot {
    /// Returns the number of events printed, of all types. Lines of a snapshot are no events.
    fn event_count(&self) -> u64 {
        let events = self
            .events
            .iter()
            .filter(|(name, _)| *name != snapshot::OPERATION_TYPE);
        events.map(|(_, count)| count).sum()
    }

    /// Returns whether the last reply is recent enough, or the watch has only just started.
    fn is_replying(&self) -> bool {
        self.lag.time_since_reply.unwrap_or(self.uptime) <= self.max_reply_age
    }
}
