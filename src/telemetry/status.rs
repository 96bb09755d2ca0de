//! Status line: drawn on the terminal while a watch runs, logged on SIGUSR1, and sent to systemd.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bson::Timestamp;

use crate::count::{counted, grouped};
use crate::logging;
use crate::time::readable;

use super::{LeaseState, Snapshot};

/// The time over which events per second are averaged.
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

/// Events per second, from the recent counts of printed events.
#[derive(Debug)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Starts with no events printed.
    pub(super) fn new() -> Self {
        Self(VecDeque::from([(Instant::now(), 0)]))
    }

    /// Records that `printed` events were printed until `now`, and returns the events per second in the last [`RATE_WINDOW`].
    pub(super) fn per_second(&mut self, now: Instant, printed: u64) -> f64 {
        // Of the counts that are older than the window, the newest is kept: the window starts there.
        while self.0.len() > 1 && now.duration_since(self.0[1].0) >= RATE_WINDOW {
            self.0.pop_front();
        }
        self.0.push_back((now, printed));
        let (then, before) = self.0[0];
        let time = now.duration_since(then).max(Duration::from_millis(1));
        printed.saturating_sub(before) as f64 / time.as_secs_f64()
    }
}

/// Returns the status line.
pub(super) fn line(snapshot: &Snapshot, per_second: f64) -> String {
    let mut parts = vec![
        counted(snapshot.event_count(), "event"),
        format!("{}/s", grouped(per_second.round() as u64)),
    ];
    let delivery = &snapshot.delivery;
    if delivery.lease == LeaseState::Standby {
        return "standing by, another cswatch delivers".to_owned();
    }
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

    use super::super::{Delivery, Lag};
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
        }
    }

    #[test]
    fn shows_the_progress_of_a_backlog_and_the_time_left() {
        assert_eq!(
            line(&catching_up(), 98_765.4),
            "1,234,567 events, 98,765/s, lag 10m, 40% of the backlog, 15s left"
        );
    }

    #[test]
    fn shows_nothing_more_of_a_stream_that_has_caught_up() {
        let mut snapshot = catching_up();
        snapshot.lag.caught_up = Some(true);
        snapshot.lag.behind = None;
        assert_eq!(line(&snapshot, 0.2), "1,234,567 events, 0/s, caught up");
    }

    #[test]
    fn shows_messages_in_flight_and_a_process_that_stands_by() {
        let mut snapshot = catching_up();
        snapshot.delivery.lease = LeaseState::Active;
        snapshot.delivery.in_flight = 2500;
        assert!(line(&snapshot, 0.2).ends_with("15s left, 2,500 in flight"));
        snapshot.delivery.lease = LeaseState::Standby;
        let text = "standing by, another cswatch delivers";
        assert_eq!(line(&snapshot, 0.2), text);
    }

    #[test]
    fn counts_one_event_in_the_singular() {
        let mut snapshot = catching_up();
        snapshot.events = vec![("insert", 1)];
        assert!(line(&snapshot, 1.0).starts_with("1 event, 1/s, "));
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
            line(&snapshot, 0.0),
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
