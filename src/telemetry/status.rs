//! Status line: drawn on the terminal while a watch runs, logged on SIGUSR1, and sent to systemd.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bson::Timestamp;

use crate::count::{counted, grouped};
use crate::logging;
use crate::time::readable;

use super::{LeaseState, Snapshot};

/// The time over which a rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The headroom below which it is shown.
const LOW_HEADROOM: Duration = Duration::from_secs(3600);

/// The shortest backlog, in seconds of cluster time, whose progress is shown. A shorter one is over before its progress could be
/// read.
const MIN_BACKLOG_SECONDS: u32 = 10;

/// The status line at the bottom of the terminal. It is removed on drop.
#[derive(Debug)]
pub(crate) struct StatusLine(());

impl StatusLine {
    /// Creates the status line of this process, which must have only one. It is empty until it is drawn.
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Draws `text` in place of the previous text.
    pub(super) fn show(&self, text: &str) {
        logging::show_status_line(text);
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        logging::clear_status_line();
    }
}

/// The rates of a watch, and its status line with them. Each report has its own.
#[derive(Debug)]
pub(super) struct Rates {
    events: Rate,
    scanned: Rate,
}

impl Rates {
    /// Starts with nothing printed or read.
    pub(super) fn new() -> Self {
        Self {
            events: Rate::new(),
            scanned: Rate::new(),
        }
    }

    /// Returns the status line of `snapshot`, which was taken just now.
    pub(super) fn line(&mut self, snapshot: &Snapshot) -> String {
        let now = Instant::now();
        let documents = snapshot.scan.as_ref().map_or(0, |scan| scan.documents);
        line(
            snapshot,
            self.events.per_second(now, snapshot.event_count()),
            self.scanned.per_second(now, documents),
        )
    }
}

/// A rate per second, from the recent values of a counter.
#[derive(Debug)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Starts at zero.
    fn new() -> Self {
        Self(VecDeque::from([(Instant::now(), 0)]))
    }

    /// Records the value of the counter at `now`, and returns its rate in the last [`RATE_WINDOW`].
    fn per_second(&mut self, now: Instant, count: u64) -> f64 {
        // Of the counts that are older than the window, the newest is kept: the window starts there.
        while self.0.len() > 1 && now.duration_since(self.0[1].0) >= RATE_WINDOW {
            self.0.pop_front();
        }
        self.0.push_back((now, count));
        let (then, before) = self.0[0];
        let time = now.duration_since(then).max(Duration::from_millis(1));
        count.saturating_sub(before) as f64 / time.as_secs_f64()
    }
}

/// Returns the status line, with the events and the documents of a snapshot per second.
fn line(snapshot: &Snapshot, events_per_second: f64, scanned_per_second: f64) -> String {
    let delivery = &snapshot.delivery;
    if delivery.lease == LeaseState::Standby {
        return "standing by, another cswatch delivers".to_owned();
    }
    let mut parts = Vec::new();
    parts.extend(
        snapshot
            .scan
            .as_ref()
            .and_then(|scan| scan.text(scanned_per_second)),
    );
    parts.extend([
        counted(snapshot.event_count(), "event"),
        format!("{}/s", grouped(events_per_second.round() as u64)),
    ]);
    if let Some(outage) = snapshot.outage {
        parts.push(format!("reconnecting for {}", readable(outage)));
    } else if !snapshot.is_open {
        parts.push("stream not open yet".to_owned());
    }
    let lag = &snapshot.lag;
    parts.push(match (lag.caught_up, lag.behind) {
        (Some(true), _) => "caught up".to_owned(),
        (_, Some(behind)) => format!("lag {}", readable(behind)),
        (_, None) => "lag unknown".to_owned(),
    });
    parts.extend(progress(snapshot));
    if let Some(age) = lag.time_since_reply
        && snapshot.outage.is_none()
        && age > snapshot.max_reply_age / 2
    {
        parts.push(format!("no reply for {}", readable(age)));
    }
    if let Some(headroom) = snapshot.headroom
        && headroom < LOW_HEADROOM
    {
        parts.push(format!("headroom {}", readable(headroom)));
    }
    if delivery.in_flight > 0 {
        parts.push(format!("{} in flight", grouped(delivery.in_flight)));
    }
    parts.join(", ")
}

/// Returns how much of the backlog is printed, and how long the rest takes at this rate.
fn progress(snapshot: &Snapshot) -> Option<String> {
    let (start, position, now) = (snapshot.start?, snapshot.position?, snapshot.cluster_time?);
    let since_start = |time: Timestamp| time.time.saturating_sub(start.time);
    let backlog = since_start(now);
    if snapshot.lag.caught_up == Some(true) || backlog < MIN_BACKLOG_SECONDS {
        return None;
    }
    let done = f64::from(since_start(position)) / f64::from(backlog);
    if !(0.01..0.99).contains(&done) {
        return None;
    }
    let left = snapshot.uptime.mul_f64((1.0 - done) / done);
    Some(format!(
        "{:.0}% of the backlog, {} left",
        done * 100.0,
        readable(left)
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Delivery, Lag, ScanState};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const fn at(time: u32) -> Option<Timestamp> {
        Some(Timestamp { time, increment: 1 })
    }

    fn catching_up() -> Snapshot {
        Snapshot {
            uptime: 10 * SECOND,
            max_reply_age: 60 * SECOND,
            events: vec![("insert", 1_234_000), ("update", 567)],
            output_bytes: 0,
            start: at(1000),
            position: at(1400),
            cluster_time: at(2000),
            lag: Lag {
                caught_up: Some(false),
                behind: Some(600 * SECOND),
                time_since_reply: Some(SECOND),
            },
            headroom: None,
            is_open: true,
            outage: None,
            reconnects: BTreeMap::new(),
            saves: 0,
            failed_saves: 0,
            last_save: None,
            queue_bytes: 0,
            delivery: Delivery::default(),
            scan: None,
        }
    }

    #[test]
    fn shows_a_snapshot_first_while_it_is_read() {
        let mut snapshot = catching_up();
        let mut scan = ScanState::begin(1);
        snapshot.scan = Some(scan.progress());
        assert!(
            line(&snapshot, 1.0, 2.0)
                .starts_with("snapshot 0 documents, 2/s, 1,234,567 events, 1/s, ")
        );
        scan.finish();
        snapshot.scan = Some(scan.progress());
        assert!(line(&snapshot, 1.0, 2.0).starts_with("1,234,567 events, 1/s, "));
    }

    #[test]
    fn shows_the_progress_of_a_backlog_and_the_time_left() {
        assert_eq!(
            line(&catching_up(), 98_765.4, 0.0),
            "1,234,567 events, 98,765/s, lag 10m, 40% of the backlog, 15s left"
        );
    }

    #[test]
    fn shows_nothing_more_of_a_stream_that_has_caught_up() {
        let mut snapshot = catching_up();
        snapshot.lag.caught_up = Some(true);
        snapshot.lag.behind = None;
        assert_eq!(
            line(&snapshot, 0.2, 0.0),
            "1,234,567 events, 0/s, caught up"
        );
    }

    #[test]
    fn shows_messages_in_flight_and_a_process_that_stands_by() {
        let mut snapshot = catching_up();
        snapshot.delivery.lease = LeaseState::Active;
        snapshot.delivery.in_flight = 2500;
        assert!(line(&snapshot, 0.2, 0.0).ends_with("15s left, 2,500 in flight"));
        snapshot.delivery.lease = LeaseState::Standby;
        let text = "standing by, another cswatch delivers";
        assert_eq!(line(&snapshot, 0.2, 0.0), text);
    }

    #[test]
    fn counts_one_event_in_the_singular() {
        let mut snapshot = catching_up();
        snapshot.events = vec![("insert", 1)];
        assert!(line(&snapshot, 1.0, 0.0).starts_with("1 event, 1/s, "));
    }

    #[test]
    fn shows_an_outage_and_a_low_headroom() {
        let mut snapshot = catching_up();
        snapshot.is_open = false;
        snapshot.outage = Some(75 * SECOND);
        snapshot.cluster_time = None;
        snapshot.lag = Lag {
            caught_up: None,
            behind: None,
            time_since_reply: Some(75 * SECOND),
        };
        snapshot.headroom = Some(47 * 60 * SECOND);
        assert_eq!(
            line(&snapshot, 0.0, 0.0),
            "1,234,567 events, 0/s, reconnecting for 1m 15s, lag unknown, headroom 47m"
        );
    }

    #[test]
    fn averages_the_rate_over_the_window_only() {
        let mut rate = Rate::new();
        let start = rate.0[0].0;
        assert_eq!(rate.per_second(start + SECOND, 100), 100.0);
        assert_eq!(rate.per_second(start + 2 * SECOND, 100), 50.0);
        for second in 3..20 {
            rate.per_second(start + second * SECOND, 100);
        }
        assert_eq!(rate.per_second(start + 20 * SECOND, 100), 0.0);
    }
}
