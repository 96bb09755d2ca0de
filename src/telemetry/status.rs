//! A watch in one line: redrawn on a terminal while it runs, and said once on SIGUSR1.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bson::Timestamp;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::logging;
use crate::time::readable;

use super::Snapshot;

/// Events per second are those of this time.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Above this the history lasts long enough not to be spoken of.
const LOW_HEADROOM: Duration = Duration::from_secs(3600);

/// A way to the present shorter than this is over before its progress is read.
const SHORT_WAY_SECONDS: u32 = 10;

/// The line at the bottom of the terminal.
#[derive(Debug)]
pub(crate) struct StatusLine(ProgressBar);

impl StatusLine {
    /// Takes the last line of the terminal on stderr.
    pub(crate) fn begin() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The part that does not fit is cut.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        logging::keep_above(&bar);
        Self(bar)
    }

    pub(super) fn show(&self, text: String) {
        self.0.set_message(text);
        self.0.tick();
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How many events come each second.
#[derive(Debug)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Counting begins now.
    pub(super) fn new() -> Self {
        Self(VecDeque::from([(Instant::now(), 0)]))
    }

    /// State that so many events were printed by now. Answers how many a second of late.
    pub(super) fn per_second(&mut self, now: Instant, printed: u64) -> f64 {
        // The oldest one kept is the youngest beyond the window.
        while self.0.len() > 1 && now.duration_since(self.0[1].0) >= RATE_WINDOW {
            self.0.pop_front();
        }
        self.0.push_back((now, printed));
        let (then, before) = self.0[0];
        let time = now.duration_since(then).max(Duration::from_millis(1));
        printed.saturating_sub(before) as f64 / time.as_secs_f64()
    }
}

/// The line.
pub(super) fn line(snapshot: &Snapshot, per_second: f64) -> String {
    let mut parts = vec![
        format!("{} events", grouped(snapshot.printed())),
        format!("{}/s", grouped(per_second.round() as u64)),
    ];
    if let Some(outage) = snapshot.outage {
        parts.push(format!("no stream for {}", readable(outage)));
    } else if !snapshot.is_open {
        parts.push("not open yet".to_owned());
    }
    let lag = &snapshot.lag;
    parts.push(match (lag.caught_up, lag.behind) {
        (Some(true), _) => "caught up".to_owned(),
        (_, Some(behind)) => format!("{} behind", readable(behind)),
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
        parts.push(format!(
            "the oplog reaches back {} more",
            readable(headroom)
        ));
    }
    parts.join(", ")
}

/// How much of the way to the present is done, and how long the rest takes at this pace.
fn progress(snapshot: &Snapshot) -> Option<String> {
    let (start, position, present) = (snapshot.start?, snapshot.position?, snapshot.present?);
    let way = |to: Timestamp| to.time.saturating_sub(start.time);
    if snapshot.lag.caught_up == Some(true) || way(present) < SHORT_WAY_SECONDS {
        return None;
    }
    let done = f64::from(way(position)) / f64::from(way(present));
    if !(0.01..0.99).contains(&done) {
        return None;
    }
    let left = snapshot.running.mul_f64((1.0 - done) / done);
    Some(format!(
        "{:.0} % of the way, {} left",
        done * 100.0,
        readable(left)
    ))
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Lag;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const fn at(time: u32) -> Option<Timestamp> {
        Some(Timestamp { time, increment: 1 })
    }

    fn reading() -> Snapshot {
        Snapshot {
            running: 10 * SECOND,
            max_reply_age: 60 * SECOND,
            events: vec![("insert", 1_234_000), ("update", 567)],
            bytes: 0,
            start: at(1000),
            position: at(1400),
            present: at(2000),
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
            saved: None,
            queue_bytes: 0,
        }
    }

    #[test]
    fn tells_how_far_a_backlog_is_read_and_how_long_the_rest_takes() {
        assert_eq!(
            line(&reading(), 98_765.4),
            "1,234,567 events, 98,765/s, 10m behind, 40 % of the way, 15s left"
        );
    }

    #[test]
    fn tells_of_a_stream_that_has_caught_up_and_nothing_else() {
        let mut snapshot = reading();
        snapshot.lag.caught_up = Some(true);
        snapshot.lag.behind = None;
        assert_eq!(line(&snapshot, 0.2), "1,234,567 events, 0/s, caught up");
    }

    #[test]
    fn tells_of_an_outage_and_of_a_history_that_is_about_to_be_lost() {
        let mut snapshot = reading();
        snapshot.is_open = false;
        snapshot.outage = Some(75 * SECOND);
        snapshot.present = None;
        snapshot.lag = Lag {
            caught_up: None,
            behind: None,
            time_since_reply: Some(75 * SECOND),
        };
        snapshot.headroom = Some(47 * 60 * SECOND);
        assert_eq!(
            line(&snapshot, 0.0),
            "1,234,567 events, 0/s, no stream for 1m 15s, lag unknown, the oplog reaches back 47m more"
        );
    }

    #[test]
    fn forgets_the_pace_of_long_ago() {
        let mut rate = Rate::new();
        let began = rate.0[0].0;
        assert_eq!(rate.per_second(began + SECOND, 100), 100.0);
        assert_eq!(rate.per_second(began + 2 * SECOND, 100), 50.0);
        for second in 3..20 {
            rate.per_second(began + second * SECOND, 100);
        }
        assert_eq!(rate.per_second(began + 20 * SECOND, 100), 0.0);
    }
}
