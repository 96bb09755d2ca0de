//! A snapshot as Prometheus text. Names and units follow <https://prometheus.io/docs/practices/naming/>; what is unknown is left
//! out, because a zero would be a claim.

use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::{Encoder as _, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use prometheus::{Registry, TextEncoder};

use crate::time::since_epoch;

use super::Snapshot;

/// The type of the text: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of one moment.
///
/// # Errors
/// The crate's, for a metric that cannot be: a defect here.
pub(super) fn text(snapshot: &Snapshot) -> prometheus::Result<Vec<u8>> {
    let page = Page(Registry::new());
    page.labelled(
        "cswatch_events_total",
        "Events printed, by operation type.",
        "operation_type",
        &snapshot.events,
    )?;
    page.count(
        "cswatch_output_bytes_total",
        "Bytes of the lines printed.",
        snapshot.bytes,
    )?;
    page.labelled(
        "cswatch_reconnects_total",
        "Change streams opened again, by reason.",
        "reason",
        &Vec::from_iter(snapshot.reconnects.clone()),
    )?;
    page.count(
        "cswatch_checkpoint_saves_total",
        "Positions saved to the position file.",
        snapshot.saves,
    )?;
    page.count(
        "cswatch_checkpoint_save_failures_total",
        "Positions that could not be saved.",
        snapshot.failed_saves,
    )?;
    page.whole(
        "cswatch_stream_open",
        "Whether the change stream is open.",
        snapshot.is_open.into(),
    )?;
    page.whole(
        "cswatch_queue_bytes",
        "Bytes of events that were read and wait to be written.",
        snapshot.queue_bytes,
    )?;
    if let Some(caught_up) = snapshot.lag.caught_up {
        page.whole(
            "cswatch_caught_up",
            "Whether the last reply of the server was empty, so that nothing more was there. Absent while unknown.",
            caught_up.into(),
        )?;
    }
    page.seconds(
        "cswatch_lag_seconds",
        "The server's cluster time minus that of the position. Absent while caught up or unknown.",
        snapshot.lag.behind,
    )?;
    page.seconds(
        "cswatch_time_since_reply_seconds",
        "Time since the last reply of the server. Absent before the first.",
        snapshot.lag.time_since_reply,
    )?;
    page.seconds(
        "cswatch_headroom_seconds",
        "How long the watch may be down before the oplog no longer reaches back to the position. Absent while unknown.",
        snapshot.headroom,
    )?;
    page.seconds(
        "cswatch_checkpoint_timestamp_seconds",
        "Cluster time of the position. Absent before there is one.",
        snapshot
            .position
            .map(|time| Duration::from_secs(time.time.into())),
    )?;
    page.seconds(
        "cswatch_checkpoint_saved_timestamp_seconds",
        "When the position was last saved. Absent before the first time.",
        snapshot.saved.map(since_epoch),
    )?;
    page.seconds(
        "process_start_time_seconds",
        "When this process started.",
        Some(since_epoch(SystemTime::now()).saturating_sub(snapshot.running)),
    )?;
    page.build_info()?;
    page.encoded()
}

struct Page(Registry);

impl Page {
    fn add(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.0.register(Box::new(metric))
    }

    fn labelled(
        &self,
        name: &str,
        help: &str,
        label: &str,
        counts: &[(&str, u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in counts {
            counters.with_label_values(&[*value]).inc_by(*count);
        }
        self.add(counters)
    }

    fn count(&self, name: &str, help: &str, count: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(count);
        self.add(counter)
    }

    fn whole(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.add(gauge)
    }

    fn seconds(&self, name: &str, help: &str, value: Option<Duration>) -> prometheus::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let gauge = Gauge::new(name, help)?;
        gauge.set(value.as_secs_f64());
        self.add(gauge)
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let help = "The running cswatch; always 1.";
        let info = IntGaugeVec::new(Opts::new("cswatch_build_info", help), &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.add(info)
    }

    fn encoded(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(text)
    }
}
